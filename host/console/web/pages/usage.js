// @ts-check
// What everybody used, and how long calls took. One filter in the address; every sum is the server's.

import { get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t } from '../kernel/words.js';
import { filterBar, filterOf } from '../parts/filter.js';
import { count, duration, points } from '../parts/format.js';
import { busy, empty, problem } from '../parts/note.js';
import { pages, resource } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';
import { stacked } from '../parts/stack.js';
import { listed, table } from '../parts/table.js';

const TIMES = ['hour', 'day', 'month'];
const THINGS = ['model', 'user', 'key', 'credential'];
const [DAYS, DAY_MS] = [30, 86_400_000];

/** @returns {import('../parts/filter.js').Part[]} */
const FILTER = () => {
  const options = (/** @type {string[]} */ names) =>
    names.map((name) => /** @type {[string, string]} */ ([name, t(`used.${name}`)]));
  return [
    {
      name: 'by',
      label: t('used.rows'),
      first: true,
      none: t('used.day'),
      options: options(['hour', 'month', ...THINGS]),
    },
    { name: 'split', label: t('used.split'), first: true, none: t('used.nothing'), options: options(THINGS) },
    { name: 'from', label: t('used.from'), first: true, type: 'date' },
    { name: 'until', label: t('used.until'), first: true, type: 'date' },
    { name: 'user', label: t('used.user'), first: true },
    { name: 'pace', label: t('used.pace'), none: t('used.provider'), options: options(['model', 'credential']) },
  ];
};

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { query } = page;
  const filter = () => filterOf(query, FILTER());
  const asked = () => {
    const { by = 'day', split, from, until, user } = filter();
    const since = from ?? new Date(Date.now() - (DAYS - 1) * DAY_MS).toISOString().slice(0, 10);
    return { by: split && split !== by ? `${by},${split}` : by, from: since, until, user };
  };
  const sums = resource(redraw, (signal) => get('usage/summary', { user: filter().user }, signal));
  const rows = pages(redraw, (cursor, signal) => get('usage', { ...asked(), cursor }, signal));
  // The last day is among those of usage, and the moment before which calls are looked at.
  const before = () => {
    const { until } = asked();
    return until && new Date(Date.parse(until) + DAY_MS).toISOString().slice(0, 10);
  };
  const paces = resource(redraw, (signal) =>
    get(
      'requests/latency',
      { by: filter().pace ?? 'provider', from: asked().from, until: before(), user: asked().user, trials: 'false' },
      signal,
    ),
  );
  const load = () => [sums, rows, paces].forEach((it) => void it.load());
  load();
  const draw = () => [
    h('div', { class: 'head' }, h('h1', null, t('page.usage'))),
    sums.value ? totals(sums.value) : sums.error ? problem(sums.error, sums.load) : busy(),
    filterBar({ parts: FILTER(), values: filter(), id: 'usage', set: (values) => go(['usage'], values) }),
    listed(
      rows,
      (all) => [
        TIMES.includes(asked().by.split(',')[0]) && stacked(all, t('used.chart')),
        h(
          'details',
          { open: !TIMES.includes(asked().by) },
          h('summary', null, t('used.table')),
          rowTable(all, asked().by),
        ),
      ],
      empty(t('used.empty')),
    ),
    h('h2', null, t('used.paces')),
    paces.value
      ? paceTable(paces.value.data, filter().pace ?? 'provider')
      : paces.error
        ? problem(paces.error, paces.load)
        : busy(),
    paces.value?.next_cursor && h('p', { class: 'muted' }, t('used.paces.part')),
    asCommand({
      method: 'GET',
      path: 'usage',
      query: asked(),
      command: `tollgate usage show --by ${asked().by.split(',')[0]}`,
    }),
  ];
  return {
    draw,
    moved(/** @type {any} */ place) {
      const last = JSON.stringify(filter());
      ({ query } = place);
      if (JSON.stringify(filter()) !== last) load();
    },
    close: () => [sums, rows, paces].forEach((it) => it.close()),
  };
}

/** @param {any} sums */
const totals = (sums) =>
  h(
    'dl',
    { class: 'sums' },
    ['today', 'month', 'total'].map((name) =>
      h(
        'div',
        { key: name },
        h('dt', null, t(`used.sum.${name}`)),
        h(
          'dd',
          null,
          points(sums[name].points),
          ' ',
          t('unit.points'),
          h(
            'small',
            null,
            t('used.sum.of', {
              calls: count(sums[name].requests),
              failed: count(sums[name].failed),
              tokens: count(sums[name].tokens),
            }),
          ),
        ),
      ),
    ),
  );

/** What leads to the calls of a row. @param {any} it @param {string} slice */
function name(it, slice) {
  const text = it.title ?? (it.name || t('used.none'));
  return THINGS.includes(slice) && it.name ? h('a', { href: href(['calls'], { [slice]: it.name }) }, text) : text;
}

/** @param {any[]} all @param {string} by */
function rowTable(all, by) {
  const [first, second] = by.split(',');
  /** @type {import('../parts/table.js').Column<any>[]} */
  const columns = [
    { name: t(`used.${first}`), cell: (row) => name(row, first) },
    ...(second
      ? [{ name: t(`used.${second}`), cell: (/** @type {any} */ row) => name(row.second ?? { name: '' }, second) }]
      : []),
    { name: t('used.calls'), number: true, cell: (row) => count(row.requests) },
    { name: t('used.failed'), number: true, cell: (row) => count(row.failed) },
    { name: t('used.input'), number: true, cell: (row) => count(row.input) },
    { name: t('used.cached'), number: true, cell: (row) => count(row.cache_read) },
    { name: t('used.output'), number: true, cell: (row) => count(row.output) },
    { name: t('unit.points'), number: true, cell: (row) => points(row.points) },
  ];
  return table({ columns, rows: all, key: (row) => `${row.name} ${row.second?.name ?? ''}`, label: t('used.table') });
}

/** @param {any[]} all @param {string} by */
function paceTable(all, by) {
  /** @type {import('../parts/table.js').Column<any>[]} */
  const columns = [
    { name: t(`used.${by}`), cell: (row) => row.name ?? t('used.none') },
    { name: t('used.calls'), number: true, cell: (row) => count(row.requests) },
    { name: t('used.failed'), number: true, cell: (row) => count(row.failed) },
    ...['p50', 'p95', 'p99'].map((part) => ({
      name: t('used.first', { part }),
      number: true,
      cell: (/** @type {any} */ row) => duration(row.ttft_ms?.[part]),
    })),
    ...['p50', 'p95', 'p99'].map((part) => ({
      name: t('used.end', { part }),
      number: true,
      cell: (/** @type {any} */ row) => duration(row.latency_ms[part]),
    })),
  ];
  return all.length
    ? table({ columns, rows: all, key: (row) => row.id ?? row.name, label: t('used.paces') })
    : empty(t('used.empty'));
}
