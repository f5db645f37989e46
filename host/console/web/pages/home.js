// @ts-check
// A user's first page: what there is, what was used, and how to call, ready to paste.

import { get, session } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { figures } from '../parts/figures.js';
import { count, points } from '../parts/format.js';
import { busy, problem, warning } from '../parts/note.js';
import { resource } from '../parts/resource.js';
import { copier } from '../parts/save.js';
import { address, WAYS } from '../parts/snippets.js';

/** @param {any} page */
export function open({ redraw }) {
  const me = session.user.id;
  const account = resource(redraw, (signal) => get(`users/${me}`, {}, signal));
  const used = resource(redraw, (signal) => get('usage/summary', { user: me }, signal));
  const about = resource(redraw, (signal) => get('about', {}, signal));
  const now = { way: WAYS[0], model: '' };
  for (const it of [account, used, about]) void it.load();
  return {
    draw: () => [
      h('div', { class: 'head' }, h('h1', null, t('home.title', { name: session.user.name }))),
      amounts(account, used, about.value?.point_name),
      used.value?.total.requests === 0 &&
        h('p', null, t('home.begin'), ' ', h('a', { href: href(['my-keys']) }, t('home.key'))),
      h('h2', null, t('home.call')),
      about.value ? how(about.value, now, redraw) : about.error ? problem(about.error, about.load) : busy(),
    ],
    close: () => {
      for (const it of [account, used, about]) it.close();
    },
  };
}

/** @param {any} account @param {any} used @param {string | undefined} unit */
function amounts(account, used, unit) {
  const wrong = account.error ?? used.error;
  if (wrong) return problem(wrong, () => (account.error ? account : used).load());
  if (!account.value || !used.value) return busy();
  const { points: balance, reserved, enabled } = account.value;
  const spent = (/** @type {any} */ it) =>
    t('home.calls', { n: it.requests, calls: count(it.requests), tokens: count(it.tokens) });
  return [
    !enabled && warning(h('p', null, t('home.disabled'))),
    balance.startsWith('-') && warning(h('p', null, t('home.overdrawn'))),
    figures([
      [t('home.balance'), h('span', { id: 'balance' }, points(balance)), unit],
      [t('home.reserved'), points(reserved), t('home.reserved.hint')],
      [t('home.today'), points(used.value.today.points), spent(used.value.today)],
      [t('home.month'), points(used.value.month.points), spent(used.value.month)],
      [t('home.total'), points(used.value.total.points), spent(used.value.total)],
    ]),
  ];
}

/** @param {any} about @param {any} now @param {() => void} redraw */
function how(about, now, redraw) {
  const at = address(about);
  const text = now.way.text(at, now.model.trim() || now.way.model);
  const choose = (/** @type {any} */ way) => () => {
    now.way = way;
    redraw();
  };
  return [
    h('p', null, t('home.address'), ' ', h('code', null, at), ' ', copier(at)),
    h(
      'div',
      { class: 'actions', role: 'group', 'aria-label': t('home.way') },
      WAYS.map((way) =>
        h(
          'button',
          { type: 'button', key: way.id, 'aria-pressed': String(way === now.way), onclick: choose(way) },
          word('way', way.id),
        ),
      ),
    ),
    h('pre', { tabindex: '0', 'aria-label': word('way', now.way.id) }, text),
    h(
      'div',
      { class: 'bar' },
      copier(text, t('home.copy')),
      h(
        'label',
        null,
        t('home.model'),
        h('input', {
          value: now.model,
          placeholder: now.way.model,
          autocomplete: 'off',
          oninput: (/** @type {any} */ event) => {
            now.model = event.target.value;
            redraw();
          },
        }),
      ),
    ),
    h('p', { class: 'muted' }, t('home.variable')),
  ];
}
