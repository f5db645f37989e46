// @ts-check
// What a filter lets through, added up by the server: a bar for each part, and the same as a table. Nothing is added up
// here.

import { h } from '../kernel/dom.js';
import { t, word } from '../kernel/words.js';
import { count, points, utc } from './format.js';
import { busy, problem } from './note.js';
import { table } from './table.js';

export const SLICES = ['minute', 'hour', 'day', 'model', 'provider', 'outcome', 'status', 'user', 'key', 'credential'];
const [WIDTH, HEIGHT, FOOT] = [720, 120, 16];
/** Parts that a chart has room for. The table has all of them. */
const BARS_MAX = 120;

/** @param {any} row @param {string} by */
function named(row, by) {
  if (row.at_ms != null) return utc(new Date(row.at_ms)).slice(by === 'day' ? 0 : 5, by === 'day' ? 10 : 16);
  return row.name == null ? '–' : by === 'outcome' ? word('outcome', row.name) : row.name;
}

/** @param {any} sums a resource @param {string} by @param {(by: string) => void} choose */
export function sumsBlock(sums, by, choose) {
  const { value } = sums;
  return h(
    'section',
    { class: 'sums-of', 'aria-label': t('sums') },
    h(
      'div',
      { class: 'bar' },
      h(
        'label',
        null,
        t('sums.by'),
        h(
          'select',
          { onchange: (/** @type {any} */ event) => choose(event.target.value) },
          SLICES.map((name) => h('option', { value: name, selected: name === by }, t(`sums.${name}`))),
        ),
      ),
    ),
    problem(sums.error, sums.load),
    !value && !sums.error && busy(),
    value && [
      total(value.total),
      value.next_cursor && h('p', { class: 'muted' }, t('sums.part')),
      value.data.length > 0 && [
        chart(value.data, by),
        h('details', null, h('summary', null, t('sums.table')), rows(value.data, by)),
      ],
    ],
  );
}

/** @param {any} of */
const total = (of) =>
  h(
    'dl',
    { class: 'sums' },
    [
      [t('sums.calls'), count(of.requests)],
      [t('sums.failed'), count(of.failed)],
      [t('calls.tokens'), count(of.tokens)],
      [t('unit.points'), points(of.points)],
    ].map(([name, value]) => h('div', { key: name }, h('dt', null, name), h('dd', null, value))),
  );

/** Calls, and those of them that failed. @param {any[]} all @param {string} by */
function chart(all, by) {
  const shown = all.slice(0, BARS_MAX);
  const most = Math.max(...shown.map((row) => row.requests), 1);
  const step = WIDTH / Math.max(shown.length, 12);
  const every = Math.ceil(shown.length / 8);
  const high = (/** @type {number} */ n) => (n / most) * (HEIGHT - FOOT - 4);
  const bar = (/** @type {any} */ row, /** @type {number} */ at) => {
    const rect = (/** @type {number} */ n, /** @type {string} */ name) =>
      h('rect', {
        x: at * step + step * 0.1,
        width: step * 0.8,
        y: HEIGHT - FOOT - high(n),
        height: high(n),
        class: name,
      });
    const text = t('sums.bar', {
      name: named(row, by),
      calls: count(row.requests),
      failed: count(row.failed),
      points: points(row.points),
    });
    return h(
      'g',
      { key: row.id ?? row.name ?? row.at_ms },
      h('title', null, text),
      rect(row.requests, 'whole'),
      rect(row.failed, 'failed'),
      at % every === 0 &&
        h('text', { x: at * step, y: HEIGHT - 4 }, cut(named(row, by), Math.floor((step * every) / 6.5))),
    );
  };
  return h(
    'svg',
    { class: 'chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': t('sums.chart') },
    shown.map(bar),
  );
}

/** @param {string} text @param {number} most */
const cut = (text, most) => (text.length > most ? `${text.slice(0, Math.max(most - 1, 1))}…` : text);

/** @param {any[]} all @param {string} by */
function rows(all, by) {
  /** @type {import('./table.js').Column<any>[]} */
  const columns = [
    { name: t(`sums.${by}`), cell: (row) => named(row, by) },
    { name: t('sums.calls'), number: true, cell: (row) => count(row.requests) },
    { name: t('sums.failed'), number: true, cell: (row) => count(row.failed) },
    { name: t('calls.tokens'), number: true, cell: (row) => count(row.tokens) },
    { name: t('unit.points'), number: true, cell: (row) => points(row.points) },
  ];
  return table({ columns, rows: all, key: (row) => row.id ?? row.name ?? row.at_ms, label: t('sums') });
}
