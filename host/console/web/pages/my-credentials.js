// @ts-check
// One's own provider keys: the form is drawn from what the gateway says of each platform, the provider's answer is put
// in plain words, and a key can be lent and taken back.

import { change, fresh, get, session } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { known, t, word } from '../kernel/words.js';
import {
  credentialBody,
  credentialForm,
  editBody,
  editForm,
  standing,
  storage,
  storageWarning,
} from '../parts/credential.js';
import { dialog, question } from '../parts/dialog.js';
import { draft } from '../parts/form.js';
import { ago, count, points } from '../parts/format.js';
import { lending } from '../parts/lend.js';
import { empty, problem } from '../parts/note.js';
import { pages, resource } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';
import { listed, table } from '../parts/table.js';

/** What is open on the page. */
const shut = () => ({
  making: /** @type {any} */ (null),
  edit: /** @type {any} */ (null),
  lend: /** @type {any} */ (null),
  asked: /** @type {any} */ (null),
  error: /** @type {any} */ (null),
  said: /** @type {any} */ (null),
  /** The key as it was when its form was opened. */
  seen: /** @type {any} */ (null),
  once: fresh(),
  asking: {},
});

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path } = page;
  const user = session.user.id;
  const list = pages(redraw, (cursor, signal) => get('credentials', { user, cursor }, signal));
  const about = resource(redraw, (signal) => get('about', {}, signal));
  const terms = resource(redraw, (signal) => get('lending', {}, signal));
  const places = resource(redraw, async (signal) => (await get('platforms', {}, signal)).data);
  const now = shut();
  const find = (/** @type {string} */ id) => list.value?.rows.find((/** @type {any} */ row) => row.id === id);
  const reopen = () => {
    const row = find(path[1]);
    now.lend?.close();
    Object.assign(now, { edit: row ? draft({ ...row, ...row.limits }, redraw) : null, seen: null });
    if (row) void see(row.id);
    now.lend = row ? lending(row, { terms: () => terms.value, changed: load, redraw }) : null;
  };
  /** What is edited is the version that was seen: what another tab has changed in between is not overwritten. */
  const see = async (/** @type {string} */ id) => {
    const row = await get(`credentials/${id}`).catch(() => null);
    if (!row || id !== path[1] || !now.edit?.untouched) return;
    Object.assign(now, { edit: draft({ ...row, ...row.limits }, redraw), seen: row });
    redraw();
  };
  const load = async () => {
    await list.load();
    reopen();
    redraw();
  };
  void load();
  void about.load();
  void terms.load();
  const told = (/** @type {any} */ checked) => {
    const result = checked.check?.result;
    const gift = checked.reward ? ` ${t('mine.reward', { n: points(checked.reward) })}` : '';
    now.said = (checked.unchecked ?? (result ? plain(result) : t('mine.added'))) + gift;
  };
  const act = {
    redraw,
    back: () => path[1] && go(['my-credentials']),
    begin: () => {
      if (!places.value) void places.load();
      Object.assign(now, { making: draft({ owner: 'user', check: true }, redraw), said: null, error: null });
      redraw();
    },
    add: async () => {
      const made = await change('POST', 'credentials', credentialBody(now.making, places.value ?? []), now.once);
      Object.assign(now, { making: null, once: fresh() });
      told(made);
      await load();
    },
    check: async (/** @type {any} */ row) => {
      Object.assign(now, { error: null, said: t('credential.asking') });
      redraw();
      await change('POST', `credentials/${row.id}/check`).then(told, (error) =>
        Object.assign(now, { error, said: null }),
      );
      await load();
    },
    save: async (/** @type {any} */ row) => {
      await change('PATCH', `credentials/${row.id}`, editBody(now.edit, row), undefined, now.seen);
      await load();
    },
    ask: (/** @type {any} */ row) => {
      Object.assign(now, { asked: row, asking: {} });
      redraw();
    },
    remove: async () => {
      await change('DELETE', `credentials/${now.asked.id}`);
      act.back();
      await load();
    },
    ownOnly: async (/** @type {any} */ event) => {
      now.error = null;
      await change('PUT', 'me/own-only', { own_only: event.target.checked }).then(
        (me) => Object.assign(session.user, me),
        (error) => Object.assign(now, { error }),
      );
      redraw();
    },
  };
  return {
    draw: () => {
      const row = find(path[1]);
      return [
        head(about.value, act),
        storageWarning(about.value, 'page'),
        ownOnly(act),
        problem(now.error),
        now.said && h('p', { class: 'note', role: 'status' }, now.said),
        h(
          'div',
          { class: row ? 'split open' : 'split' },
          h('div', { key: 'list' }, rows(list, act, path[1])),
          row && h('aside', { key: row.id, tabindex: '-1', 'aria-label': row.label }, panel(row, now, act)),
        ),
        over(now, act, { places, about: about.value }),
      ];
    },
    moved(/** @type {any} */ place) {
      ({ path } = place);
      reopen();
    },
    close: () => {
      for (const it of [list, about, terms, places]) it.close();
      now.lend?.close();
    },
    keys: { Escape: act.back },
  };
}

/** The provider's answer in plain words. @param {string} result */
const plain = (result) => t(known(`says.${result}`) ? `says.${result}` : 'says.other');

/** @param {any} about @param {any} act */
const head = (about, act) =>
  h(
    'div',
    { class: 'head' },
    h('h1', null, t('page.my-credentials'), ' ', storage(about)),
    h('div', { class: 'end' }, h('button', { type: 'button', class: 'main', onclick: act.begin }, t('credential.add'))),
  );

/** @param {any} act */
const ownOnly = (act) =>
  h(
    'div',
    { class: 'field check' },
    h('label', { for: 'own-only' }, t('mine.own-only')),
    h('input', {
      type: 'checkbox',
      id: 'own-only',
      checked: session.user.own_only === true,
      onchange: act.ownOnly,
      'aria-describedby': 'own-only-hint',
    }),
    h('small', { id: 'own-only-hint' }, t('mine.own-only.hint')),
  );

/** @param {any} list @param {any} act @param {string} current */
const rows = (list, act, current) => [
  listed(
    list,
    (all) =>
      table({
        columns: columns(),
        rows: all,
        key: (row) => row.id,
        label: t('page.my-credentials'),
        href: (row) => href(['my-credentials', row.id]),
        current,
        rowClass: (row) => (row.enabled ? '' : 'faint'),
      }),
    empty(
      t('mine.empty'),
      h('p', null, t('mine.empty.why')),
      h('button', { type: 'button', onclick: act.begin }, t('credential.add')),
    ),
  ),
  asCommand({ method: 'GET', path: 'credentials' }),
];

/** @returns {import('../parts/table.js').Column<any>[]} */
const columns = () => [
  { name: t('credential.label'), cell: (row) => row.label },
  { name: t('credential.provider'), cell: (row) => row.provider },
  { name: t('mine.hint'), cell: (row) => h('code', null, `…${row.hint}`) },
  { name: t('credential.state'), wide: true, cell: standing },
  {
    name: t('credential.checked'),
    cell: (row) => (row.check ? [word('check', row.check.result), ', ', ago(row.check.at_ms)] : '–'),
  },
  {
    name: t('credential.lent'),
    cell: (row) =>
      row.shared
        ? t('mine.lent', { used: count(row.shared.used_today), most: count(row.shared.requests_per_day) })
        : '–',
  },
];

/** @param {any} row @param {any} now @param {any} act */
function panel(row, now, act) {
  return [
    h(
      'div',
      { class: 'head' },
      h('h2', null, row.label),
      h(
        'div',
        { class: 'end' },
        h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: act.back }, '×'),
      ),
    ),
    h('p', null, standing(row)),
    h(
      'p',
      { class: 'actions' },
      h('button', { type: 'button', onclick: () => act.check(row) }, t('credential.ask')),
      h('button', { type: 'button', class: 'danger', onclick: () => act.ask(row) }, t('credential.remove')),
    ),
    now.edit && editForm(now.edit, () => act.save(row), act.redraw),
    now.lend?.draw(),
  ];
}

/** What stands above the page. @param {any} now @param {any} act @param {any} of */
function over(now, act, { places, about }) {
  const closed = (/** @type {string} */ name) => () => {
    now[name] = null;
    act.redraw();
  };
  if (now.making) {
    const form = { places: places.value ?? [], about, send: act.add, redraw: act.redraw, operator: false };
    return dialog(
      t('credential.add'),
      closed('making'),
      places.value
        ? credentialForm(now.making, form)
        : h('div', { class: 'body' }, problem(places.error, places.load) ?? t('loading')),
    );
  }
  if (!now.asked) return null;
  return question({
    title: t('credential.remove'),
    text: [h('p', null, t('credential.remove.text', { name: now.asked.label })), storageWarning(about, 'removal')],
    action: t('credential.remove'),
    danger: true,
    state: now.asking,
    redraw: act.redraw,
    done: closed('asked'),
    run: act.remove,
  });
}
