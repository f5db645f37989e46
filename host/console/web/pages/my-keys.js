// @ts-check
// One's own API keys: made in one form that shows what the key may do, shown once, limited, switched off and on again.

import { change, fresh, get, session } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t } from '../kernel/words.js';
import { dialog } from '../parts/dialog.js';
import { meter } from '../parts/figures.js';
import { ago, count, points } from '../parts/format.js';
import { state } from '../parts/icon.js';
import { keyBody, keyDraft, keyForm, shownOnce, summary } from '../parts/keys.js';
import { empty, problem, warning } from '../parts/note.js';
import { preview } from '../parts/preview.js';
import { pages, resource } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';
import { listed, table } from '../parts/table.js';

/** What is open on the page. */
const shut = () => ({
  making: /** @type {any} */ (null),
  edit: /** @type {any} */ (null),
  shown: /** @type {string | null} */ (null),
  undo: /** @type {any} */ (null),
  error: /** @type {any} */ (null),
  once: fresh(),
  /** The key as it was when its form was opened. */
  seen: /** @type {any} */ (null),
});

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path } = page;
  const me = session.user.id;
  const today = new Date().toISOString().slice(0, 10);
  const list = pages(redraw, (cursor, signal) => get(`users/${me}/keys`, { cursor }, signal));
  const used = resource(redraw, (signal) => get('usage', { user: me, by: 'key', from: today, until: today }, signal));
  const about = resource(redraw, (signal) => get('about', {}, signal));
  const now = shut();
  let able = preview(redraw);
  const find = (/** @type {string} */ id) => list.value?.rows.find((/** @type {any} */ row) => row.id === id);
  const reopen = () => {
    const key = find(path[1]);
    able.close();
    able = preview(redraw);
    Object.assign(now, { edit: key ? keyDraft(key, redraw) : null, seen: null });
    if (key) void see(key.id);
  };
  /** What is edited is the version that was seen: what another tab has changed in between is not overwritten. */
  const see = async (/** @type {string} */ id) => {
    const key = await get(`keys/${id}`).catch(() => null);
    if (key && id === path[1] && now.edit?.untouched) put(key);
  };
  const load = async () => {
    await list.load();
    reopen();
    redraw();
  };
  void load();
  void used.load();
  void about.load();

  /** @param {any} key */
  const put = (key) => {
    if (list.value) list.value.rows = list.value.rows.map((/** @type {any} */ row) => (row.id === key.id ? key : row));
    if (key.id === path[1]) Object.assign(now, { edit: keyDraft(key, redraw), seen: key });
    redraw();
  };
  const toggle = async (/** @type {any} */ key) => {
    Object.assign(now, { error: null, undo: null });
    await change('PATCH', `keys/${key.id}`, { enabled: !key.enabled }).then(
      (changed) => {
        put(changed);
        now.undo = changed;
      },
      (error) => Object.assign(now, { error }),
    );
    redraw();
  };
  const act = {
    put,
    toggle,
    redraw,
    back: () => path[1] && go(['my-keys']),
    make: async () => {
      const made = await change('POST', 'keys', keyBody(now.making), now.once);
      Object.assign(now, { making: null, shown: made.key, once: fresh() });
      await load();
    },
    begin: () => {
      able.close();
      able = preview(redraw);
      Object.assign(now, { making: keyDraft(null, redraw), error: null });
      redraw();
    },
  };
  const spent = (/** @type {any} */ key) =>
    used.value?.data.find((/** @type {any} */ row) => row.name === key.id)?.tokens ?? 0;
  return {
    draw: () => {
      const key = find(path[1]);
      return [
        head(list, about.value, act),
        problem(now.error),
        now.undo && undone(now.undo, act),
        h(
          'div',
          { class: key ? 'split open' : 'split' },
          h('div', { key: 'list' }, keyList({ list, act, spent, current: path[1] })),
          key &&
            h(
              'aside',
              { key: key.id, tabindex: '-1', 'aria-label': key.name },
              panel(key, { now, act, able: () => able }),
            ),
        ),
        over(now, act, () => able),
      ];
    },
    moved(/** @type {any} */ place) {
      ({ path } = place);
      reopen();
    },
    close: () => {
      for (const it of [list, used, about, able]) it.close();
    },
    keys: { Escape: act.back },
  };
}

/** @param {any} list @param {any} about @param {any} act */
function head(list, about, act) {
  const most = about?.keys_per_user_max;
  const rows = list.value && !list.value.next ? list.value.rows.length : null;
  return h(
    'div',
    { class: 'head' },
    h('h1', null, t('page.my-keys')),
    most && rows !== null && h('span', { class: 'muted' }, t('my-keys.of', { n: rows, most })),
    h('div', { class: 'end' }, h('button', { type: 'button', class: 'main', onclick: act.begin }, t('my-keys.make'))),
  );
}

/** What was just switched, and the way back. @param {any} key @param {any} act */
const undone = (key, act) =>
  h(
    'p',
    { class: 'note', role: 'status' },
    h('span', null, t(key.enabled ? 'my-keys.is-on' : 'my-keys.is-off', { name: key.name })),
    h('button', { type: 'button', onclick: () => act.toggle(key) }, t('my-keys.undo')),
  );

/** @param {any} of */
function keyList({ list, act, spent, current }) {
  return [
    listed(
      list,
      (rows) =>
        table({
          columns: columns(act, spent),
          rows,
          key: (row) => row.id,
          label: t('page.my-keys'),
          href: (row) => href(['my-keys', row.id]),
          current,
          rowClass: (row) => (row.enabled ? '' : 'faint'),
        }),
      empty(t('my-keys.empty'), h('button', { type: 'button', onclick: act.begin }, t('my-keys.make'))),
    ),
    asCommand({ method: 'GET', path: 'keys' }),
  ];
}

/** @param {any} act @param {(key: any) => number} spent @returns {import('../parts/table.js').Column<any>[]} */
const columns = (act, spent) => [
  { name: t('my-keys.name'), cell: (row) => row.name },
  { name: t('my-keys.hint'), cell: (row) => h('code', null, `${row.hint}…`) },
  {
    name: t('my-keys.state'),
    cell: (row) => [
      standing(row),
      ' ',
      h(
        'button',
        { type: 'button', class: 'plain', onclick: () => act.toggle(row) },
        t(row.enabled ? 'my-keys.off' : 'my-keys.on'),
      ),
    ],
  },
  {
    name: t('my-keys.limits'),
    wide: true,
    cell: (row) => {
      const most = row.limits.tokens_per_day;
      if (most == null) return summary(row.limits);
      const text = t('my-keys.today', { used: count(spent(row)), most: count(most) });
      return [summary(row.limits), h('br', null), meter(spent(row), most, text)];
    },
  },
  { name: t('my-keys.used'), cell: (row) => ago(row.last_used_ms) },
  { name: t('my-keys.calls'), number: true, cell: (row) => count(row.requests) },
  { name: t('my-keys.tokens'), number: true, cell: (row) => count(row.tokens) },
  { name: t('unit.points'), number: true, cell: (row) => points(row.points) },
];

/** @param {any} row */
function standing(row) {
  if (!row.enabled) return state('off', t('off'));
  const over = row.expires_at_ms != null && row.expires_at_ms <= Date.now();
  return over ? state('bad', t('my-keys.over')) : state('good', t('on'));
}

/** @param {any} key @param {any} of */
function panel(key, { now, act, able }) {
  const save = async () =>
    act.put(await change('PATCH', `keys/${key.id}`, keyBody(now.edit, key), undefined, now.seen));
  return [
    h(
      'div',
      { class: 'head' },
      h('h2', null, key.name),
      h(
        'div',
        { class: 'end' },
        h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: act.back }, '×'),
      ),
    ),
    h(
      'p',
      { class: 'actions' },
      h('a', { class: 'button', href: href(['my-calls'], { key: key.id }) }, t('page.my-calls')),
      h(
        'button',
        { type: 'button', class: key.enabled ? 'danger' : null, onclick: () => act.toggle(key) },
        t(key.enabled ? 'my-keys.off' : 'my-keys.on'),
      ),
    ),
    h('p', { class: 'muted' }, t('my-keys.lost')),
    key.keep_bodies && warning(h('p', null, t('my-keys.bodies'))),
    now.edit &&
      keyForm(now.edit, { action: t('save'), send: save, redraw: act.redraw, key, more: () => able().draw(now.edit) }),
  ];
}

/** What stands above the page. @param {any} now @param {any} act @param {() => any} able */
function over(now, act, able) {
  const closed = (/** @type {string} */ name) => () => {
    now[name] = null;
    act.redraw();
  };
  if (now.making) {
    const more = () => able().draw(now.making);
    return dialog(
      t('my-keys.make'),
      closed('making'),
      keyForm(now.making, { action: t('my-keys.make'), send: act.make, redraw: act.redraw, more }),
    );
  }
  if (now.shown) return shownOnce(t('my-keys.made'), [now.shown], closed('shown'));
  return null;
}
