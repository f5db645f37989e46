// @ts-check
// A table of things. Below 720 px a row becomes a few lines, each with its column's name.

import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';
import { busy, problem } from './note.js';

/**
 * @template T
 * @typedef {{name: string, cell: (row: T) => any, number?: boolean, wide?: boolean, hint?: string}} Column
 */

/**
 * @template T
 * @param {{columns: Column<T>[], rows: T[], key: (row: T) => any, label: string, href?: (row: T) => string | null,
 *   current?: any, rowClass?: (row: T) => string}} of
 */
export function table({ columns, rows, key, label, href, current, rowClass }) {
  const head = columns.map((column) =>
    h('th', { scope: 'col', class: column.number ? 'number' : null, title: column.hint }, column.name),
  );
  const row = (/** @type {T} */ it) => {
    const id = key(it);
    const target = href?.(it);
    const classes = [id === current ? 'current' : '', rowClass?.(it) ?? ''].join(' ').trim();
    return h(
      'tr',
      {
        key: id,
        class: classes || null,
        'aria-current': id === current ? 'true' : null,
        onclick: target ? (/** @type {MouseEvent} */ event) => followed(event, target) : null,
      },
      columns.map((column, at) =>
        h(
          'td',
          { class: column.number ? 'number' : column.wide ? 'wide' : null, 'data-name': column.name },
          at === 0 && target ? h('a', { href: target, class: 'row' }, column.cell(it)) : column.cell(it),
        ),
      ),
    );
  };
  return h(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label },
    h(
      'table',
      { class: target(href) },
      h('caption', { class: 'hidden' }, label),
      h('thead', null, h('tr', null, head)),
      h('tbody', null, rows.map(row)),
    ),
  );
}

/** @param {unknown} href */
const target = (href) => (href ? 'links' : null);

/**
 * A click on a row is one on its link, unless it was meant for something else.
 * @param {MouseEvent} event @param {string} to
 */
function followed(event, to) {
  const inside = /** @type {Element} */ (event.target).closest('a, button, input, select, label, summary');
  if (inside || event.defaultPrevented || String(getSelection())) return;
  if (event.metaKey || event.ctrlKey) open(to, '_blank', 'noopener');
  else location.assign(to);
}

/**
 * A list with all its states: on its way, failed, empty, there, and more to come.
 * @param {any} list of `pages` @param {(rows: any[]) => any} shown @param {any} nothing
 */
export function listed(list, shown, nothing) {
  if (!list.value) return list.error ? problem(list.error, list.load) : busy();
  const { rows, next } = list.value;
  return [
    list.error && problem(list.error, list.load),
    rows.length === 0 && !next ? nothing : shown(rows),
    next &&
      h(
        'p',
        { class: 'more' },
        h('button', { type: 'button', disabled: list.busy, onclick: () => list.more() }, t('more')),
      ),
  ];
}
