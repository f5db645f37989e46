// @ts-check
// API keys: the form that makes and changes one, and the secret that is shown once.

import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';
import { dialog, shut } from './dialog.js';
import { draft, field, form } from './form.js';
import { warning } from './note.js';
import { copier } from './save.js';

const PROTOCOLS = ['openai-chat', 'openai-responses', 'anthropic-messages', 'gemini'];
const NUMBERS = ['requests_per_minute', 'tokens_per_minute', 'tokens_per_day', 'concurrency', 'context_window'];
const LISTS = ['protocols', 'providers', 'models'];

/** What is being filled in of a key. @param {any} key @param {() => void} redraw */
export const keyDraft = (key, redraw) =>
  draft(
    {
      name: '',
      expires_at_ms: null,
      enabled: true,
      ...key?.limits,
      ...(key && { name: key.name, expires_at_ms: key.expires_at_ms, enabled: key.enabled }),
    },
    redraw,
  );

/**
 * The body of a call that makes or changes a key. Limits are one member of the API, so all of them go along where one
 * was touched, and none where none was.
 * @param {any} of @param {any} [key]
 */
export function keyBody(of, key) {
  const changes = key ? of.changes : { ...of.changes, name: of.get('name') };
  const names = [...LISTS, ...NUMBERS, 'translation', 'enable_context_management', 'own_only'];
  const touched = names.some((name) => name in changes);
  const limits = {
    ...key?.limits,
    ...Object.fromEntries(names.filter((name) => name in changes).map((name) => [name, changes[name]])),
  };
  const rest = Object.fromEntries(Object.entries(changes).filter(([name]) => !names.includes(name)));
  return touched ? { ...rest, limits } : rest;
}

/**
 * The fields of a key.
 * @param {any} it
 * @param {{action: string, send: () => Promise<any>, redraw: () => void, key?: any, user?: boolean,
 *   more?: () => any}} how
 */
export function keyForm(it, { action, send, redraw, key, user, more }) {
  const number = (/** @type {string} */ name) => field(it, name, t(`key.${name}`), { type: 'number', min: 1 });
  return form(
    it,
    {
      action,
      send,
      redraw,
      cancel: key ? undefined : shut,
      unchanged: Boolean(key) && Object.keys(it.changes).length === 0,
    },
    field(it, 'name', t('key.name'), { required: true, focus: !key }),
    user && field(it, 'user', t('key.user'), { required: true, hint: t('key.user.hint') }),
    key && field(it, 'enabled', t('key.enabled'), { type: 'checkbox' }),
    field(it, 'expires_at_ms', t('key.expires'), { type: 'datetime', hint: t('key.expires.hint') }),
    h(
      'details',
      { open: Boolean(key) },
      h('summary', null, t('key.limits')),
      h(
        'div',
        { class: 'body' },
        h('div', { class: 'two' }, NUMBERS.slice(0, 4).map(number)),
        field(it, 'models', t('key.models'), { type: 'lines', hint: t('key.models.hint') }),
        field(it, 'providers', t('key.providers'), { type: 'lines', rows: 2, hint: t('key.providers.hint') }),
        h(
          'fieldset',
          null,
          h('legend', null, t('key.protocols')),
          PROTOCOLS.map((name) => protocol(it, name, redraw)),
          h('small', null, t('key.protocols.hint')),
        ),
        field(it, 'translation', t('key.translation'), {
          hint: t('key.translation.hint'),
          options: [
            ['lenient', t('key.lenient')],
            ['strict', t('key.strict')],
          ],
        }),
        field(it, 'enable_context_management', t('key.context'), { type: 'checkbox', hint: t('key.context.hint') }),
        it.get('enable_context_management') && number('context_window'),
        field(it, 'own_only', t('key.own_only'), { type: 'checkbox', hint: t('key.own_only.hint') }),
      ),
    ),
    more?.(),
  );
}

/** @param {any} it @param {string} name @param {() => void} redraw */
function protocol(it, name, redraw) {
  const chosen = it.get('protocols') ?? [];
  const toggle = () => {
    it.set(
      'protocols',
      chosen.includes(name) ? chosen.filter((/** @type {string} */ one) => one !== name) : [...chosen, name],
    );
    redraw();
  };
  return h(
    'label',
    { key: name },
    h('input', { type: 'checkbox', checked: chosen.includes(name), onchange: toggle }),
    ' ',
    name,
  );
}

/** What a key may do, in a few words. @param {any} limits */
export function summary(limits) {
  const words = [
    ...LISTS.filter((name) => limits[name].length).map((name) => limits[name].join(', ')),
    ...NUMBERS.slice(0, 4)
      .filter((name) => limits[name] != null)
      .map((name) => t(`key.${name}.short`, { n: limits[name] })),
    ...(limits.own_only ? [t('key.own_only.short')] : []),
  ];
  return words.length ? words.join(' · ') : t('key.unlimited');
}

/**
 * Something that is shown once: it is gone from the page when this closes.
 * @param {string} title @param {string[]} secrets @param {() => void} closed @param {any} [more]
 */
export function shownOnce(title, secrets, closed, more) {
  return dialog(
    title,
    closed,
    h(
      'div',
      { class: 'body' },
      warning(h('p', null, t('secret.once'))),
      h('pre', { class: 'secret' }, secrets.join('\n')),
      copier(secrets.join('\n')),
      more,
      h('footer', null, h('button', { type: 'button', class: 'main', onclick: shut }, t('secret.kept'))),
    ),
  );
}
