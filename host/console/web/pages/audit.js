// @ts-check
// What was changed, by whom and by which call, newest first. One filter, which stands in the address.

import { get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t } from '../kernel/words.js';
import { filterBar, filterOf } from '../parts/filter.js';
import { moment, short } from '../parts/format.js';
import { empty } from '../parts/note.js';
import { pages } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';
import { listed, table } from '../parts/table.js';

const ACTIONS = [
  'user.*',
  'key.*',
  'credential.*',
  'price.*',
  'price-rate.set',
  'grant',
  'top-up',
  'refund',
  'code.*',
  'model_route.*',
  'plugin.*',
  'configuration.reload',
  'proxy.test',
];
const FILTER = () => [
  { name: 'actor', label: t('audit.actor'), first: true },
  { name: 'action', label: t('audit.action'), first: true, list: ACTIONS },
  { name: 'target', label: t('audit.target'), first: true },
];

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path, query } = page;
  const filter = () => filterOf(query, FILTER());
  const list = pages(redraw, (cursor, signal) => get('audit', { ...filter(), cursor }, signal));
  void list.load();
  const back = () => path[1] && go(['audit'], query);
  const draw = () => {
    const row = list.value?.rows.find((/** @type {any} */ it) => String(it.seq) === path[1]);
    const values = filter();
    return [
      h('div', { class: 'head' }, h('h1', null, t('page.audit'))),
      filterBar({ parts: FILTER(), values, id: 'audit', set: (next) => go(['audit'], next) }),
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
                key: (it) => String(it.seq),
                label: t('page.audit'),
                href: (it) => href(['audit', String(it.seq)], query),
                current: path[1],
              }),
            empty(Object.keys(values).length ? t('audit.nothing') : t('audit.none')),
          ),
          asCommand({ method: 'GET', path: 'audit', query: values, command: 'tollgate audit' }),
        ),
        row && h('aside', { key: row.seq, tabindex: '-1', 'aria-label': t('audit.one') }, change(row, back)),
      ),
    ];
  };
  return {
    draw,
    moved(/** @type {any} */ place) {
      const before = JSON.stringify(filter());
      ({ path, query } = place);
      if (JSON.stringify(filter()) !== before) void list.load();
    },
    close: () => list.close(),
    keys: { Escape: back },
  };
}

/** @returns {import('../parts/table.js').Column<any>[]} */
const columns = () => [
  { name: t('audit.at'), cell: (row) => moment(row.at_ms) },
  { name: t('audit.actor'), cell: (row) => row.actor_name ?? short(row.actor) },
  { name: t('audit.action'), cell: (row) => h('code', null, row.action) },
  { name: t('audit.target'), cell: (row) => [row.target_kind, ' ', short(row.target)] },
  { name: t('audit.detail'), wide: true, cell: (row) => row.detail && brief(row.detail) },
];

/** @param {any} detail */
function brief(detail) {
  const text = JSON.stringify(detail);
  return h('code', null, text.length > 120 ? `${text.slice(0, 119)}…` : text);
}

/** Where a thing of a kind is looked at. */
const PLACES = {
  user: 'users',
  key: 'keys',
  credential: 'credentials',
  model_route: 'models',
  price: 'prices',
  request: 'calls',
};

/** @param {any} row @param {() => void} back */
function change(row, back) {
  const place = PLACES[/** @type {keyof typeof PLACES} */ (row.target_kind)];
  const rows = [
    [t('audit.at'), moment(row.at_ms)],
    [t('audit.actor'), h('a', { href: href(['audit'], { actor: row.actor }) }, row.actor)],
    [
      t('audit.target'),
      [
        row.target_kind,
        ' ',
        place ? h('a', { href: href([place, row.target]) }, row.target) : h('code', null, row.target),
      ],
    ],
    [t('audit.address'), row.address],
    [t('problem.request'), row.request_id && h('code', null, row.request_id)],
  ];
  return [
    h(
      'div',
      { class: 'head' },
      h('h2', null, h('code', null, row.action)),
      h(
        'div',
        { class: 'end' },
        h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: back }, '×'),
      ),
    ),
    h(
      'dl',
      { class: 'pairs' },
      rows.filter(([, value]) => value).map(([name, value]) => [h('dt', null, name), h('dd', null, value)]),
    ),
    row.detail && h('pre', { tabindex: '0' }, JSON.stringify(row.detail, null, 2)),
    h(
      'p',
      { class: 'actions' },
      h('a', { class: 'button', href: href(['audit'], { target: row.target }) }, t('audit.same')),
    ),
  ];
}
