// @ts-check
// What needs an operator now. It is empty when all is well; otherwise each line is a cause with its cure.

import { change, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { listen } from '../kernel/live.js';
import { href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { ago } from '../parts/format.js';
import { icon, state } from '../parts/icon.js';
import { busy, problem } from '../parts/note.js';
import { resource } from '../parts/resource.js';

/** How often it looks again where nothing tells it to, and how long it waits for more of what is told. */
const AGAIN_MS = 30_000;
const SETTLE_MS = 150;
const AT_REST = new Set(['cooling', 'half-open', 'disabled']);
const UNWELL = new Set(['refused', 'rolled-back', 'file-missing', 'tripped']);

/** @param {any} page */
export function open({ redraw }) {
  const all = resource(redraw, async (signal) => {
    const [credentials, plugins, file] = await Promise.all([
      get('credentials', {}, signal),
      get('plugins', {}, signal),
      get('configuration', {}, signal),
    ]);
    return { credentials, plugins, file, at: Date.now() };
  });
  const doing = { error: /** @type {any} */ (null) };
  const act = async (/** @type {() => Promise<any>} */ run) => {
    doing.error = null;
    await run().catch((error) => {
      doing.error = error;
    });
    return all.load();
  };
  void all.load();
  const timer = setInterval(() => document.hidden || all.busy || void all.load(), AGAIN_MS);
  let soon = 0;
  const told = (/** @type {string} */ name, /** @type {any} */ data) => {
    if (!all.value || !news(all.value, name, data)) return;
    clearTimeout(soon);
    soon = setTimeout(all.load, SETTLE_MS);
  };
  const stop = listen('events', {}, { event: told, state: () => {} });
  const draw = () => {
    const lines = all.value ? causes(all.value, act) : [];
    return [
      h(
        'div',
        { class: 'head' },
        h('h1', null, t('page.now')),
        all.value && h('span', { class: 'muted' }, t('now.at'), ' ', ago(all.value.at)),
      ),
      problem(doing.error),
      problem(all.error, all.load),
      !all.value && !all.error && busy(),
      all.value &&
        lines.length === 0 &&
        h(
          'div',
          { class: 'note good' },
          icon('good'),
          h('div', null, h('strong', null, t('now.well')), h('p', null, counts(all.value))),
        ),
      lines,
    ];
  };
  return {
    draw,
    close() {
      clearInterval(timer);
      clearTimeout(soon);
      stop();
      all.close();
    },
  };
}

/**
 * Whether what is told is not what is shown: a stream begins with how everything is, and a key that serves needs
 * nobody.
 * @param {any} all @param {string} name @param {any} data
 */
function news({ credentials, plugins, file }, name, data) {
  if (name === 'credential') {
    const was = credentials.data.find((/** @type {any} */ it) => it.id === data.credential)?.state;
    return was !== data.state && (AT_REST.has(was) || AT_REST.has(data.state));
  }
  if (name === 'generation') return data.generation !== plugins.generation;
  if (name === 'configuration') return JSON.stringify(data) !== JSON.stringify(file);
  return true;
}

/** @param {any} all */
function counts({ credentials, plugins }) {
  const [keys, more] = [credentials.data.length, credentials.next_cursor ? '+' : ''];
  return t('now.counts', { keys: `${keys}${more}`, components: plugins.data.length, generation: plugins.generation });
}

/** @param {any} all @param {(run: () => Promise<any>) => Promise<any>} act */
function causes({ credentials, plugins, file }, act) {
  return [
    ...(file.refused ? [cause('file', 'bad', t('now.file.refused'), file.refused, reread(act, false))] : []),
    ...(file.held_back.length
      ? [cause('held', 'careful', t('now.file.held'), file.held_back.join(', '), reread(act, true))]
      : []),
    ...plugins.data
      .filter((/** @type {any} */ it) => UNWELL.has(it.state))
      .map((/** @type {any} */ it) =>
        cause(
          `component ${it.name}`,
          'bad',
          t('now.component', { name: it.name, state: word('component', it.state) }),
          it.reason ?? it.last_error,
          h('a', { href: href(['components', it.name]) }, t('now.look')),
        ),
      ),
    ...plugins.data.flatMap((/** @type {any} */ it) =>
      it.hosts
        .filter((/** @type {any} */ host) => host.permission === 'missing')
        .map((/** @type {any} */ host) =>
          cause(
            `host ${it.component} ${host.host}`,
            'careful',
            t('now.host', { name: it.name, host: host.host }),
            null,
            h('a', { href: href(['components', it.name]) }, t('now.look')),
          ),
        ),
    ),
    ...(credentials.data.length === 0
      ? [cause('no keys', 'careful', t('now.no-keys'), null, h('a', { href: href(['credentials']) }, t('now.add-key')))]
      : []),
    ...credentials.data
      .filter((/** @type {any} */ it) => AT_REST.has(it.state))
      .map((/** @type {any} */ it) => resting(it, act)),
  ];
}

/** @param {any} it @param {(run: () => Promise<any>) => Promise<any>} act */
function resting(it, act) {
  const why = [it.reason && word('rest', it.reason), it.disabled_reason].filter(Boolean).join(' · ');
  const until = it.until_ms && it.until_ms > Date.now() ? [' ', t('now.until'), ' ', ago(it.until_ms)] : '';
  const title = [
    state(it.state === 'disabled' ? 'bad' : 'rest', word('state', it.state)),
    ' ',
    t('now.key', { provider: it.provider, label: it.label }),
    until,
  ];
  const check = () => act(() => change('POST', `credentials/${it.id}/check`, {}));
  return cause(`key ${it.id}`, it.state === 'disabled' ? 'bad' : 'careful', title, why, [
    h('button', { type: 'button', onclick: check }, t('now.check')),
    h('a', { href: href(['credentials', it.id]) }, t('now.look')),
    h('a', { href: href(['calls'], { credential: it.id }) }, t('now.calls')),
  ]);
}

/** @param {(run: () => Promise<any>) => Promise<any>} act @param {boolean} accept */
function reread(act, accept) {
  const run = () => act(() => change('POST', 'configuration/reload', { accept_removals: accept }));
  return h('button', { type: 'button', onclick: run }, accept ? t('now.file.accept') : t('now.file.again'));
}

/** @param {string} key @param {'bad' | 'careful'} tone @param {any} title @param {any} why @param {any} cure */
const cause = (key, tone, title, why, cure) =>
  h(
    'section',
    { class: `cause ${tone}`, key },
    h('div', null, h('strong', null, title), why && h('p', { class: 'muted' }, why)),
    h('div', { class: 'actions' }, cure),
  );
