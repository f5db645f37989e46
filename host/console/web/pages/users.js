// @ts-check
// Users with their balances. Some or all are chosen for a price rate, which is set with its effect shown first. Rates
// are for operators: no user is ever shown one.

import { change, fresh, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { percent } from '../parts/call.js';
import { dialog, shut } from '../parts/dialog.js';
import { filterBar, filterOf } from '../parts/filter.js';
import { draft, field, form } from '../parts/form.js';
import { moment, points } from '../parts/format.js';
import { state } from '../parts/icon.js';
import { busy, empty, warning } from '../parts/note.js';
import { pages } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';
import { listed, table } from '../parts/table.js';
import { userPanel } from '../parts/user.js';

const FILTER = () => [{ name: 'search', label: t('users.search'), first: true }];

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path, query } = page;
  const filter = () => filterOf(query, FILTER());
  // Both lists are of the same users in the same order, so one cursor is good for both.
  const list = pages(redraw, async (cursor, signal) => {
    const asked = ['users', 'price-rates'].map((name) => get(name, { ...filter(), cursor }, signal));
    const [users, rates] = await Promise.all(asked);
    const ppm = new Map(rates.data.map((/** @type {any} */ it) => [it.user, it.ppm]));
    return { ...users, data: users.data.map((/** @type {any} */ it) => ({ ...it, ppm: ppm.get(it.id) })) };
  });
  /** @type {Set<string>} */
  const chosen = new Set();
  const state_ = { making: /** @type {any} */ (null), rating: /** @type {any} */ (null), once: fresh() };
  const changed = () => void list.load();
  const panelOf = (/** @type {string | undefined} */ id) => (id ? userPanel(id, { redraw, changed }) : null);
  let panel = panelOf(path[1]);
  void list.load();

  const make = async () => {
    const form_ = state_.making;
    const body = Object.fromEntries(
      ['name', 'role', 'password', 'points', 'floor']
        .map((name) => [name, form_.get(name)])
        .filter(([, value]) => value),
    );
    const made = await change('POST', 'users', body, state_.once);
    Object.assign(state_, { making: null, once: fresh() });
    changed();
    go(['users', made.id], query);
  };
  const rate = async () => {
    const [users, all] = [[...chosen], state_.rating.get('all')];
    await change('PUT', 'price-rates', { ppm: ppm(state_.rating.get('percent')), ...(all ? { all } : { users }) });
    state_.rating = null;
    chosen.clear();
    await list.load();
  };
  const toggle = (/** @type {string} */ name) => {
    if (!chosen.delete(name)) chosen.add(name);
    redraw();
  };
  const back = () => path[1] && go(['users'], query);
  const draw = () => [
    h(
      'div',
      { class: 'head' },
      h('h1', null, t('page.users')),
      h(
        'div',
        { class: 'end' },
        h(
          'button',
          {
            type: 'button',
            onclick: () => {
              state_.rating = draft({ percent: '100', all: chosen.size === 0 }, redraw);
              redraw();
            },
          },
          chosen.size ? t('users.rate.some', { n: chosen.size }) : t('users.rate.all'),
        ),
        h(
          'button',
          {
            type: 'button',
            class: 'main',
            onclick: () => {
              state_.making = draft({ role: 'user' }, redraw);
              redraw();
            },
          },
          t('users.make'),
        ),
      ),
    ),
    filterBar({
      parts: FILTER(),
      values: filter(),
      id: 'users',
      set: (values) => go(['users', ...path.slice(1)], values),
    }),
    h(
      'div',
      { class: panel ? 'split open' : 'split' },
      h(
        'div',
        { key: 'list' },
        listed(
          list,
          (rows) =>
            table({
              columns: columns(chosen, toggle),
              rows,
              key: (row) => row.id,
              label: t('page.users'),
              href: (row) => href(['users', row.id], query),
              current: path[1],
              rowClass: (row) => (row.enabled ? '' : 'faint'),
            }),
          empty(t('users.none')),
        ),
        asCommand({ method: 'GET', path: 'users', query: filter(), command: 'tollgate user list' }),
      ),
      panel && h('aside', { key: path[1], tabindex: '-1', 'aria-label': t('users.one') }, panel.draw(back)),
    ),
    state_.making && making(state_, make, redraw),
    state_.rating && rating(state_, { chosen, rows: list.value?.rows ?? [], send: rate, redraw }),
  ];
  return {
    draw,
    moved(/** @type {any} */ place) {
      const before = filter().search;
      if (place.path[1] !== path[1]) panel = panelOf(place.path[1]);
      ({ path, query } = place);
      if (filter().search !== before) void list.load();
    },
    close() {
      list.close();
    },
    keys: { Escape: back, j: () => step(1), k: () => step(-1) },
  };
  /** @param {number} by */
  function step(by) {
    const rows = list.value?.rows ?? [];
    const at = rows.findIndex((/** @type {any} */ row) => row.id === path[1]);
    const next = rows[at < 0 ? 0 : at + by];
    if (next) go(['users', next.id], query, true);
  }
}

/** @param {Set<string>} chosen @param {(name: string) => void} toggle */
function columns(chosen, toggle) {
  /** @type {import('../parts/table.js').Column<any>[]} */
  const all = [
    { name: t('users.name'), cell: (row) => row.name },
    {
      name: t('users.choose'),
      cell: (row) =>
        h('input', {
          type: 'checkbox',
          checked: chosen.has(row.name),
          'aria-label': t('users.choose.one', { name: row.name }),
          onchange: () => toggle(row.name),
        }),
    },
    { name: t('users.role'), cell: (row) => word('role', row.role) },
    { name: t('users.state'), cell: (row) => (row.enabled ? state('good', t('on')) : state('off', t('off'))) },
    { name: t('users.points'), number: true, cell: (row) => points(row.points) },
    { name: t('users.reserved'), number: true, cell: (row) => points(row.reserved) },
    { name: t('users.rate'), number: true, cell: (row) => percent(row.ppm) },
    { name: t('users.since'), cell: (row) => moment(row.created_at_ms) },
  ];
  return all;
}

/** @param {any} of @param {() => Promise<any>} send @param {() => void} redraw */
function making(of, send, redraw) {
  const it = of.making;
  const closed = () => {
    of.making = null;
    redraw();
  };
  return dialog(
    t('users.make'),
    closed,
    form(
      it,
      { action: t('users.make'), send, redraw, cancel: shut },
      field(it, 'name', t('users.name'), { required: true, focus: true }),
      field(it, 'role', t('users.role'), {
        options: [
          ['user', word('role', 'user')],
          ['admin', word('role', 'admin')],
        ],
      }),
      field(it, 'password', t('login.password'), {
        type: 'password',
        auto: 'new-password',
        hint: t('users.password.hint'),
      }),
      h(
        'div',
        { class: 'two' },
        field(it, 'points', t('users.points.first'), { pattern: '[0-9]+([.][0-9]{1,6})?' }),
        field(it, 'floor', t('users.floor'), { hint: t('users.floor.hint'), pattern: '-?[0-9]+([.][0-9]{1,6})?' }),
      ),
    ),
  );
}

/** Hundredths as millionths, in digits alone; `NaN` for what is no number. @param {any} text */
export function ppm(text) {
  const found = /^([0-9]{1,4})(?:[.]([0-9]{0,4}))?$/.exec(String(text).trim());
  return found ? Number(found[1]) * 10_000 + Number((found[2] ?? '').padEnd(4, '0')) : NaN;
}

/** The rate to set, and from what to what it takes whom. @param {any} of @param {any} how */
function rating(of, { chosen, rows, send, redraw }) {
  const it = of.rating;
  const closed = () => {
    of.rating = null;
    redraw();
  };
  const next = ppm(it.get('percent'));
  const known = rows.filter((/** @type {any} */ row) => it.get('all') || chosen.has(row.name));
  const effect = known
    .slice(0, 20)
    .map((/** @type {any} */ row) =>
      h(
        'li',
        { key: row.id },
        row.name,
        ': ',
        percent(row.ppm),
        ' → ',
        h('strong', null, Number.isNaN(next) ? '…' : percent(next)),
      ),
    );
  return dialog(
    t('users.rate.set'),
    closed,
    form(
      it,
      {
        action: t('users.rate.set'),
        send,
        redraw,
        cancel: shut,
        unchanged: Number.isNaN(next) || (!it.get('all') && chosen.size === 0),
      },
      field(it, 'percent', t('users.rate.percent'), { required: true, focus: true, hint: t('users.rate.hint') }),
      field(it, 'all', t('users.rate.everyone'), { type: 'checkbox' }),
      it.get('all') && warning(h('p', null, t('users.rate.careful'))),
      h('h3', null, t('users.rate.effect')),
      rows.length ? h('ul', null, effect) : busy(),
      (it.get('all') || known.length > 20) && h('p', { class: 'muted' }, t('users.rate.more')),
    ),
  );
}
