// @ts-check
// What is said when there is nothing, when something failed, and when something must be known.

import { h } from '../kernel/dom.js';
import { known, t } from '../kernel/words.js';
import { icon } from './icon.js';

/** @typedef {import('../kernel/dom.js').Node_} Node_ */

/** What happened, what it means, and the call's id. @param {any} error @param {() => void} [again] */
export function problem(error, again) {
  if (!error) return null;
  const code = error.code ?? 'page';
  const key = `problem.${code}`;
  const values = { ...error.params, n: error.waitSeconds ?? '' };
  return h(
    'div',
    { class: 'note bad', role: 'alert' },
    icon('bad'),
    h(
      'div',
      null,
      h('strong', null, known(key) ? t(key, values) : t('problem.other')),
      // The server's own words are English; they say what no word of ours can, such as which field is wrong and how.
      error.message && !(known(key) && CLEAR.has(code)) && h('p', { lang: 'en' }, error.message),
      error.requestId && h('p', { class: 'muted' }, t('problem.request'), ' ', h('code', null, error.requestId)),
      again && h('button', { type: 'button', onclick: again }, t('again')),
    ),
  );
}

/** Codes whose words say all that there is to say. */
const CLEAR = new Set([
  'unauthorized',
  'forbidden',
  'locked',
  'invalid_token',
  'unreachable',
  'wrong_credentials',
  'wrong_password',
  'internal',
  'last_admin',
  'page',
  'changed_meanwhile',
  'too_many_streams',
]);

/** @param {string} text @param {...any} more */
export const empty = (text, ...more) => h('div', { class: 'empty' }, h('p', null, text), ...more);

/** @param {...any} kids */
export const warning = (...kids) =>
  h('div', { class: 'note careful', role: 'note' }, icon('careful'), h('div', null, ...kids));

/** What the gateway cannot do yet. @param {string} text */
export const missing = (text) => h('p', { class: 'missing' }, icon('off'), ' ', text);

/** That something is on its way. */
export const busy = () => h('p', { class: 'muted', role: 'status' }, t('loading'));
