// @ts-check
// Codes that are worth points: a batch is shown once, can be saved, and is counted as it is redeemed.

import { change, fresh, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';
import { dialog, shut } from '../parts/dialog.js';
import { draft, field, form } from '../parts/form.js';
import { count, moment, points } from '../parts/format.js';
import { state } from '../parts/icon.js';
import { shownOnce } from '../parts/keys.js';
import { empty, problem } from '../parts/note.js';
import { pages } from '../parts/resource.js';
import { asCommand, save } from '../parts/save.js';
import { listed, table } from '../parts/table.js';

/** @param {any} page */
export function open({ redraw }) {
  const list = pages(redraw, (cursor, signal) => get('codes', { cursor }, signal));
  const now = {
    making: /** @type {any} */ (null),
    shown: /** @type {any} */ (null),
    once: fresh(),
    error: /** @type {any} */ (null),
  };
  void list.load();
  const make = async () => {
    const it = now.making;
    const body = {
      label: it.get('label'),
      points: it.get('points'),
      count: it.get('count'),
      uses_max: it.get('uses_max') ?? 1,
      expires_at_ms: it.get('expires_at_ms') ?? undefined,
    };
    const made = await change('POST', 'codes', body, now.once);
    Object.assign(now, { making: null, shown: { label: body.label, codes: made.codes }, once: fresh() });
    await list.load();
  };
  const toggle = async (/** @type {any} */ row) => {
    now.error = null;
    await change('PATCH', `codes/${row.id}`, { enabled: !row.enabled }).catch((error) => {
      now.error = error;
    });
    await list.load();
  };
  const start = () => {
    now.making = draft({ count: 1, uses_max: 1 }, redraw);
    redraw();
  };
  const draw = () => [
    h(
      'div',
      { class: 'head' },
      h('h1', null, t('page.codes')),
      h('div', { class: 'end' }, h('button', { type: 'button', class: 'main', onclick: start }, t('codes.make'))),
    ),
    h('p', { class: 'muted' }, t('codes.text')),
    problem(now.error),
    listed(
      list,
      (rows) =>
        table({
          columns: columns(toggle),
          rows,
          key: (row) => row.id,
          label: t('page.codes'),
          rowClass: (row) => (row.enabled ? '' : 'faint'),
        }),
      empty(t('codes.none')),
    ),
    asCommand({ method: 'GET', path: 'codes', command: 'tollgate code list' }),
    now.making &&
      dialog(
        t('codes.make'),
        () => {
          now.making = null;
          redraw();
        },
        makeForm(now.making, make, redraw),
      ),
    now.shown &&
      shownOnce(
        t('codes.made', { n: now.shown.codes.length }),
        now.shown.codes,
        () => {
          now.shown = null;
          redraw();
        },
        h(
          'button',
          {
            type: 'button',
            onclick: () => save(new Blob([`${now.shown.codes.join('\n')}\n`]), `${now.shown.label}.txt`),
          },
          t('codes.save'),
        ),
      ),
  ];
  return { draw, close: () => list.close() };
}

/** @param {(row: any) => void} toggle @returns {import('../parts/table.js').Column<any>[]} */
const columns = (toggle) => [
  { name: t('codes.label'), cell: (row) => row.label },
  { name: t('codes.worth'), number: true, cell: (row) => points(row.points) },
  { name: t('codes.codes'), number: true, cell: (row) => count(row.codes) },
  { name: t('codes.uses'), number: true, cell: (row) => count(row.uses_max) },
  { name: t('codes.redeemed'), number: true, cell: (row) => count(row.redeemed) },
  { name: t('codes.until'), cell: (row) => (row.expires_at_ms ? moment(row.expires_at_ms) : t('codes.always')) },
  {
    name: t('codes.state'),
    cell: (row) => [
      row.enabled ? state('good', t('on')) : state('off', t('off')),
      ' ',
      h(
        'button',
        { type: 'button', class: 'plain', onclick: () => toggle(row) },
        row.enabled ? t('codes.stop') : t('codes.start'),
      ),
    ],
  },
  { name: t('codes.made.at'), cell: (row) => moment(row.created_at_ms) },
];

/** @param {any} it @param {() => Promise<any>} send @param {() => void} redraw */
const makeForm = (it, send, redraw) =>
  form(
    it,
    { action: t('codes.make'), send, redraw, cancel: shut },
    field(it, 'label', t('codes.label'), { required: true, focus: true, hint: t('codes.label.hint') }),
    h(
      'div',
      { class: 'two' },
      field(it, 'points', t('codes.worth'), { required: true, pattern: '[0-9]+([.][0-9]{1,6})?' }),
      field(it, 'count', t('codes.codes'), { type: 'number', min: 1, max: 10_000, required: true }),
      field(it, 'uses_max', t('codes.uses'), { type: 'number', min: 1, hint: t('codes.uses.hint') }),
      field(it, 'expires_at_ms', t('codes.until'), { type: 'datetime', hint: t('codes.until.hint') }),
    ),
  );
