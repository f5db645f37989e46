// @ts-check
// Lending one's own provider key: the text that is agreed to, how often others may use it, what that earned, and the
// way back, which is one click.

import { change, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { t, word } from '../kernel/words.js';
import { draft, field, form } from './form.js';
import { count, moment, points } from './format.js';
import { problem } from './note.js';
import { pages } from './resource.js';
import { listed, table } from './table.js';

/** @param {any} row a provider key @param {{terms: any, changed: () => Promise<any>, redraw: () => void}} of */
export function lending(row, { terms, changed, redraw }) {
  const path = `credentials/${row.id}`;
  const it = draft({ requests_per_day: row.shared?.requests_per_day ?? 100, agreed: false }, redraw);
  const uses = pages(redraw, (cursor, signal) => get(`${path}/uses`, { cursor }, signal));
  const now = { error: /** @type {any} */ (null) };
  void uses.load();
  const lend = async () => {
    await change('POST', `${path}/share`, {
      consent: terms().consent,
      requests_per_day: Number(it.get('requests_per_day')),
    });
    await changed();
  };
  const back = async () => {
    now.error = null;
    await change('DELETE', `${path}/share`).then(changed, (error) => {
      now.error = error;
    });
    redraw();
  };
  return {
    draw: () => {
      const said = terms();
      if (!said || (!said.enabled && !row.shared && !uses.value?.rows.length)) return null;
      return [
        h('h3', null, t('lend.title')),
        row.shared ? lent(row.shared, back) : said.enabled && agreement(it, said, lend, redraw),
        problem(now.error),
        (row.shared || Boolean(uses.value?.rows.length)) && [
          h('h3', null, t('lend.uses')),
          listed(
            uses,
            (rows) => table({ columns: columns(), rows, key: (use) => use.id, label: t('lend.uses') }),
            h('p', { class: 'muted' }, t('lend.unused')),
          ),
        ],
      ];
    },
    close: () => uses.close(),
  };
}

/** @param {any} shared @param {() => void} back */
const lent = (shared, back) => [
  h(
    'p',
    null,
    t('lend.is', { used: count(shared.used_today), most: count(shared.requests_per_day) }),
    ' ',
    t('lend.since'),
    ' ',
    moment(shared.at_ms),
  ),
  h(
    'p',
    null,
    h('button', { type: 'button', class: 'danger', onclick: back }, t('lend.back')),
    ' ',
    h('span', { class: 'muted' }, t('lend.back.hint')),
  ),
];

/** @param {any} it @param {any} said @param {() => Promise<any>} send @param {() => void} redraw */
const agreement = (it, said, send, redraw) =>
  h(
    'details',
    null,
    h('summary', null, t('lend.offer')),
    h('blockquote', { lang: 'en' }, said.text),
    form(
      it,
      { action: t('lend.do'), send, redraw, unchanged: !it.get('agreed') },
      field(it, 'requests_per_day', t('lend.most'), { type: 'number', min: 1, required: true }),
      field(it, 'agreed', t('lend.agree', { version: said.consent }), { type: 'checkbox' }),
    ),
  );

/** @returns {import('./table.js').Column<any>[]} */
const columns = () => [
  { name: t('lend.at'), cell: (use) => moment(use.at_ms) },
  { name: t('lend.model'), cell: (use) => use.model },
  { name: t('lend.end'), cell: (use) => (use.outcome ? word('outcome', use.outcome) : '–') },
  { name: t('lend.tokens'), number: true, cell: (use) => `${count(use.prompt_tokens)} / ${count(use.output_tokens)}` },
  { name: t('lend.earned'), number: true, cell: (use) => points(use.earned) },
];
