// @ts-check
// Keys. Single ones can be switched off, since some who speak to their computer cannot help pressing them.

import { go } from './kernel/route.js';
import { session } from './kernel/api.js';
import { PAGES, visible } from './pages.js';

/** Whether the list of keys is open, and whether `g` was pressed last. */
export const help = { open: false, going: false };

export const enabled = () => localStorage.getItem('keys') !== 'off';

/** @param {KeyboardEvent} event @param {any} view @param {() => void} redraw */
export function keys(event, view, redraw) {
  const at = /** @type {Element} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || !enabled()) return;
  if (at.closest('input, textarea, select') || document.querySelector('dialog[open]')) return;
  const going = help.going;
  help.going = false;
  if (going) {
    const page = PAGES.find((it) => it.key === event.key && visible(it, session.user));
    if (page) go([page.id]);
    return;
  }
  if (event.key === 'g') help.going = true;
  else if (event.key === '?') {
    help.open = true;
    redraw();
  } else if (event.key === '/') {
    const field = /** @type {HTMLElement | null} */ (document.querySelector('[data-filter]'));
    if (!field) return;
    event.preventDefault();
    field.focus();
  } else if (view?.keys?.[event.key]) {
    event.preventDefault();
    view.keys[event.key](event);
  }
}
