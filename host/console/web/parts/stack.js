// @ts-check
// Bars over time, each of at most six parts and the rest. Lengths are drawn from numbers that may be rounded; what is
// written beside them are the server's texts, and the table below has all of them.

import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';
import { count, points } from './format.js';

const [WIDTH, HEIGHT, FOOT] = [720, 170, 18];
const SERIES_MAX = 6;

/** @param {any} row */
const part = (row) => row.second?.name ?? '';
/** @param {any} row */
const title = (row) => row.second?.title ?? row.second?.name ?? '';

/** The names with the most points, for which there are colours. @param {any[]} rows */
function largest(rows) {
  /** @type {Map<string, {size: number, title: string}>} */
  const sizes = new Map();
  for (const row of rows) {
    const { size = 0 } = sizes.get(part(row)) ?? {};
    sizes.set(part(row), { size: size + Number(row.points) + row.requests * 1e-9, title: title(row) });
  }
  return [...sizes]
    .sort(([, a], [, b]) => b.size - a.size)
    .slice(0, SERIES_MAX)
    .map(([name, it]) => ({ name, title: it.title }));
}

/** @param {any[]} rows by time, or by time and something else @param {string} label */
export function stacked(rows, label) {
  const series = largest(rows);
  const times = [...new Set(rows.map((row) => row.name))].sort();
  /** @type {Map<string, any[]>} */
  const columns = new Map(times.map((name) => [name, []]));
  for (const row of rows) columns.get(row.name)?.push(row);
  const height = (/** @type {any[]} */ all) => all.reduce((sum, row) => sum + Number(row.points), 0);
  const most = Math.max(...[...columns.values()].map(height), 1e-6);
  const step = WIDTH / Math.max(times.length, 8);
  const every = Math.ceil(times.length / 8);
  const order = (/** @type {any} */ row) => {
    const at = series.findIndex((it) => it.name === part(row));
    return at < 0 ? SERIES_MAX : at;
  };
  const column = (/** @type {string} */ name, /** @type {number} */ at) => {
    let top = HEIGHT - FOOT;
    const parts = (columns.get(name) ?? [])
      .sort((a, b) => order(a) - order(b))
      .map((row) => {
        const high = (Number(row.points) / most) * (HEIGHT - FOOT - 4);
        top -= high;
        const text = t('used.bar.of', {
          name,
          part: title(row),
          points: points(row.points),
          calls: count(row.requests),
        });
        return h(
          'rect',
          {
            key: part(row),
            x: at * step + step * 0.1,
            y: top,
            width: step * 0.8,
            height: high,
            class: `part-${order(row)}`,
          },
          h('title', null, text),
        );
      });
    return h('g', { key: name }, parts, at % every === 0 && h('text', { x: at * step, y: HEIGHT - 4 }, name.slice(5)));
  };
  return [
    h(
      'svg',
      { class: 'chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label },
      times.map(column),
    ),
    rows.some((row) => row.second) &&
      h(
        'ul',
        { class: 'legend' },
        series.map((it, at) => h('li', { key: it.name }, sign(at), it.title || t('used.none'))),
        new Set(rows.map(part)).size > SERIES_MAX && h('li', null, sign(SERIES_MAX), t('used.others')),
      ),
  ];
}

/** @param {number} at */
const sign = (at) =>
  h('svg', { width: 12, height: 12, 'aria-hidden': 'true' }, h('rect', { width: 12, height: 12, class: `part-${at}` }));
