// @ts-check
// How calls end, in words, colours and shapes.

import { word } from '../kernel/words.js';
import { state } from './icon.js';

export const OUTCOMES = [
  'ok',
  'empty',
  'partial',
  'cancelled-before-first-byte',
  'cancelled-after-first-byte',
  'upstream-error',
  'unknown',
  'refused',
];

/** @param {string} outcome */
export function ended(outcome) {
  const tone = outcome === 'ok' ? 'good' : outcome.startsWith('cancelled') || outcome === 'empty' ? 'careful' : 'bad';
  return state(tone, word('outcome', outcome));
}
