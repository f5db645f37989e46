// @ts-check
// One version of the prices: what models cost in it, or how it differs from another.

import { h } from '../kernel/dom.js';
import { t, word } from '../kernel/words.js';
import { differenceTable } from './difference.js';
import { points } from './format.js';
import { busy, empty, problem } from './note.js';
import { listed, table } from './table.js';

const MAIN = ['input', 'cache_read', 'output'];

/** @param {string} number @param {any} of */
export function version(number, { rows, models, both, other, compare, back, save: saving, start, ask }) {
  const row = rows.find((/** @type {any} */ it) => String(it.version) === number);
  const later = row && !row.withdrawn_at_ms && row.effective_at_ms > Date.now();
  const of = (/** @type {any} */ it) => ({
    name: it.model,
    provider: it.provider,
    output_tokens_max: it.output_tokens_max,
  });
  /** @type {import('../parts/table.js').Column<any>[]} */
  const shown = [
    { name: t('prices.model'), cell: (it) => it.model },
    ...MAIN.map((name) => ({
      name: word('class', name),
      number: true,
      cell: (/** @type {any} */ it) => points(it.prices[name]),
    })),
    {
      name: t('prices.more'),
      cell: (it) => h('button', { type: 'button', class: 'plain', onclick: () => start(of(it)) }, t('edit')),
    },
  ];
  return [
    h(
      'div',
      { class: 'head' },
      h('h2', null, t('prices.version', { n: number })),
      h(
        'div',
        { class: 'end' },
        h('button', { type: 'button', onclick: saving }, t('prices.save')),
        later && h('button', { type: 'button', class: 'danger', onclick: () => ask(row) }, t('prices.withdraw')),
        h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: back }, '×'),
      ),
    ),
    h(
      'div',
      { class: 'bar' },
      h(
        'label',
        null,
        t('prices.with'),
        h(
          'select',
          { onchange: (/** @type {any} */ event) => compare(event.target.value) },
          h('option', { value: '', selected: !other }, t('prices.nothing.with')),
          rows
            .filter((/** @type {any} */ it) => String(it.version) !== number)
            .map((/** @type {any} */ it) =>
              h(
                'option',
                { value: it.version, selected: String(it.version) === other },
                t('prices.version', { n: it.version }),
              ),
            ),
        ),
      ),
    ),
    other
      ? both.value
        ? differenceTable(both.value)
        : both.error
          ? problem(both.error, both.load)
          : busy()
      : listed(
          models,
          (all) =>
            table({
              columns: shown,
              rows: all,
              key: (it) => `${it.provider} ${it.model}`,
              label: t('prices.version', { n: number }),
            }),
          empty(t('prices.nothing')),
        ),
  ];
}
