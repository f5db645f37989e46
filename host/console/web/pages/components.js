// @ts-check
// The components that run: what each may do, how it is, what happened to it, and where it may send keys.

import { change, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { ago, clock, count, digest } from '../parts/format.js';
import { state } from '../parts/icon.js';
import { busy, empty, missing, problem, warning } from '../parts/note.js';
import { resource } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';
import { table } from '../parts/table.js';

const AGAIN_MS = 5000;
/** What a component of each kind is given, and nothing else: `wit/`. */
const POWERS = {
  'provider-adapter': 'adapter',
  'key-selector': 'selector',
  'pricing-policy': 'pricing',
  'content-filter': 'filter',
};

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path } = page;
  const all = resource(redraw, async (signal) => {
    const [plugins, events] = await Promise.all([
      get('plugins', {}, signal),
      get('plugins/events', { limit: 50 }, signal),
    ]);
    return { plugins, events: events.data };
  });
  const now = { error: /** @type {any} */ (null), busy: false };
  void all.load();
  const timer = setInterval(() => document.hidden || all.busy || void all.load(), AGAIN_MS);
  const act = async (/** @type {string} */ method, /** @type {string} */ route) => {
    Object.assign(now, { error: null, busy: true });
    redraw();
    await change(method, route).catch((error) => {
      now.error = error;
    });
    now.busy = false;
    await all.load();
  };
  const back = () => path[1] && go(['components']);
  const draw = () => {
    const rows = all.value?.plugins.data ?? [];
    const row = rows.find((/** @type {any} */ it) => it.name === path[1]);
    return [
      h(
        'div',
        { class: 'head' },
        h('h1', null, t('page.components')),
        h(
          'div',
          { class: 'end' },
          all.value && h('span', { class: 'muted' }, t('components.set', { n: all.value.plugins.generation })),
          h(
            'button',
            { type: 'button', disabled: now.busy, onclick: () => act('POST', 'plugins/reload') },
            t('components.reload'),
          ),
        ),
      ),
      problem(all.error, all.load),
      problem(now.error),
      !all.value && !all.error && busy(),
      all.value &&
        h(
          'div',
          { class: row ? 'split open' : 'split' },
          h(
            'div',
            { key: 'list' },
            rows.length
              ? table({
                  columns: columns(),
                  rows,
                  key: (it) => it.name,
                  label: t('page.components'),
                  href: (it) => href(['components', it.name]),
                  current: path[1],
                })
              : empty(t('components.none')),
            missing(t('components.upload')),
            h('h2', null, t('components.events')),
            events(all.value.events),
            asCommand({ method: 'GET', path: 'plugins', command: 'tollgate plugin list' }),
          ),
          row &&
            h(
              'aside',
              { key: row.name, tabindex: '-1', 'aria-label': row.name },
              panel(row, { act, back, busy: now.busy }),
            ),
        ),
    ];
  };
  return {
    draw,
    moved: (/** @type {any} */ place) => {
      ({ path } = place);
    },
    close() {
      clearInterval(timer);
      all.close();
    },
    keys: { Escape: back },
  };
}

/** @param {any} row */
export function condition(row) {
  const tone = row.state === 'active' ? 'good' : row.state === 'tripped' ? 'careful' : 'bad';
  return state(tone, word('component', row.state));
}

/** @returns {import('../parts/table.js').Column<any>[]} */
const columns = () => [
  { name: t('components.name'), cell: (row) => row.name },
  { name: t('components.kind'), cell: (row) => word('kind', row.kind) },
  { name: t('components.state'), cell: condition },
  { name: t('components.digest'), cell: (row) => digest(row.digest) },
  { name: t('components.source'), cell: (row) => t(`components.source.${row.source}`) },
  { name: t('components.calls'), number: true, cell: (row) => count(row.calls) },
  { name: t('components.faults'), number: true, cell: (row) => faults(row.faults) },
  { name: t('components.since'), cell: (row) => ago(row.since_ms) },
];

/** @param {Record<string, number>} kinds */
function faults(kinds) {
  const named = Object.entries(kinds);
  return named.length ? named.map(([kind, n]) => `${word('fault', kind)} ${n}`).join(', ') : '0';
}

/** @param {any[]} rows */
function events(rows) {
  /** @type {import('../parts/table.js').Column<any>[]} */
  const shown = [
    { name: t('components.at'), cell: (row) => clock(row.at_ms) },
    { name: t('components.name'), cell: (row) => row.component },
    { name: t('components.event'), cell: (row) => word('event', row.event) },
    { name: t('components.digest'), cell: (row) => digest(row.digest) },
    { name: t('components.detail'), wide: true, cell: (row) => row.detail && h('span', { lang: 'en' }, row.detail) },
  ];
  return rows.length
    ? table({ columns: shown, rows, key: (row) => row.number, label: t('components.events') })
    : empty(t('components.quiet'));
}

/** @param {any} row @param {any} of */
function panel(row, { act, back, busy: waiting }) {
  const power = POWERS[/** @type {keyof typeof POWERS} */ (row.kind)];
  const name = encodeURIComponent(row.component);
  const host = (/** @type {any} */ it) =>
    h(
      'li',
      { key: it.host },
      h('code', null, it.host),
      ' ',
      word('permission', it.permission),
      ' ',
      it.permission === 'missing' &&
        h(
          'button',
          {
            type: 'button',
            disabled: waiting,
            onclick: () => act('PUT', `plugins/${name}/hosts/${encodeURIComponent(it.host)}`),
          },
          t('components.grant'),
        ),
      it.permission === 'granted' &&
        h(
          'button',
          {
            type: 'button',
            class: 'danger',
            disabled: waiting,
            onclick: () => act('DELETE', `plugins/${name}/hosts/${encodeURIComponent(it.host)}`),
          },
          t('components.revoke'),
        ),
    );
  return [
    h(
      'div',
      { class: 'head' },
      h('h2', null, row.name),
      h(
        'div',
        { class: 'end' },
        h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: back }, '×'),
      ),
    ),
    h('p', null, condition(row)),
    row.reason && warning(h('p', { lang: 'en' }, row.reason)),
    row.last_error && h('p', { class: 'muted', lang: 'en' }, row.last_error),
    row.state === 'file-missing' &&
      h(
        'button',
        { type: 'button', disabled: waiting, onclick: () => act('POST', `plugins/${name}/forget`) },
        t('components.forget'),
      ),
    h('h3', null, t('components.can')),
    h('p', null, power ? t(`components.can.${power}`) : t('components.can.unknown')),
    h('h3', null, t('components.cannot')),
    h('p', null, t('components.cannot.text')),
    row.secret_places.length > 0 && [
      h('h3', null, t('components.places')),
      h(
        'ul',
        null,
        row.secret_places.map((/** @type {string} */ it) => h('li', { key: it }, h('code', null, it))),
      ),
    ],
    row.hosts.length > 0 && [h('h3', null, t('components.hosts')), h('ul', null, row.hosts.map(host))],
    h(
      'dl',
      { class: 'pairs' },
      h('dt', null, t('components.file')),
      h('dd', null, `${row.component}.wasm`),
      h('dt', null, t('components.digest')),
      h('dd', null, h('code', null, row.digest)),
      h('dt', null, t('components.instances')),
      h('dd', null, count(row.instances)),
      h('dt', null, t('components.faults')),
      h('dd', null, faults(row.faults)),
    ),
    h(
      'p',
      { class: 'actions' },
      h('a', { class: 'button', href: href(['calls'], { component: row.digest }) }, t('components.priced')),
    ),
  ];
}
