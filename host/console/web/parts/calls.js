// @ts-check
// The log of calls: one filter in the address, the list, and the open call beside it. Operators see everyone's calls, a
// user their own.

import { get, session } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { listen } from '../kernel/live.js';
import { go, href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { callPanel } from './call.js';
import { filterBar, filterOf } from './filter.js';
import { clock, count, duration, points } from './format.js';
import { state } from './icon.js';
import { empty, missing, problem } from './note.js';
import { ended, OUTCOMES } from './outcome.js';
import { pages, resource } from './resource.js';
import { asCommand, download, quoted } from './save.js';
import { sumsBlock } from './sums.js';
import { listed, table } from './table.js';

const PROTOCOLS = ['openai-chat', 'openai-responses', 'anthropic-messages', 'gemini'];
const NUMBERS = ['status', 'attempts_min', 'latency_ms_min', 'ttft_ms_min', 'tokens_min'];
const TEXTS = ['model', 'key', 'credential', 'provider', 'operation', 'component', 'points_min'];
const FAILURES = [
  'invalid-credential',
  'permission',
  'quota-exhausted',
  'rate-limited',
  'overloaded',
  'bad-request',
  'context-too-long',
  'content-refused',
  'not-found',
  'transient',
  'unknown',
];
/** Rows that a running stream keeps. */
const ROWS_MAX = 500;

/** @param {boolean} operator @returns {import('./filter.js').Part[]} */
const parts = (operator) => [
  { name: 'model_part', label: t('calls.model'), first: true },
  ...(operator ? [{ name: 'user', label: t('calls.user'), first: true }] : []),
  {
    name: 'outcome',
    label: t('calls.outcome'),
    first: true,
    options: OUTCOMES.map((name) => /** @type {[string, string]} */ ([name, word('outcome', name)])),
  },
  { name: 'from', label: t('calls.from'), first: true, type: 'date' },
  { name: 'until', label: t('calls.until'), first: true, type: 'date' },
  {
    name: 'protocol',
    label: t('calls.protocol'),
    options: PROTOCOLS.map((name) => /** @type {[string, string]} */ ([name, name])),
  },
  {
    name: 'failure',
    label: t('calls.failure'),
    options: FAILURES.map((name) => /** @type {[string, string]} */ ([name, word('failure', name)])),
  },
  ...(operator
    ? [
        {
          name: 'trials',
          label: t('calls.trials'),
          options: /** @type {[string, string][]} */ ([['true', t('calls.trials.shown')]]),
        },
      ]
    : []),
  ...NUMBERS.map((name) => ({ name, label: t(`calls.${name}`), type: 'number' })),
  ...TEXTS.map((name) => ({ name, label: t(name === 'model' ? 'calls.model.whole' : `calls.${name}`) })),
];

/**
 * @param {any} page @param {{id: string, operator: boolean}} of
 */
export function callsPage(page, { id, operator }) {
  const { redraw } = page;
  let { path, query } = page;
  const filter = () => filterOf(query, parts(operator));
  // An operator's own tries would drown real calls; and what is one's own is one's own for an operator, too.
  const asked = () => ({ ...(operator ? { trials: 'false' } : { user: session.user.id }), ...filter() });
  const tail = {
    stop: /** @type {null | (() => void)} */ (null),
    live: false,
    error: /** @type {any} */ (null),
    skipped: 0,
  };
  const saving = { error: /** @type {any} */ (null) };
  const list = pages(redraw, (cursor, signal) => get('requests', { ...asked(), cursor }, signal));
  let panel = path[1] ? callPanel(path[1], { redraw, operator }) : null;
  const sums = resource(redraw, (signal) => get('requests/sums', { ...asked(), by: by() }, signal));
  const by = () => query.get('by') ?? '';
  void list.load();
  if (by()) void sums.load();

  const set = (/** @type {any} */ values) => go([id, ...path.slice(1)], { ...values, by: by() });
  const addUp = (/** @type {string} */ slice) => go([id, ...path.slice(1)], { ...filter(), by: slice });
  const at = (/** @type {any} */ row) => href([id, row.request], query);
  const step = (/** @type {number} */ by) => {
    const rows = list.value?.rows ?? [];
    const now = rows.findIndex((/** @type {any} */ row) => row.request === path[1]);
    const next = rows[now < 0 ? 0 : now + by];
    if (next) go([id, next.request], query, true);
    else if (by > 0) void list.more();
  };
  const shut = () => path[1] && go([id], query);
  const exported = async (/** @type {string} */ kind) => {
    saving.error = null;
    await download(`requests/export.${kind}`, asked(), `calls.${kind}`).catch((error) => {
      saving.error = error;
    });
    redraw();
  };
  const follow = () => {
    if (tail.stop) {
      tail.stop();
      Object.assign(tail, { stop: null, live: false, error: null });
      return redraw();
    }
    tail.stop = listen('requests/tail', asked(), {
      event: (name, data) => {
        if (name === 'skipped') tail.skipped += data.calls;
        else if (list.value) {
          const rows = list.value.rows.filter((/** @type {any} */ row) => row.request !== data.request);
          const next = rows.length < ROWS_MAX ? list.value.next : rows[ROWS_MAX - 2].request;
          list.value = { ...list.value, rows: [data, ...rows].slice(0, ROWS_MAX), next };
        }
        redraw();
      },
      state: (live, error) => {
        // What came while nobody listened is in the list.
        if (live && tail.error) void list.load();
        Object.assign(tail, { live, error: error ?? null });
        redraw();
      },
    });
    return redraw();
  };

  const draw = () => {
    const values = filter();
    const open = panel && path[1];
    return [
      h(
        'div',
        { class: 'head' },
        h('h1', null, t(`page.${id}`)),
        h(
          'div',
          { class: 'end' },
          h('button', { type: 'button', 'aria-pressed': String(Boolean(tail.stop)), onclick: follow }, t('calls.tail')),
          tail.live && state('live', t('calls.live')),
          h(
            'button',
            { type: 'button', 'aria-pressed': String(Boolean(by())), onclick: () => addUp(by() ? '' : 'hour') },
            t('sums'),
          ),
          h('button', { type: 'button', onclick: () => exported('csv') }, t('export.csv')),
          h('button', { type: 'button', onclick: () => exported('jsonl') }, t('export.jsonl')),
        ),
      ),
      filterBar(
        { parts: parts(operator), values, set, id },
        h('button', { type: 'button', onclick: () => void list.load() }, t('calls.reload')),
      ),
      tail.stop && tail.error && (tail.error.status === 404 ? missing(t('calls.tail.missing')) : problem(tail.error)),
      tail.skipped > 0 && h('p', { class: 'muted', role: 'status' }, t('calls.skipped', { n: tail.skipped })),
      problem(saving.error),
      by() && sumsBlock(sums, by(), addUp),
      h(
        'div',
        { class: open ? 'split open' : 'split' },
        h(
          'div',
          { key: 'list' },
          listed(
            list,
            (rows) =>
              table({
                columns: columns(operator),
                rows,
                key: (row) => row.request,
                label: t(`page.${id}`),
                href: at,
                current: path[1],
              }),
            empty(Object.keys(values).length ? t('calls.nothing') : t('calls.never')),
          ),
          asCommand({ method: 'GET', path: 'requests', query: asked(), command: command(values, operator) }),
        ),
        open && h('aside', { key: 'call', tabindex: '-1', 'aria-label': t('calls.one') }, panel?.draw(shut)),
      ),
    ];
  };
  return {
    draw,
    moved(/** @type {any} */ place) {
      const [before, slice] = [JSON.stringify(filter()), by()];
      if (place.path[1] !== path[1]) {
        panel?.close();
        panel = place.path[1] ? callPanel(place.path[1], { redraw, operator }) : null;
      }
      ({ path, query } = place);
      const same = JSON.stringify(filter()) === before;
      if (by() && (by() !== slice || !same)) void sums.load();
      if (same) return;
      if (tail.stop) {
        follow();
        follow();
      }
      void list.load();
    },
    close() {
      tail.stop?.();
      panel?.close();
      list.close();
      sums.close();
    },
    keys: { j: () => step(1), k: () => step(-1), Escape: shut },
  };
}

/** @param {boolean} operator @returns {import('./table.js').Column<any>[]} */
function columns(operator) {
  return [
    { name: t('calls.at'), cell: (row) => clock(row.started_at_ms) },
    ...(operator ? [{ name: t('calls.user'), cell: (/** @type {any} */ row) => row.user ?? row.user_id }] : []),
    { name: t('calls.model.whole'), cell: (row) => row.model ?? '–' },
    { name: t('calls.provider'), cell: (row) => row.provider ?? '–' },
    { name: t('calls.outcome'), cell: (row) => ended(row.outcome) },
    { name: t('calls.status'), number: true, cell: (row) => row.status ?? '–' },
    { name: t('calls.tokens'), number: true, cell: (row) => count(tokens(row)) },
    { name: t('unit.points'), number: true, cell: (row) => points(row.points) },
    { name: t('calls.took'), number: true, cell: (row) => duration(row.latency_ms) },
    { name: t('calls.tries'), number: true, cell: (row) => row.attempts },
  ];
}

const TOKENS = [
  'input',
  'cache_read',
  'cache_write_short',
  'cache_write_long',
  'output',
  'reasoning',
  'audio_input',
  'audio_output',
  'image_input',
  'image_output',
];

/** All tokens of a call. @param {any} row @returns {number} */
export const tokens = (row) => TOKENS.reduce((sum, name) => sum + (row[name] ?? 0), 0);

/** @param {Record<string, string>} values @param {boolean} operator */
function command(values, operator) {
  if (!operator) return undefined;
  const flags = Object.entries(values).map(([name, value]) => `--${name.replaceAll('_', '-')} ${quoted(value)}`);
  return ['tollgate requests list', ...flags].join(' ');
}
