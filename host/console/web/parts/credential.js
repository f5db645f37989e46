// @ts-check
// Provider keys: how one is at the moment, and the form of a new one, which is drawn from what the gateway says of each
// platform.

import { h } from '../kernel/dom.js';
import { t, word } from '../kernel/words.js';
import { shut } from './dialog.js';
import { field, form } from './form.js';
import { ago } from './format.js';
import { state } from './icon.js';
import { warning } from './note.js';

const TONES = {
  available: 'good',
  'in-use': 'live',
  cooling: 'rest',
  'half-open': 'rest',
  disabled: 'bad',
  off: 'off',
};
const LIMITS = ['requests_per_minute', 'tokens_per_minute', 'tokens_per_day', 'concurrency'];

/** The state of a provider key, why, and until when. @param {any} row */
export function standing(row) {
  const tone = /** @type {import('./icon.js').Tone} */ (TONES[/** @type {keyof typeof TONES} */ (row.state)] ?? 'off');
  const why = row.reason ? word('rest', row.reason) : row.disabled_reason;
  return [
    state(tone, word('state', row.state)),
    row.in_flight > 0 && ` · ${t('credential.serving', { n: row.in_flight })}`,
    why && ` · ${why}`,
    row.until_ms > Date.now() && [' · ', ago(row.until_ms)],
  ];
}

/** Where keys are kept, in the title. @param {any} about */
export const storage = (about) => about && h('span', { class: 'tag' }, t(`credential.storage.${about.storage}`));

/** That what is changed here is gone with the process. @param {any} about @param {string} where */
export function storageWarning(about, where) {
  return about?.storage === 'memory' && warning(h('p', null, t(`credential.memory.${where}`)));
}

/** @param {any} place */
export const placeId = (place) => `${place.provider} ${place.platform ?? ''}`;

/** @param {any} place */
const placeName = (place) =>
  place.platform ? `${place.provider} · ${word('platform', place.platform)}` : place.provider;

/**
 * The form of a new key.
 * @param {any} it
 * @param {{places: any[], about: any, send: () => Promise<any>, redraw: () => void, operator: boolean}} how
 */
export function credentialForm(it, { places, about, send, redraw, operator }) {
  const allowed = places.filter((place) => place.allowed);
  const place = chosen(it, allowed);
  return form(
    it,
    { action: t('credential.add'), send, redraw, cancel: shut },
    storageWarning(about, 'form'),
    field(it, 'place', t('credential.place'), { options: allowed.map((one) => [placeId(one), placeName(one)]) }),
    place && secretFields(it, place),
    place?.settings.map((/** @type {any} */ setting) =>
      field(it, `setting ${setting.name}`, word('setting', setting.name), {
        required: setting.required,
        placeholder: setting.default ?? '',
        hint: setting.kind === 'address' ? t('credential.address') : null,
      }),
    ),
    field(it, 'label', t('credential.label'), { placeholder: 'default' }),
    operator &&
      field(it, 'owner', t('credential.owner'), {
        hint: t('credential.owner.hint'),
        options: [
          ['platform', t('credential.owner.platform')],
          ['user', t('credential.owner.user')],
        ],
      }),
    operator && it.get('owner') === 'user' && field(it, 'user', t('credential.user'), { required: true }),
    h(
      'details',
      null,
      h('summary', null, t('credential.limits')),
      h(
        'div',
        { class: 'two' },
        field(it, 'weight', t('credential.weight'), { type: 'number', min: 1, max: 1000 }),
        LIMITS.map((name) => field(it, name, t(`credential.${name}`), { type: 'number', min: 1 })),
      ),
    ),
    place?.checked && field(it, 'check', t('credential.check'), { type: 'checkbox', hint: t('credential.check.hint') }),
  );
}

/** @param {any} it @param {any[]} places */
const chosen = (it, places) => places.find((place) => placeId(place) === it.get('place')) ?? places[0];

/** @param {any} it @param {any} place */
function secretFields(it, place) {
  const { form: shape, parts, or_text: orText } = place.secret;
  if (shape === 'text')
    return field(it, 'secret', t('credential.secret'), { type: 'secret', required: true, focus: true });
  if (shape === 'file') {
    return field(it, 'secret', t('credential.file'), {
      type: 'text',
      rows: 6,
      required: true,
      hint: t('credential.file.hint', { parts: parts.map((/** @type {any} */ part) => part.name).join(', ') }),
    });
  }
  const each = parts.map((/** @type {any} */ part) =>
    field(it, `part ${part.name}`, word('part', part.name), {
      type: part.secret ? 'secret' : undefined,
      required: part.required && !orText,
    }),
  );
  return [
    orText && field(it, 'secret', t('credential.token'), { type: 'secret', hint: t('credential.token.hint') }),
    each,
  ];
}

/** What a new key's call says. What was left empty is left out. @param {any} it @param {any[]} places */
export function credentialBody(it, places) {
  const place = chosen(
    it,
    places.filter((one) => one.allowed),
  );
  const of = (/** @type {any[]} */ list, /** @type {string} */ kind) =>
    Object.fromEntries(list.map(({ name }) => [name, it.get(`${kind} ${name}`)]).filter(([, value]) => value));
  const parts = of(place.secret.parts, 'part');
  const whole =
    place.secret.form === 'parts' && Object.keys(parts).length ? JSON.stringify(parts) : (it.get('secret') ?? '');
  const settings = of(place.settings, 'setting');
  const limits = Object.fromEntries(LIMITS.map((name) => [name, it.get(name)]).filter(([, value]) => value != null));
  return {
    provider: place.provider,
    secret: whole,
    ...(place.platform && { platform: place.platform, settings }),
    ...(it.get('label') && { label: it.get('label') }),
    ...(it.get('owner') === 'platform' && { owner: 'platform' }),
    ...(it.get('user') && it.get('owner') === 'user' && { user: it.get('user') }),
    ...(it.get('weight') != null && { weight: it.get('weight') }),
    ...(Object.keys(limits).length && { limits }),
    check: place.checked && it.get('check') ? 'now' : 'deferred',
  };
}

/**
 * The form of a key that is there. The key itself is not in it: a new one is added, and this one removed.
 * @param {any} it @param {() => Promise<any>} send @param {() => void} redraw
 */
export function editForm(it, send, redraw) {
  return form(
    it,
    { action: t('save'), send, redraw, unchanged: Object.keys(it.changes).length === 0 },
    field(it, 'label', t('credential.label'), { required: true }),
    field(it, 'enabled', t('credential.enabled'), { type: 'checkbox' }),
    h(
      'div',
      { class: 'two' },
      field(it, 'weight', t('credential.weight'), {
        type: 'number',
        min: 1,
        max: 1000,
        hint: t('credential.weight.hint'),
      }),
      LIMITS.map((name) => field(it, name, t(`credential.${name}`), { type: 'number', min: 1 })),
    ),
  );
}

/** The changes of a key: its limits are one member of the API. @param {any} it @param {any} row */
export function editBody(it, row) {
  const { changes } = it;
  const limits = LIMITS.some((name) => name in changes)
    ? {
        limits: {
          ...row.limits,
          ...Object.fromEntries(LIMITS.filter((name) => name in changes).map((name) => [name, changes[name]])),
        },
      }
    : {};
  return { ...Object.fromEntries(Object.entries(changes).filter(([name]) => !LIMITS.includes(name))), ...limits };
}
