// @ts-check
// The pool: provider keys that their owners lend, how often others may use them, and what that earned. Only an owner
// lends and takes back; an operator looks on.

import { get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { standing } from '../parts/credential.js';
import { clock, count, moment, points } from '../parts/format.js';
import { empty, problem, warning } from '../parts/note.js';
import { pages, resource } from '../parts/resource.js';
import { listed, table } from '../parts/table.js';

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path } = page;
  const terms = resource(redraw, (signal) => get('lending', {}, signal));
  const list = pages(redraw, (cursor, signal) => get('credentials', { owner: 'user', cursor }, signal));
  let uses = /** @type {any} */ (null);
  const show = () => {
    uses?.close();
    uses = path[1] && pages(redraw, (cursor, signal) => get(`credentials/${path[1]}/uses`, { cursor }, signal));
    void uses?.load();
  };
  void terms.load();
  void list.load();
  show();
  const back = () => path[1] && go(['pool']);
  const lent = (/** @type {any[]} */ rows) => rows.filter((row) => row.shared);
  const draw = () => [
    h('div', { class: 'head' }, h('h1', null, t('page.pool'))),
    problem(terms.error, terms.load),
    terms.value && !terms.value.enabled && warning(h('p', null, t('pool.off'))),
    h(
      'div',
      { class: path[1] ? 'split open' : 'split' },
      h(
        'div',
        { key: 'list' },
        listed(
          list,
          (rows) =>
            lent(rows).length
              ? table({
                  columns: columns(),
                  rows: lent(rows),
                  key: (row) => row.id,
                  label: t('page.pool'),
                  href: (row) => href(['pool', row.id]),
                  current: path[1],
                })
              : empty(t('pool.none')),
          empty(t('pool.none')),
        ),
        terms.value &&
          h(
            'details',
            null,
            h('summary', null, t('pool.terms', { n: terms.value.consent })),
            h('p', { lang: 'en' }, terms.value.text),
          ),
      ),
      path[1] &&
        uses &&
        h(
          'aside',
          { key: path[1], tabindex: '-1', 'aria-label': t('pool.uses') },
          h(
            'div',
            { class: 'head' },
            h('h2', null, t('pool.uses')),
            h(
              'div',
              { class: 'end' },
              h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: back }, '×'),
            ),
          ),
          listed(
            uses,
            (rows) => table({ columns: useColumns(), rows, key: (row) => row.id, label: t('pool.uses') }),
            empty(t('pool.unused')),
          ),
        ),
    ),
  ];
  return {
    draw,
    moved(/** @type {any} */ place) {
      const before = path[1];
      ({ path } = place);
      if (path[1] !== before) show();
    },
    close() {
      for (const it of [terms, list, uses]) it?.close();
    },
    keys: { Escape: back },
  };
}

/** @returns {import('../parts/table.js').Column<any>[]} */
const columns = () => [
  { name: t('pool.owner'), cell: (row) => row.user },
  { name: t('pool.key'), cell: (row) => row.label },
  { name: t('pool.provider'), cell: (row) => row.provider },
  { name: t('pool.state'), wide: true, cell: standing },
  {
    name: t('pool.today'),
    number: true,
    cell: (row) => `${count(row.shared.used_today)} / ${count(row.shared.requests_per_day)}`,
  },
  { name: t('pool.agreed'), cell: (row) => moment(row.shared.at_ms) },
];

/** @returns {import('../parts/table.js').Column<any>[]} */
const useColumns = () => [
  { name: t('pool.at'), cell: (row) => clock(row.at_ms) },
  { name: t('pool.model'), cell: (row) => row.model },
  { name: t('pool.end'), cell: (row) => (row.outcome ? word('outcome', row.outcome) : '–') },
  { name: t('pool.earned'), number: true, cell: (row) => points(row.earned) },
];
