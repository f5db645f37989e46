// @ts-check
// The gateway itself: its version, where things are kept, where clients call, and what became of the configuration
// file.

import { change, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';
import { count, utc } from '../parts/format.js';
import { state } from '../parts/icon.js';
import { busy, missing, problem, warning } from '../parts/note.js';
import { resource } from '../parts/resource.js';
import { asCommand } from '../parts/save.js';

/** @param {any} page */
export function open({ redraw }) {
  const all = resource(redraw, async (signal) => {
    const [about, file] = await Promise.all([get('about', {}, signal), get('configuration', {}, signal)]);
    return { about, file };
  });
  const now = { busy: false, error: /** @type {any} */ (null) };
  void all.load();
  const reread = async (/** @type {boolean} */ accept) => {
    Object.assign(now, { busy: true, error: null });
    redraw();
    await change('POST', 'configuration/reload', { accept_removals: accept }).catch((error) => {
      now.error = error;
    });
    now.busy = false;
    await all.load();
  };
  const draw = () => [
    h('div', { class: 'head' }, h('h1', null, t('page.system'))),
    problem(all.error, all.load),
    problem(now.error),
    !all.value && !all.error && busy(),
    all.value && [
      house(all.value.about),
      file(all.value.file, reread, now.busy),
      missing(t('system.configuration')),
      asCommand({ method: 'GET', path: 'configuration', command: 'tollgate reload' }),
    ],
  ];
  return { draw, close: () => all.close() };
}

/** @param {any} about */
function house(about) {
  const drift = Math.abs(about.now_ms - Date.now());
  const rows = [
    [t('system.version'), about.version],
    [t('system.storage'), t(`system.storage.${about.storage}`)],
    [t('system.clients'), about.clients.url ?? t('system.clients.port', { n: about.clients.port })],
    [t('system.protocols'), about.protocols.join(', ')],
    [t('system.keys'), count(about.keys_per_user_max)],
    ...Object.entries(about.features).map(([name, on]) => [
      t(`system.feature.${name}`),
      on ? state('good', t('on')) : state('off', t('off')),
    ]),
    [t('system.clock'), [utc(new Date(about.now_ms)), drift > 60_000 && [' ', state('careful', t('system.drift'))]]],
  ];
  return h(
    'dl',
    { class: 'pairs' },
    rows.map(([name, value]) => [h('dt', null, name), h('dd', null, value)]),
  );
}

/** @param {any} it @param {(accept: boolean) => void} reread @param {boolean} waiting */
function file(it, reread, waiting) {
  const again = h(
    'button',
    { type: 'button', disabled: waiting, onclick: () => reread(false) },
    t('system.file.again'),
  );
  if (!it.followed) return [h('h2', null, t('system.file')), h('p', null, t('system.file.none'))];
  return [
    h('h2', null, t('system.file')),
    it.refused && warning(h('p', null, t('system.file.refused')), h('pre', { tabindex: '0', lang: 'en' }, it.refused)),
    it.held_back.length > 0 &&
      warning(
        h('p', null, t('system.file.held')),
        h(
          'ul',
          null,
          it.held_back.map((/** @type {string} */ name) => h('li', { key: name }, name)),
        ),
        h('button', { type: 'button', disabled: waiting, onclick: () => reread(true) }, t('system.file.accept')),
      ),
    !it.refused && it.held_back.length === 0 && h('p', null, state('good', t('system.file.good'))),
    again,
  ];
}
