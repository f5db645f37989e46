// @ts-check
// What one has used: by day, month, model or key. The sums above are the server's, as on the first page.

import { get, session } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { bars, figures } from '../parts/figures.js';
import { filterBar, filterOf } from '../parts/filter.js';
import { count, points, short } from '../parts/format.js';
import { busy, empty, problem } from '../parts/note.js';
import { pages, resource } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';
import { listed, table } from '../parts/table.js';

const BY = ['day', 'month', 'model', 'key'];
const DAYS = 30;
/** Bars of a chart. */
const DAYS_MAX = 366;
const DAY_MS = 86_400_000;

/** @returns {import('../parts/filter.js').Part[]} */
const parts = () => [
  { name: 'from', label: t('usage.from'), first: true, type: 'date' },
  { name: 'until', label: t('usage.until'), first: true, type: 'date' },
];

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { query } = page;
  const user = session.user.id;
  const asked = () => {
    const { from, until } = filterOf(query, parts());
    const by = BY.includes(query.get('by')) ? query.get('by') : 'day';
    // Days that nobody chose are the last thirty, so that a chart has a beginning.
    const since =
      from ??
      (by === 'day' && !until ? new Date(Date.now() - (DAYS - 1) * DAY_MS).toISOString().slice(0, 10) : undefined);
    return { user, by, from: since, until };
  };
  const sums = resource(redraw, (signal) => get('usage/summary', { user }, signal));
  const rows = pages(redraw, (cursor, signal) => get('usage', { ...asked(), cursor }, signal));
  const keys = resource(redraw, (signal) => get(`users/${user}/keys`, {}, signal));
  void sums.load();
  void rows.load();
  if (asked().by === 'key') void keys.load();
  const named = (/** @type {any} */ row) => {
    const { by } = asked();
    if (row.name === '') return t('usage.none');
    if (by !== 'key') return row.name;
    const key = keys.value?.data.find((/** @type {any} */ it) => it.id === row.name);
    return h('a', { href: href(['my-calls'], { key: row.name }) }, row.title ?? key?.name ?? short(row.name));
  };
  return {
    draw: () => [
      h('div', { class: 'head' }, h('h1', null, t('page.my-usage'))),
      sums.value ? totals(sums.value) : sums.error ? problem(sums.error, sums.load) : busy(),
      slices(asked().by, query),
      filterBar({
        parts: parts(),
        values: filterOf(query, parts()),
        id: 'usage',
        set: (values) => go(['my-usage'], { by: query.get('by'), ...values }, true),
      }),
      listed(
        rows,
        (all) => [
          asked().by === 'day' && bars(filled(all, asked()), t('usage.chart')),
          table({
            columns: columns(named, asked().by),
            rows: [...all].reverse(),
            key: (row) => row.name,
            label: word('by', asked().by),
          }),
        ],
        empty(t('usage.empty')),
      ),
      asCommand({ method: 'GET', path: 'usage', query: asked() }),
    ],
    moved(/** @type {any} */ place) {
      const before = JSON.stringify(asked());
      ({ query } = place);
      if (JSON.stringify(asked()) === before) return;
      if (asked().by === 'key' && !keys.value) void keys.load();
      void rows.load();
    },
    close: () => {
      for (const it of [sums, rows, keys]) it.close();
    },
  };
}

/** @param {any} sums */
function totals(sums) {
  const beside = (/** @type {any} */ it) =>
    t('usage.calls', { n: it.requests, calls: count(it.requests), tokens: count(it.tokens) });
  return figures([
    [t('usage.today'), points(sums.today.points), beside(sums.today)],
    [t('usage.month'), points(sums.month.points), beside(sums.month)],
    [t('usage.total'), h('span', { id: 'used' }, points(sums.total.points)), beside(sums.total)],
  ]);
}

/** What rows are grouped by. @param {string} by @param {URLSearchParams} query */
const slices = (by, query) =>
  h(
    'div',
    { class: 'actions', role: 'group', 'aria-label': t('usage.by') },
    BY.map((one) =>
      h(
        'button',
        {
          type: 'button',
          key: one,
          'aria-pressed': String(one === by),
          onclick: () => go(['my-usage'], { ...Object.fromEntries(query), by: one }, true),
        },
        word('by', one),
      ),
    ),
  );

/** Days without a call have no row; a chart has a place for each. @param {any[]} rows @param {any} range */
function filled(rows, { from, until }) {
  const all = new Map(rows.map((row) => [row.name, row]));
  const last = Date.parse(until ?? new Date().toISOString().slice(0, 10));
  const days = [];
  for (let at = Date.parse(from ?? rows[0].name); at <= last && days.length < DAYS_MAX; at += DAY_MS) {
    const name = new Date(at).toISOString().slice(0, 10);
    days.push(all.get(name) ?? { name, points: '0', requests: 0 });
  }
  return days;
}

/** @param {(row: any) => any} named @param {string} by @returns {import('../parts/table.js').Column<any>[]} */
const columns = (named, by) => [
  { name: word('by', by), cell: named },
  { name: t('usage.requests'), number: true, cell: (row) => count(row.requests) },
  { name: t('usage.failed'), number: true, cell: (row) => count(row.failed) },
  { name: t('usage.input'), number: true, cell: (row) => count(row.input) },
  { name: t('usage.cached'), number: true, cell: (row) => count(row.cache_read) },
  { name: t('usage.output'), number: true, cell: (row) => count(row.output) },
  { name: t('usage.tokens'), number: true, cell: (row) => count(row.tokens) },
  { name: t('unit.points'), number: true, cell: (row) => points(row.points) },
];
