// @ts-check
// Everyone's API keys, with what was used of them. One is switched off at once, and on again as fast.

import { change, fresh, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t } from '../kernel/words.js';
import { dialog, question } from '../parts/dialog.js';
import { filterBar, filterOf } from '../parts/filter.js';
import { ago, count, points } from '../parts/format.js';
import { state } from '../parts/icon.js';
import { keyBody, keyDraft, keyForm, shownOnce, summary } from '../parts/keys.js';
import { empty, problem, warning } from '../parts/note.js';
import { pages } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';
import { listed, table } from '../parts/table.js';

const FILTER = () => [{ name: 'user', label: t('keys.user.id'), first: true }];

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path, query } = page;
  const user = () => query.get('user');
  const list = pages(redraw, (cursor, signal) =>
    get(user() ? `users/${encodeURIComponent(user())}/keys` : 'keys', { cursor }, signal),
  );
  const now = {
    making: /** @type {any} */ (null),
    edit: /** @type {any} */ (null),
    asked: /** @type {any} */ (null),
    shown: /** @type {string | null} */ (null),
    once: fresh(),
    error: /** @type {any} */ (null),
    asking: {},
    seen: /** @type {any} */ (null),
  };
  const find = (/** @type {string} */ id) => list.value?.rows.find((/** @type {any} */ row) => row.id === id);
  /** What is edited is the version that was seen: another's change in between is not overwritten. */
  const seen = async (/** @type {string} */ id) => {
    const key = await get(`keys/${id}`).catch(() => null);
    if (key && id === path[1] && now.edit?.untouched) put(key);
  };
  const opened = () => {
    const key = find(path[1]);
    Object.assign(now, { edit: key ? keyDraft(key, redraw) : null, seen: null });
    if (key) void seen(key.id);
  };
  const load = async () => {
    await list.load();
    opened();
    redraw();
  };
  void load();
  const make = async () => {
    const body = { ...keyBody(now.making), user: now.making.get('user') };
    const made = await change('POST', 'keys', body, now.once);
    Object.assign(now, { making: null, shown: made.key, once: fresh() });
    await load();
  };
  /** Puts a row that has changed in the place of the one before. @param {any} key */
  const put = (key) => {
    if (list.value) list.value.rows = list.value.rows.map((/** @type {any} */ row) => (row.id === key.id ? key : row));
    if (key.id === path[1]) Object.assign(now, { edit: keyDraft(key, redraw), seen: key });
    redraw();
  };
  const patch = async (/** @type {any} */ key, /** @type {any} */ body) => {
    now.error = null;
    await change('PATCH', `keys/${key.id}`, body).then(put, (error) => {
      now.error = error;
    });
    redraw();
  };
  const back = () => path[1] && go(['keys'], query);
  const draw = () => {
    const key = find(path[1]);
    return [
      h(
        'div',
        { class: 'head' },
        h('h1', null, t('page.keys')),
        h(
          'div',
          { class: 'end' },
          h(
            'button',
            {
              type: 'button',
              class: 'main',
              onclick: () => {
                now.making = keyDraft(null, redraw);
                redraw();
              },
            },
            t('keys.make'),
          ),
        ),
      ),
      filterBar({
        parts: FILTER(),
        values: filterOf(query, FILTER()),
        id: 'keys',
        set: (values) => go(['keys'], values),
      }),
      problem(now.error),
      h(
        'div',
        { class: key ? 'split open' : 'split' },
        h(
          'div',
          { key: 'list' },
          listed(
            list,
            (rows) =>
              table({
                columns: columns(patch),
                rows,
                key: (row) => row.id,
                label: t('page.keys'),
                href: (row) => href(['keys', row.id], query),
                current: path[1],
                rowClass: (row) => (row.enabled ? '' : 'faint'),
              }),
            empty(t('keys.empty')),
          ),
          asCommand({ method: 'GET', path: 'keys', command: 'tollgate key list' }),
        ),
        key &&
          h('aside', { key: key.id, tabindex: '-1', 'aria-label': key.name }, panel(key, { now, redraw, put, back })),
      ),
      now.making &&
        dialog(
          t('keys.make'),
          () => {
            now.making = null;
            redraw();
          },
          keyForm(now.making, { action: t('keys.make'), send: make, redraw, user: true }),
        ),
      now.shown &&
        shownOnce(t('keys.made'), [now.shown], () => {
          now.shown = null;
          redraw();
        }),
      now.asked &&
        question({
          title: t('keys.revoke'),
          text: h('p', null, t('keys.revoke.text', { name: now.asked.name })),
          action: t('keys.revoke'),
          danger: true,
          state: now.asking,
          redraw,
          done: () => {
            now.asked = null;
            redraw();
          },
          run: async () => {
            await change('DELETE', `keys/${now.asked.id}`);
            back();
            await load();
          },
        }),
    ];
  };
  return {
    draw,
    moved(/** @type {any} */ place) {
      const before = user();
      ({ path, query } = place);
      opened();
      if (user() !== before) void load();
    },
    close: () => list.close(),
    keys: { Escape: back },
  };
}

/** @param {(key: any, body: any) => void} patch @returns {import('../parts/table.js').Column<any>[]} */
const columns = (patch) => [
  { name: t('keys.name'), cell: (row) => row.name },
  { name: t('keys.user'), cell: (row) => row.user },
  { name: t('keys.hint'), cell: (row) => h('code', null, `${row.hint}…`) },
  {
    name: t('keys.state'),
    cell: (row) => [
      keyState(row),
      ' ',
      h(
        'button',
        { type: 'button', class: 'plain', onclick: () => patch(row, { enabled: !row.enabled }) },
        row.enabled ? t('keys.off') : t('keys.on'),
      ),
    ],
  },
  { name: t('keys.limits'), wide: true, cell: (row) => summary(row.limits) },
  { name: t('keys.used'), cell: (row) => ago(row.last_used_ms) },
  { name: t('keys.calls'), number: true, cell: (row) => count(row.requests) },
  { name: t('keys.tokens'), number: true, cell: (row) => count(row.tokens) },
  { name: t('unit.points'), number: true, cell: (row) => points(row.points) },
];

/** @param {any} row */
function keyState(row) {
  if (!row.enabled) return state('off', t('off'));
  const over = row.expires_at_ms != null && row.expires_at_ms <= Date.now();
  return over ? state('bad', t('keys.over')) : state('good', t('on'));
}

/** @param {any} key @param {any} of */
function panel(key, { now, redraw, put, back }) {
  const save = async () => put(await change('PATCH', `keys/${key.id}`, keyBody(now.edit, key), undefined, now.seen));
  const keep = async () => {
    now.error = null;
    await change('PUT', `keys/${key.id}/keep-bodies`, { keep: !key.keep_bodies }).then(
      () => put({ ...key, keep_bodies: !key.keep_bodies }),
      (error) => {
        now.error = error;
      },
    );
    redraw();
  };
  return [
    h(
      'div',
      { class: 'head' },
      h('h2', null, key.name),
      h(
        'div',
        { class: 'end' },
        h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: back }, '×'),
      ),
    ),
    h(
      'p',
      { class: 'actions' },
      h('a', { class: 'button', href: href(['calls'], { key: key.id }) }, t('page.calls')),
      h('a', { class: 'button', href: href(['try'], { key: key.id }) }, t('page.try')),
      h(
        'button',
        {
          type: 'button',
          class: 'danger',
          onclick: () => {
            now.asked = key;
            now.asking = {};
            redraw();
          },
        },
        t('keys.revoke'),
      ),
    ),
    now.edit && keyForm(now.edit, { action: t('save'), send: save, redraw, key }),
    h('h3', null, t('keys.bodies')),
    key.keep_bodies ? warning(h('p', null, t('keys.bodies.kept'))) : h('p', null, t('keys.bodies.not')),
    h('button', { type: 'button', onclick: keep }, key.keep_bodies ? t('keys.bodies.stop') : t('keys.bodies.start')),
  ];
}
