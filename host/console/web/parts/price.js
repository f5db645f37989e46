// @ts-check
// The forms of prices: one model's, and a whole list.

import { h } from '../kernel/dom.js';
import { t, word } from '../kernel/words.js';
import { shut } from './dialog.js';
import { field, form } from './form.js';

const CLASSES = [
  'input',
  'cache_read',
  'cache_write_short',
  'cache_write_long',
  'output',
  'reasoning',
  'image',
  'request',
];

/** What the call of a price says: what was left empty stays as it was. @param {any} it */
export function priceBody(it) {
  const prices = Object.fromEntries(
    CLASSES.map((name) => [name, it.get(`price ${name}`)]).filter(([, value]) => value),
  );
  const given = ['name', 'provider', 'note'].map((name) => [name, it.get(name)]).filter(([, value]) => value);
  return {
    ...Object.fromEntries(given),
    free: Boolean(it.get('free')),
    prices,
    effective_at_ms: it.get('at') ?? undefined,
    output_tokens_max: it.get('output_tokens_max') ?? undefined,
  };
}

/** @param {any} it @param {() => Promise<any>} send @param {() => void} redraw */
export function priceForm(it, send, redraw) {
  const price = (/** @type {string} */ name) =>
    field(it, `price ${name}`, word('class', name), { pattern: '[0-9]+([.][0-9]+)?', placeholder: t('prices.same') });
  return form(
    it,
    { action: t('prices.set'), send, redraw, cancel: shut },
    h(
      'div',
      { class: 'two' },
      field(it, 'name', t('prices.model'), { required: true, focus: !it.get('name'), hint: t('prices.model.hint') }),
      field(it, 'provider', t('prices.provider'), { hint: t('prices.provider.hint') }),
    ),
    h(
      'fieldset',
      null,
      h('legend', null, t('prices.usd')),
      h('div', { class: 'two' }, CLASSES.map(price)),
      field(it, 'free', t('prices.free'), { type: 'checkbox' }),
    ),
    h(
      'div',
      { class: 'two' },
      field(it, 'output_tokens_max', t('prices.most'), { type: 'number', min: 0 }),
      field(it, 'at', t('prices.at'), { type: 'datetime', hint: t('prices.at.hint') }),
    ),
    field(it, 'note', t('prices.note'), {}),
  );
}

/** @param {any} it @param {() => Promise<any>} send @param {() => void} redraw */
export const listForm = (it, send, redraw) =>
  form(
    it,
    { action: t('prices.publish'), send, redraw, cancel: shut },
    field(it, 'list', t('prices.list'), { type: 'text', rows: 16, required: true, hint: t('prices.list.hint') }),
    field(it, 'at', t('prices.at'), { type: 'datetime', hint: t('prices.at.hint') }),
    field(it, 'note', t('prices.note'), {}),
  );
