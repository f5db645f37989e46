// @ts-check
// What is around a page: the rail, who is logged in, language and theme, and what is said when a page cannot be shown.

import { h } from './kernel/dom.js';
import { leave, session } from './kernel/api.js';
import { href } from './kernel/route.js';
import { language, LANGUAGES, t } from './kernel/words.js';
import { dialog } from './parts/dialog.js';
import { busy, empty, problem } from './parts/note.js';
import { login } from './parts/login.js';
import { enabled, help } from './keys.js';
import { PAGES, visible } from './pages.js';

const NAMES = { en: 'English', zh: '中文' };
const THEMES = ['', 'light', 'dark'];
let leaving = /** @type {any} */ (null);

/** @param {any} now */
export function shell(now) {
  const { entry, redraw } = now;
  document.title = entry ? `${t(`page.${entry.id}`)} · Tollgate` : 'Tollgate';
  if (session.user === null) return h('main', { class: 'alone', id: 'main', tabindex: '-1' }, page(now), foot(now));
  return h(
    'div',
    { class: 'frame' },
    h('button', { class: 'skip', type: 'button', onclick: skip }, t('skip')),
    rail(entry, now),
    h('main', { id: 'main', tabindex: '-1', key: 'main' }, page(now)),
    session.ended && again(redraw),
    help.open && keyList(now),
  );
}

function skip() {
  document.getElementById('main')?.focus();
}

/** @param {any} now */
function page({ entry, view, error, redraw }) {
  if (error) return problem(error, () => location.reload());
  if (!entry) return empty(t('nowhere'), h('a', { href: href([]) }, t('nowhere.home')));
  if (!view) return busy();
  try {
    return h('div', { class: 'page', key: entry.id }, view.draw());
  } catch (failure) {
    console.error(failure);
    return problem(failure, redraw);
  }
}

/** @param {any} entry @param {any} now */
function rail(entry, now) {
  const group = (/** @type {string} */ area) => {
    const rows = PAGES.filter((it) => it.area === area && visible(it, session.user));
    return (
      rows.length > 0 &&
      h(
        'div',
        { role: 'group', 'aria-label': t(`area.${area}`) },
        h('h2', null, t(`area.${area}`)),
        h(
          'ul',
          null,
          rows.map((it) =>
            h(
              'li',
              { key: it.id },
              h('a', { href: href([it.id]), 'aria-current': it === entry ? 'page' : null }, t(`page.${it.id}`)),
            ),
          ),
        ),
      )
    );
  };
  return h(
    'nav',
    { class: 'rail', 'aria-label': t('rail') },
    h('p', { class: 'brand' }, h('a', { href: href([]) }, 'Tollgate')),
    h(
      'details',
      { class: 'menu', open: wide.matches, key: wide.matches ? 'menu' : entry?.id },
      h('summary', null, entry ? t(`page.${entry.id}`) : t('rail')),
      group('operator'),
      group('user'),
    ),
    h(
      'div',
      { class: 'who' },
      h('p', null, session.user.name),
      foot(now),
      problem(leaving),
      h('button', { type: 'button', onclick: () => out(now.redraw) }, t('logout')),
    ),
  );
}

const wide = matchMedia('(min-width: 720px)');

/** @param {() => void} redraw */
async function out(redraw) {
  leaving = null;
  try {
    await leave();
  } catch (error) {
    leaving = error;
    redraw();
  }
}

/** Language, theme, keys. @param {any} now */
function foot(now) {
  const theme = document.documentElement.dataset.theme ?? '';
  return h(
    'div',
    { class: 'foot' },
    h(
      'select',
      { 'aria-label': t('language'), onchange: (/** @type {any} */ event) => now.languageChanged(event.target.value) },
      LANGUAGES.map((name) =>
        h(
          'option',
          { value: name, selected: language.name === name, lang: name },
          NAMES[/** @type {'en' | 'zh'} */ (name)],
        ),
      ),
    ),
    h(
      'select',
      { 'aria-label': t('theme'), onchange: (/** @type {any} */ event) => look('theme', event.target.value, now) },
      THEMES.map((name) => h('option', { value: name, selected: theme === name }, t(`theme.${name || 'system'}`))),
    ),
    session.user && h('button', { type: 'button', class: 'plain', onclick: () => showKeys(now.redraw) }, t('keys')),
  );
}

/** @param {string} name @param {string} value @param {any} now */
function look(name, value, now) {
  localStorage.setItem(name, value);
  document.documentElement.dataset[name] = value;
  now.redraw();
}

/** @param {() => void} redraw */
function showKeys(redraw) {
  help.open = true;
  redraw();
}

/** @param {any} now */
function keyList(now) {
  const rows = [
    ['?', t('keys.help')],
    ['/', t('keys.filter')],
    ['j  k', t('keys.next')],
    ['Enter', t('keys.open')],
    ['Esc', t('keys.close')],
    ...PAGES.filter((it) => it.key && visible(it, session.user)).map((it) => [`g ${it.key}`, t(`page.${it.id}`)]),
  ];
  const closed = () => {
    help.open = false;
    now.redraw();
  };
  const toggled = (/** @type {any} */ event) => look('keys', event.target.checked ? '' : 'off', now);
  const roomy = document.documentElement.dataset.rows === 'roomy';
  return dialog(
    t('keys'),
    closed,
    h(
      'div',
      { class: 'body' },
      h(
        'dl',
        { class: 'keys' },
        rows.map(([key, text]) => [h('dt', null, h('kbd', null, key)), h('dd', null, text)]),
      ),
      h('label', null, h('input', { type: 'checkbox', checked: enabled(), onchange: toggled }), ' ', t('keys.single')),
      h(
        'label',
        null,
        h('input', {
          type: 'checkbox',
          checked: roomy,
          onchange: (/** @type {any} */ event) => look('rows', event.target.checked ? 'roomy' : '', now),
        }),
        ' ',
        t('rows.roomy'),
      ),
    ),
  );
}

/** A login that is over is taken up again above the page, which keeps what was typed. @param {() => void} redraw */
function again(redraw) {
  return h(
    'dialog',
    {
      key: 'again',
      'aria-label': t('login.again'),
      oncancel: (/** @type {Event} */ event) => event.preventDefault(),
      ready: (/** @type {HTMLDialogElement} */ el) => el.showModal(),
    },
    h('header', null, h('h2', null, t('login.again'))),
    h('p', { class: 'body' }, t('login.kept')),
    login(redraw, session.user.name),
  );
}
