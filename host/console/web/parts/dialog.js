// @ts-check
// Dialogs, which the browser itself makes modal: they hold the focus, Escape closes them, and focus goes back.

import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';
import { problem } from './note.js';

/**
 * @param {string} title @param {() => void} closed runs once it has closed, however that came about
 * @param {...any} kids
 */
export function dialog(title, closed, ...kids) {
  return h(
    'dialog',
    {
      key: `dialog ${title}`,
      'aria-label': title,
      ready: (/** @type {HTMLDialogElement} */ el) => el.showModal(),
      onclose: closed,
    },
    h(
      'header',
      null,
      h('h2', null, title),
      h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: shut }, '×'),
    ),
    ...kids,
  );
}

/** Closes the dialog around an element. @param {Event} event */
export function shut(event) {
  const inside = /** @type {Element} */ (event.currentTarget ?? event.target);
  /** @type {HTMLDialogElement | null} */ (inside.closest('dialog'))?.close();
}

/**
 * A question before something is done. `state` holds what is asked, and is the page's own.
 * @param {{title: string, text: any, action: string, danger?: boolean, run: () => Promise<any>, done: () => void,
 *   state: {busy?: boolean, error?: any}, redraw: () => void}} of
 */
export function question({ title, text, action, danger, run, done, state, redraw }) {
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (state.busy) return;
    const form = /** @type {Element} */ (event.currentTarget);
    Object.assign(state, { busy: true, error: null });
    redraw();
    try {
      await run();
      /** @type {HTMLDialogElement | null} */ (form.closest('dialog'))?.close();
    } catch (error) {
      Object.assign(state, { busy: false, error });
      redraw();
    }
  };
  return dialog(
    title,
    done,
    h(
      'form',
      { onsubmit: submit },
      h('div', { class: 'body' }, text, problem(state.error)),
      h(
        'footer',
        null,
        h('button', { type: 'button', onclick: shut }, t('cancel')),
        h('button', { class: danger ? 'danger' : 'main', 'aria-disabled': state.busy ? 'true' : null }, action),
      ),
    ),
  );
}
