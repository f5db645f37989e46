// @ts-check
// How two versions of the prices differ: their lists are compared text by text, model by model. Nothing is computed.

import { h } from '../kernel/dom.js';
import { t, word } from '../kernel/words.js';
import { empty } from './note.js';
import { table } from './table.js';

/**
 * A list by model: each line of it by its name, those of long prompts apart.
 * @param {string} list @returns {Map<string, Map<string, string>>}
 */
function models(list) {
  const [head, ...blocks] = list.split(/^\[\[model\]\]$/m);
  const all = new Map([['', lines(head)]]);
  for (const block of blocks) {
    const found = lines(block);
    all.set(`${found.get('provider') ?? ''} ${found.get('name') ?? ''}`.replaceAll('"', ''), found);
  }
  return all;
}

/** @param {string} block */
function lines(block) {
  const found = new Map();
  let part = '';
  for (const line of block.split('\n')) {
    const section = /^\[model\.(\w+)\]$/.exec(line);
    if (section) part = `${section[1]}.`;
    const pair = /^(\w+) = (.*)$/.exec(line);
    if (pair) found.set(part + pair[1], pair[2]);
  }
  return found;
}

/** @param {string} before @param {string} after */
export function differences(before, after) {
  const [old, next] = [models(before), models(after)];
  /** @type {{model: string, name: string, before?: string, after?: string}[]} */
  const rows = [];
  for (const model of new Set([...old.keys(), ...next.keys()])) {
    const [was, is] = [old.get(model) ?? new Map(), next.get(model) ?? new Map()];
    for (const name of new Set([...was.keys(), ...is.keys()])) {
      if (was.get(name) !== is.get(name)) rows.push({ model, name, before: was.get(name), after: is.get(name) });
    }
  }
  return rows;
}

/** @param {ReturnType<typeof differences>} rows */
export function differenceTable(rows) {
  /** @type {import('./table.js').Column<any>[]} */
  const columns = [
    { name: t('prices.model'), cell: (row) => row.model || t('prices.whole') },
    { name: t('prices.what'), cell: (row) => word('class', row.name) },
    { name: t('prices.before'), number: true, cell: (row) => h('code', null, row.before ?? '–') },
    { name: t('prices.after'), number: true, cell: (row) => h('code', null, row.after ?? '–') },
  ];
  return rows.length
    ? table({ columns, rows, key: (row) => `${row.model} ${row.name}`, label: t('prices.difference') })
    : empty(t('prices.alike'));
}
