// @ts-check
// What came and went, each with its reason; and a code is turned into points.

import { change, fresh, get, session } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { draft, field, form } from '../parts/form.js';
import { figures } from '../parts/figures.js';
import { moment, points, short } from '../parts/format.js';
import { busy, empty, problem } from '../parts/note.js';
import { pages, resource } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';
import { listed, table } from '../parts/table.js';

/** @param {any} page */
export function open({ redraw }) {
  const account = resource(redraw, (signal) => get(`users/${session.user.id}`, {}, signal));
  const list = pages(redraw, (cursor, signal) => get('transfers', { cursor }, signal));
  const now = { code: draft({ code: '' }, redraw), said: '', once: fresh() };
  void account.load();
  void list.load();
  const redeem = async () => {
    const booked = await change('POST', 'redeem', { code: now.code.get('code').trim() });
    Object.assign(now, {
      code: draft({ code: '' }, redraw),
      said: t('statement.redeemed', { n: points(booked.points) }),
    });
    await Promise.all([account.load(), list.load()]);
  };
  return {
    draw: () => [
      h('div', { class: 'head' }, h('h1', null, t('page.statement'))),
      account.value ? balance(account.value) : account.error ? problem(account.error, account.load) : busy(),
      h(
        'details',
        { class: 'narrow' },
        h('summary', null, t('statement.redeem')),
        form(
          now.code,
          { action: t('statement.redeem'), send: redeem, redraw },
          field(now.code, 'code', t('statement.code'), { required: true, hint: t('statement.code.hint') }),
        ),
      ),
      now.said && h('p', { role: 'status' }, now.said),
      h('h2', null, t('statement.entries')),
      listed(
        list,
        (rows) => table({ columns: columns(), rows, key: (row) => row.id, label: t('statement.entries') }),
        empty(t('statement.empty')),
      ),
      asCommand({ method: 'GET', path: 'transfers' }),
    ],
    close: () => {
      account.close();
      list.close();
    },
  };
}

/** @param {any} account */
const balance = (account) =>
  figures([
    [t('home.balance'), h('span', { id: 'balance' }, points(account.points)), null],
    [t('home.reserved'), points(account.reserved), null],
    ...(/^-?0$/.test(account.floor)
      ? []
      : [/** @type {[string, any]} */ ([t('statement.floor'), points(account.floor)])]),
  ]);

/** @returns {import('../parts/table.js').Column<any>[]} */
const columns = () => [
  { name: t('statement.at'), cell: (row) => moment(row.at_ms) },
  { name: t('statement.kind'), cell: (row) => word('transfer', row.kind) },
  { name: t('statement.why'), wide: true, cell: why },
  {
    name: t('unit.points'),
    number: true,
    cell: (row) => h('span', { class: row.points.startsWith('-') ? null : 'came' }, signed(row.points)),
  },
];

/** @param {any} row */
function why(row) {
  const call =
    row.request && h('a', { href: href(['my-calls', row.request]) }, t('statement.call'), ' ', short(row.request));
  return [row.reason, row.reason && call && ' · ', call];
}

/** @param {string} text */
const signed = (text) => (text.startsWith('-') ? `−${points(text.slice(1))}` : `+${points(text)}`);
