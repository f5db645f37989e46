// @ts-check
// One filter, which stands in the address: the list, the export, the stream and the keys all read it there.

import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';

/**
 * @typedef {{name: string, label: string, type?: string, options?: [string, string][], list?: string[],
 *   first?: boolean, none?: string, shown?: (value: string) => any}} Part
 */

/** The members of a query that a filter has. @param {URLSearchParams} query @param {Part[]} parts */
export const filterOf = (query, parts) =>
  Object.fromEntries(parts.map(({ name }) => [name, query.get(name)]).filter(([, value]) => value));

/**
 * @param {{parts: Part[], values: Record<string, string>, id: string,
 *   set: (values: Record<string, string>) => void}} of
 * @param {...any} end
 */
export function filterBar({ parts, values, set, id }, ...end) {
  const change = (/** @type {string} */ name, /** @type {string} */ value) => {
    const { [name]: _, ...rest } = values;
    set(value ? { ...rest, [name]: value } : rest);
  };
  const [first, rest] = [parts.filter((part) => part.first), parts.filter((part) => !part.first)];
  const one = (/** @type {Part} */ part, /** @type {number} */ at) =>
    control(part, values[part.name] ?? '', id, at === 0, change);
  const hidden = rest.filter((part) => values[part.name]);
  return h(
    'form',
    { class: 'filter', role: 'search', onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
    h('div', { class: 'bar' }, first.map(one), end),
    rest.length > 0 &&
      h(
        'details',
        { class: 'bar-more' },
        h('summary', null, t('filter.more')),
        h(
          'div',
          { class: 'bar' },
          rest.map((part, at) => one(part, at + 1)),
        ),
      ),
    (hidden.length > 0 || Object.keys(values).length > 1) &&
      h(
        'p',
        { class: 'actions' },
        hidden.map((part) => chip(part, values[part.name], change)),
        h('button', { type: 'button', class: 'plain', onclick: () => set({}) }, t('filter.clear')),
      ),
  );
}

/** @param {Part} part @param {string} value @param {(name: string, value: string) => void} change */
function chip(part, value, change) {
  const label = t('filter.without', { name: part.label });
  return h(
    'span',
    { class: 'chip', key: part.name },
    part.label,
    ': ',
    part.shown?.(value) ?? value,
    h('button', { type: 'button', 'aria-label': label, onclick: () => change(part.name, '') }, '×'),
  );
}

/** @param {Part} part @param {string} value @param {string} id @param {boolean} isFirst @param {any} change */
function control(part, value, id, isFirst, change) {
  const common = {
    id: `${id}-${part.name}`,
    'data-filter': isFirst ? true : null,
    onchange: (/** @type {any} */ event) => change(part.name, event.target.value.trim()),
  };
  const list = part.list?.length ? `${id}-${part.name}-list` : null;
  return h(
    'label',
    { key: part.name },
    part.label,
    part.options
      ? h(
          'select',
          common,
          h('option', { value: '', selected: value === '' }, part.none ?? t('any')),
          part.options.map(([key, text]) => h('option', { value: key, selected: key === value }, text)),
        )
      : h('input', { ...common, type: part.type ?? 'text', value, size: 14, list, autocomplete: 'off' }),
    list &&
      h(
        'datalist',
        { id: list },
        part.list?.map((it) => h('option', { value: it })),
      ),
  );
}
