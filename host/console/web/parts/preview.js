// @ts-check
// What a key of these limits may do, asked of the gateway while they are being filled in. Nothing is called and nothing
// is kept.

import { get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { t, word } from '../kernel/words.js';
import { state } from './icon.js';
import { busy, problem } from './note.js';
import { resource } from './resource.js';

/** How long one may go on typing before the gateway is asked. */
const PAUSE_MS = 300;
const NAMES_MAX = 12;

/** @param {() => void} redraw */
export function preview(redraw) {
  let asked = '';
  let timer = 0;
  const found = resource(redraw, (signal) => get('keys/dry-run', new URLSearchParams(asked), signal));
  const look = (/** @type {any} */ it) => {
    const query = new URLSearchParams();
    for (const name of ['model', 'provider', 'protocol'])
      for (const value of it.get(`${name}s`) ?? []) query.append(`allow_${name}`, value);
    if (it.get('own_only')) query.set('own_only', 'true');
    const text = query.toString() || 'limit=100';
    if (text === asked) return;
    clearTimeout(timer);
    timer = setTimeout(() => void found.load(), asked === '' ? 0 : PAUSE_MS);
    asked = text;
  };
  return {
    /** @param {any} it the form of the key */
    draw(it) {
      look(it);
      return h(
        'section',
        { class: 'preview', 'aria-label': t('preview.title') },
        h('h3', null, t('preview.title')),
        found.error ? problem(found.error, found.load) : found.value ? told(found.value) : busy(),
      );
    },
    close() {
      clearTimeout(timer);
      found.close();
    },
  };
}

/** @param {any} page */
function told({ data, next_cursor: more }) {
  /** @type {Map<string, string[]>} */
  const groups = new Map();
  for (const { model, why_not: why } of data) groups.set(why ?? '', [...(groups.get(why ?? '') ?? []), model]);
  if (!groups.has('')) groups.set('', []);
  const order = [...groups].sort(([one], [other]) => (one < other ? -1 : 1));
  return h(
    'dl',
    { class: 'pairs', 'aria-live': 'polite' },
    order.map(([why, models]) => [
      h('dt', { key: `${why}?` }, why === '' ? state('good', t('preview.served')) : state('off', word('why', why))),
      h('dd', { key: why }, names(models, why === '' && Boolean(more))),
    ]),
  );
}

/** @param {string[]} models @param {boolean} more */
function names(models, more) {
  if (models.length === 0) return t('preview.nothing');
  const shown = models.slice(0, NAMES_MAX).join(', ');
  const rest = models.length - NAMES_MAX;
  if (rest <= 0) return more ? t('preview.more', { names: shown }) : shown;
  return t('preview.others', { names: shown, n: rest });
}
