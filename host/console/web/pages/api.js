// @ts-check
// The management API, made from its own document: every route, for whom it is, what it takes and gives, and a way to
// ask those that change nothing.

import { call, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go } from '../kernel/route.js';
import { t } from '../kernel/words.js';
import { filterBar, filterOf } from '../parts/filter.js';
import { draft, field, form } from '../parts/form.js';
import { busy, empty, problem } from '../parts/note.js';
import { resource } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';

const FILTER = () => [{ name: 'search', label: t('api.search'), first: true }];
const BASE = '/management/v1/';

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { query } = page;
  const document_ = resource(redraw, (signal) => get('openapi.json', {}, signal));
  /** @type {Map<string, any>} */
  const tried = new Map();
  /** @type {Set<string>} */
  const shown = new Set();
  void document_.load();
  const filter = () => filterOf(query, FILTER());
  const draw = () => [
    h('div', { class: 'head' }, h('h1', null, t('page.api'))),
    h('p', { class: 'muted' }, t('api.text')),
    filterBar({ parts: FILTER(), values: filter(), id: 'api', set: (values) => go(['api'], values, true) }),
    document_.value
      ? list(document_.value, filter().search ?? '', { tried, shown, redraw })
      : document_.error
        ? problem(document_.error, document_.load)
        : busy(),
  ];
  return {
    draw,
    moved: (/** @type {any} */ place) => {
      ({ query } = place);
    },
    close: () => document_.close(),
  };
}

/** @param {any} all @param {string} search @param {any} how */
function list(all, search, how) {
  const wanted = search.toLowerCase();
  const rows = Object.entries(all.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, says]) => ({
      method: method.toUpperCase(),
      path: path.replace(BASE, ''),
      says: /** @type {any} */ (says),
    })),
  );
  const shown = rows.filter((row) => `${row.method} ${row.path} ${row.says.summary}`.toLowerCase().includes(wanted));
  return shown.length ? shown.map((row) => route(row, all, how)) : empty(t('api.none'));
}

/** A route. What it takes is drawn once somebody wants to see it. @param {any} row @param {any} all @param {any} how */
function route(row, all, how) {
  const { method, path, says } = row;
  const id = `${method} ${path}`;
  const toggled = (/** @type {any} */ event) => {
    how.shown[event.currentTarget.open ? 'add' : 'delete'](id);
    how.redraw();
  };
  return h(
    'details',
    { class: 'api', key: id, ontoggle: toggled },
    h(
      'summary',
      null,
      h('code', null, h('b', null, method), ' ', path),
      ' ',
      h('span', { class: 'tag' }, t(`api.access.${says['x-access']}`)),
      ' ',
      h('span', { class: 'muted', lang: 'en' }, says.summary),
    ),
    how.shown.has(id) && inside(row, all, id, how),
  );
}

/** @param {any} row @param {any} all @param {string} id @param {any} how */
function inside({ method, path, says }, all, id, { tried, redraw }) {
  const body = resolve(all, says.requestBody?.content?.['application/json']?.schema);
  const given = says.parameters ?? [];
  // A stream of events has no end that could be shown.
  const asked = method === 'GET' && !says.responses?.['200']?.content?.['text/event-stream'];
  return [
    given.length > 0 &&
      h(
        'dl',
        { class: 'pairs', lang: 'en' },
        given.map((/** @type {any} */ it) => [
          h('dt', null, h('code', null, it.name), it.required ? ' *' : ''),
          h('dd', null, it.description ?? it.schema?.description ?? ''),
        ]),
      ),
    body && [
      h('h3', null, t('api.body')),
      h('pre', { tabindex: '0' }, JSON.stringify(body.examples?.[0] ?? {}, null, 2)),
      members(body, all),
    ],
    asked && ask({ path, given }, tried, id, redraw),
    asCommand({ method, path, body: method === 'GET' ? undefined : body?.examples?.[0] }),
  ];
}

/** What a body may have. @param {any} schema @param {any} all */
function members(schema, all) {
  const rows = Object.entries(schema.properties ?? {});
  return (
    rows.length > 0 &&
    h(
      'dl',
      { class: 'pairs', lang: 'en' },
      rows.map(([name, says]) => [
        h('dt', null, h('code', null, name), schema.required?.includes(name) ? ' *' : ''),
        h('dd', null, /** @type {any} */ (says).description ?? resolve(all, says)?.description ?? ''),
      ]),
    )
  );
}

/** @param {any} all @param {any} schema @returns {any} */
function resolve(all, schema) {
  if (!schema?.$ref) return schema;
  return schema.$ref
    .slice(2)
    .split('/')
    .reduce((/** @type {any} */ at, /** @type {string} */ part) => at?.[part], all);
}

/** @param {any} route @param {Map<string, any>} tried @param {string} id @param {() => void} redraw */
function ask({ path, given }, tried, id, redraw) {
  if (!tried.has(id)) tried.set(id, { form: draft({}, redraw), answer: null });
  const it = tried.get(id);
  const send = async () => {
    const value = (/** @type {string} */ name) => it.form.get(name) ?? '';
    const target = path.replace(/\{(\w+)\}/g, (/** @type {string} */ _, /** @type {string} */ name) =>
      encodeURIComponent(value(name)),
    );
    const query = Object.fromEntries(
      given
        .filter((/** @type {any} */ one) => one.in === 'query')
        .map((/** @type {any} */ one) => [one.name, value(one.name)]),
    );
    const answer = await call('GET', target, { query });
    const text = (await answer.text()).slice(0, 20_000);
    it.answer = answer.headers.get('content-type')?.includes('json') ? pretty(text) : text;
  };
  return [
    form(
      it.form,
      { action: t('api.ask'), send, redraw },
      given.length > 0 &&
        h(
          'div',
          { class: 'two' },
          given
            .filter((/** @type {any} */ one) => one.in !== 'header')
            .map((/** @type {any} */ one) => field(it.form, one.name, one.name, { required: one.required })),
        ),
    ),
    it.answer != null && h('pre', { tabindex: '0' }, it.answer),
  ];
}

/** @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
