// @ts-check
// A few signs, drawn on 16 by 16. A sign never stands alone: a word is beside it or in its label.

import { h } from '../kernel/dom.js';

const PATHS = {
  good: 'M3 8.5l3.2 3.2L13 5',
  bad: 'M4 4l8 8M12 4l-8 8',
  careful: 'M8 2.5L14.5 13.5h-13zM8 6.5v3.2M8 11.6v.4',
  rest: 'M8 2a6 6 0 100 12A6 6 0 008 2zM8 4.5V8l2.4 1.6',
  off: 'M3.5 8h9',
  live: 'M8 6.2a1.8 1.8 0 100 3.6 1.8 1.8 0 000-3.6zM4 12a5.6 5.6 0 010-8M12 4a5.6 5.6 0 010 8',
  more: 'M6 3l5 5-5 5',
  copy: 'M5.5 5.5h8v8h-8zM3.5 10.5h-1v-8h8v1',
  plus: 'M8 3v10M3 8h10',
};

/** @param {keyof typeof PATHS} name */
export function icon(name) {
  return h(
    'svg',
    { class: 'icon', viewBox: '0 0 16 16', width: 14, height: 14, 'aria-hidden': 'true' },
    h('path', {
      d: PATHS[name],
      fill: 'none',
      stroke: 'currentColor',
      'stroke-width': 1.6,
      'stroke-linejoin': 'round',
    }),
  );
}

/** @typedef {'good' | 'bad' | 'careful' | 'rest' | 'off' | 'live'} Tone */
/** A state: a word in its colour, with a shape. @param {Tone} tone @param {any} text */
export const state = (tone, text) => h('span', { class: `state ${tone}` }, icon(tone), text);
