// @ts-check
// Amounts side by side, and a chart of days. Both show what the server counted; nothing is added up here.

import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';
import { count, points } from './format.js';

/** Amounts, each with what it is and what stands below it. @param {[string, any, any?][]} rows */
export const figures = (rows) =>
  h(
    'dl',
    { class: 'sums' },
    rows.map(([name, value, beside]) => h('div', { key: name }, h('dt', null, name), figure(value, beside))),
  );

/** @param {any} value @param {any} beside */
const figure = (value, beside) => h('dd', null, value, beside && h('small', null, beside));

const [WIDTH, HEIGHT, FOOT] = [720, 140, 18];

/**
 * A bar for each row, as high as its points. Lengths are drawn from numbers that may be rounded; what is written beside
 * them is the server's text.
 * @param {any[]} rows @param {string} label
 */
export function bars(rows, label) {
  const heights = rows.map((row) => Number(row.points));
  const most = Math.max(...heights, 1e-6);
  const step = WIDTH / Math.max(rows.length, 1);
  const every = Math.ceil(rows.length / 8);
  const bar = (/** @type {any} */ row, /** @type {number} */ at) => {
    const high = (heights[at] / most) * (HEIGHT - FOOT - 4);
    const text = t('usage.bar', { name: row.name, n: points(row.points), calls: count(row.requests) });
    return h(
      'g',
      { key: row.name },
      h(
        'rect',
        {
          x: at * step + step * 0.1,
          y: HEIGHT - FOOT - high,
          width: step * 0.8,
          height: Math.max(high, row.requests > 0 ? 1 : 0),
          class: 'bar-of',
        },
        h('title', null, text),
      ),
      at % every === 0 && caption(row.name.slice(5), at, step),
    );
  };
  return h(
    'svg',
    { class: 'chart days', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label },
    rows.map(bar),
  );
}

/** @param {string} text @param {number} at @param {number} step */
const caption = (text, at, step) =>
  h(
    'text',
    { x: at === 0 ? 0 : at * step + step / 2, y: HEIGHT - 4, 'text-anchor': at === 0 ? 'start' : 'middle' },
    text,
  );

/**
 * How much of a limit is used, as a bar with its words.
 * @param {number} used @param {number} most @param {string} text
 */
export function meter(used, most, text) {
  const part = Math.min(used / Math.max(most, 1), 1);
  return h(
    'span',
    { class: 'meter' },
    h(
      'svg',
      { viewBox: '0 0 60 8', width: 60, height: 8, 'aria-hidden': 'true' },
      h('rect', { x: 0.5, y: 0.5, width: 59, height: 7, class: 'meter-all' }),
      h('rect', { x: 0, y: 0, width: part * 60, height: 8, class: part >= 0.9 ? 'meter-full' : 'bar-of' }),
    ),
    ' ',
    text,
  );
}
