// @ts-check
// Provider keys as they are now: in use, at rest until when, and why. Where they are kept stands in the title, and a
// warning on the page, at the form and at the removal.

import { change, fresh, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { listen } from '../kernel/live.js';
import { go, href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
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
import { filterBar, filterOf } from '../parts/filter.js';
import { draft } from '../parts/form.js';
import { ago, moment } from '../parts/format.js';
import { empty, problem } from '../parts/note.js';
import { pages, resource } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';
import { listed, table } from '../parts/table.js';

/** How often times that are left are drawn again. */
const AGAIN_MS = 1000;
const FILTER = () => [
  { name: 'provider', label: t('credential.provider'), first: true },
  {
    name: 'owner',
    label: t('credential.owner'),
    first: true,
    options: /** @type {[string, string][]} */ ([
      ['platform', word('owner', 'platform')],
      ['user', word('owner', 'user')],
      ['shared', word('owner', 'shared')],
    ]),
  },
];

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path, query } = page;
  const filter = () => filterOf(query, FILTER());
  const list = pages(redraw, (cursor, signal) => get('credentials', { ...filter(), cursor }, signal));
  const house = resource(redraw, async (signal) => {
    const [about, platforms] = await Promise.all([get('about', {}, signal), get('platforms', {}, signal)]);
    return { about, places: platforms.data };
  });
  const now = {
    making: /** @type {any} */ (null),
    edit: /** @type {any} */ (null),
    asked: /** @type {any} */ (null),
    asking: {},
    once: fresh(),
    error: /** @type {any} */ (null),
    said: /** @type {any} */ (null),
    seen: /** @type {any} */ (null),
  };
  const find = (/** @type {string} */ id) => list.value?.rows.find((/** @type {any} */ row) => row.id === id);
  /** What is edited is the version that was seen: another operator's change in between is not overwritten. */
  const seen = async (/** @type {string} */ id) => {
    const row = await get(`credentials/${id}`).catch(() => null);
    if (!row || id !== path[1] || !now.edit?.untouched) return;
    put(row);
    Object.assign(now, { seen: row, edit: draft({ ...row, ...row.limits }, redraw) });
    redraw();
  };
  const opened = () => {
    const row = find(path[1]);
    Object.assign(now, { edit: row ? draft({ ...row, ...row.limits }, redraw) : null, said: null, seen: null });
    if (row) void seen(row.id);
  };
  void list.load().then(() => {
    opened();
    redraw();
  });
  void house.load();
  const put = (/** @type {any} */ row) => {
    if (list.value) list.value.rows = list.value.rows.map((/** @type {any} */ it) => (it.id === row.id ? row : it));
  };
  const stop = listen(
    'events',
    {},
    {
      event: (name, told) => {
        const row = name === 'credential' && find(told.credential);
        if (row) put({ ...row, state: told.state, reason: told.reason, until_ms: told.until_ms });
        redraw();
      },
      state: () => {},
    },
  );
  // What is told are changes of state; how long one still rests is counted here.
  const timer = setInterval(redraw, AGAIN_MS);
  const add = async () => {
    const made = await change('POST', 'credentials', credentialBody(now.making, house.value?.places ?? []), now.once);
    Object.assign(now, { making: null, once: fresh() });
    await list.load();
    go(['credentials', made.id], query);
  };
  const check = async (/** @type {any} */ row) => {
    Object.assign(now, { error: null, said: t('credential.asking') });
    redraw();
    await change('POST', `credentials/${row.id}/check`).then(
      (checked) => {
        put(checked);
        now.said =
          checked.unchecked ?? t('credential.asked', { result: word('check', checked.check?.result ?? 'unknown') });
      },
      (error) => Object.assign(now, { error, said: null }),
    );
    redraw();
  };
  const back = () => path[1] && go(['credentials'], query);
  const about = () => house.value?.about;
  const adding = () => {
    now.making = draft({ owner: 'platform', check: true }, redraw);
    redraw();
  };
  const draw = () => {
    const row = find(path[1]);
    return [
      h(
        'div',
        { class: 'head' },
        h('h1', null, t('page.credentials'), ' ', storage(about())),
        h(
          'div',
          { class: 'end' },
          h('button', { type: 'button', class: 'main', disabled: !house.value, onclick: adding }, t('credential.add')),
        ),
      ),
      storageWarning(about(), 'page'),
      problem(house.error, house.load),
      problem(now.error),
      filterBar({ parts: FILTER(), values: filter(), id: 'credentials', set: (values) => go(['credentials'], values) }),
      h(
        'div',
        { class: row ? 'split open' : 'split' },
        h(
          'div',
          { key: 'list' },
          listed(
            list,
            (rows) =>
              table({
                columns: columns(),
                rows,
                key: (it) => it.id,
                label: t('page.credentials'),
                href: (it) => href(['credentials', it.id], query),
                current: path[1],
                rowClass: (it) => (it.enabled ? '' : 'faint'),
              }),
            empty(t('credential.none'), h('p', null, t('credential.none.how'))),
          ),
          asCommand({ method: 'GET', path: 'credentials', query: filter(), command: 'tollgate credential list' }),
        ),
        row &&
          h(
            'aside',
            { key: row.id, tabindex: '-1', 'aria-label': row.label },
            panel(row, now, { check, back, redraw, put }),
          ),
      ),
      now.making &&
        house.value &&
        dialog(
          t('credential.add'),
          () => {
            now.making = null;
            redraw();
          },
          credentialForm(now.making, { places: house.value.places, about: about(), send: add, redraw, operator: true }),
        ),
      now.asked &&
        question({
          title: t('credential.remove'),
          action: t('credential.remove'),
          danger: true,
          state: now.asking,
          redraw,
          text: [
            h('p', null, t('credential.remove.text', { name: now.asked.label })),
            storageWarning(about(), 'removal'),
          ],
          done: () => {
            now.asked = null;
            redraw();
          },
          run: async () => {
            await change('DELETE', `credentials/${now.asked.id}`);
            back();
            await list.load();
          },
        }),
    ];
  };
  return {
    draw,
    moved(/** @type {any} */ place) {
      const before = JSON.stringify(filter());
      ({ path, query } = place);
      opened();
      if (JSON.stringify(filter()) !== before) void list.load();
    },
    close() {
      clearInterval(timer);
      stop();
      list.close();
      house.close();
    },
    keys: { Escape: back },
  };
}

/** @returns {import('../parts/table.js').Column<any>[]} */
const columns = () => [
  { name: t('credential.label'), cell: (row) => row.label },
  { name: t('credential.provider'), cell: (row) => row.provider },
  { name: t('credential.state'), wide: true, cell: standing },
  {
    name: t('credential.owner'),
    cell: (row) => (row.user ? `${word('owner', row.owner)}: ${row.user}` : word('owner', row.owner)),
  },
  { name: t('credential.ends'), cell: (row) => h('code', null, `…${row.hint}`) },
  { name: t('credential.weight'), number: true, cell: (row) => row.weight },
  { name: t('credential.used'), cell: (row) => ago(row.last_used_ms) },
  {
    name: t('credential.checked'),
    cell: (row) => row.check && [word('check', row.check.result), ' · ', ago(row.check.at_ms)],
  },
];

/** @param {any} row @param {any} now @param {any} how */
function panel(row, now, { check, back, redraw, put }) {
  const save = async () => {
    put(await change('PATCH', `credentials/${row.id}`, editBody(now.edit, row), undefined, now.seen));
    now.edit = null;
    back();
  };
  const ask = () => {
    Object.assign(now, { asked: row, asking: {} });
    redraw();
  };
  return [
    h(
      'div',
      { class: 'head' },
      h('h2', null, row.label),
      h(
        'div',
        { class: 'end' },
        h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: back }, '×'),
      ),
    ),
    h('p', null, standing(row)),
    row.temporary && h('p', { class: 'muted' }, t('credential.temporary')),
    h(
      'p',
      { class: 'actions' },
      h('button', { type: 'button', onclick: () => check(row) }, t('credential.ask')),
      h('a', { class: 'button', href: href(['calls'], { credential: row.id }) }, t('page.calls')),
      h('button', { type: 'button', class: 'danger', onclick: ask }, t('credential.remove')),
    ),
    now.said && h('p', { role: 'status' }, now.said),
    h(
      'dl',
      { class: 'pairs' },
      h('dt', null, t('credential.added')),
      h('dd', null, moment(row.created_at_ms)),
      h('dt', null, t('credential.failures')),
      h('dd', null, row.failures),
      row.shared && [h('dt', null, t('credential.lent')), h('dd', null, t('credential.lent.text', row.shared))],
    ),
    now.edit && editForm(now.edit, save, redraw),
  ];
}
