// @ts-check
// Forms. A form knows which fields were touched, and sends those alone: what was not touched is nobody's to change, and
// a secret that was not typed is not sent.

import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';
import { problem } from './note.js';

let drafts = 0;

/**
 * What is being filled in. `of` holds what is there already.
 * @param {Record<string, any>} of @param {() => void} redraw
 */
export function draft(of, redraw) {
  /** @type {Record<string, any>} */
  const touched = {};
  drafts += 1;
  return {
    /** Tells the fields of one form from another's. */
    id: `form-${drafts}`,
    /** The members that were touched and differ from what was there. */
    get changes() {
      const differs = (/** @type {string} */ name) => JSON.stringify(touched[name]) !== JSON.stringify(of[name]);
      return Object.fromEntries(
        Object.keys(touched)
          .filter(differs)
          .map((name) => [name, touched[name]]),
      );
    },
    /** Whether nothing was typed yet. */
    get untouched() {
      return Object.keys(touched).length === 0;
    },
    get(/** @type {string} */ name) {
      return name in touched ? touched[name] : of[name];
    },
    set(/** @type {string} */ name, /** @type {any} */ value) {
      touched[name] = value;
      redraw();
    },
    busy: false,
    error: /** @type {any} */ (null),
  };
}

/** @typedef {ReturnType<typeof draft>} Draft */

/**
 * A field with its label, its hint, and what is wrong with it.
 * @param {Draft} form @param {string} name @param {string} label
 * @param {{type?: string, hint?: any, required?: boolean, options?: [string, string][], placeholder?: string,
 *   min?: any, max?: any, auto?: string, rows?: number, list?: string[], pattern?: string, focus?: boolean}} [how]
 */
export function field(form, name, label, how = {}) {
  const id = `${form.id}-${name.replace(/\W/g, '-')}`;
  const wrong = form.error?.field && form.error.field === name;
  const common = {
    id,
    name,
    required: how.required,
    'aria-describedby': how.hint || wrong ? `${id}-hint` : null,
    'aria-invalid': wrong ? 'true' : null,
    placeholder: how.placeholder,
    autocomplete: how.auto ?? 'off',
    // A dialog asks for the attribute when it opens, a page for the call.
    autofocus: how.focus,
    ready: how.focus ? (/** @type {HTMLElement} */ el) => el.focus() : undefined,
  };
  const typed = (/** @type {any} */ event) => form.set(name, valueOf(event.currentTarget, how.type));
  return h(
    'div',
    { class: how.type === 'checkbox' ? 'field check' : 'field', key: `${form.id} ${name}` },
    h('label', { for: id }, label, how.required ? h('span', { class: 'muted', 'aria-hidden': 'true' }, ' *') : null),
    control(form, name, how, common, typed),
    (how.hint || wrong) && h('small', { id: `${id}-hint` }, wrong ? form.error.message : how.hint),
  );
}

/** @param {any} el @param {string} [type] */
function valueOf(el, type) {
  if (type === 'checkbox') return el.checked;
  if (type === 'number') return el.value === '' ? null : Number(el.value);
  if (type === 'lines')
    return el.value
      .split('\n')
      .map((/** @type {string} */ it) => it.trim())
      .filter(Boolean);
  if (type === 'datetime') return el.value === '' ? null : new Date(el.value).getTime();
  return el.value;
}

/** @param {Draft} form @param {string} name @param {any} how @param {any} common @param {any} typed */
function control(form, name, how, common, typed) {
  const value = form.get(name);
  if (how.options) {
    return h(
      'select',
      { ...common, onchange: typed },
      how.options.map((/** @type {[string, string]} */ [key, text]) =>
        h('option', { value: key, selected: String(value ?? '') === key }, text),
      ),
    );
  }
  if (how.type === 'checkbox')
    return h('input', { ...common, type: 'checkbox', checked: Boolean(value), onchange: typed });
  if (how.type === 'lines' || how.type === 'text') {
    // While one types lines, the text is theirs: an empty line at its end is no entry yet.
    const text = how.type === 'lines' ? (value ?? []).join('\n') : (value ?? '');
    const shown = how.type === 'text' ? { value: text } : {};
    return h('textarea', {
      ...common,
      ...shown,
      rows: how.rows ?? 3,
      spellcheck: 'false',
      ready: (/** @type {HTMLTextAreaElement} */ el) => {
        el.value = text;
        if (how.focus) el.focus();
      },
      oninput: typed,
    });
  }
  if (how.type === 'datetime') {
    return h('input', { ...common, type: 'datetime-local', value: value == null ? '' : local(value), onchange: typed });
  }
  const list = how.list?.length ? `${common.id}-list` : null;
  const type = how.type === 'secret' ? 'password' : (how.type ?? 'text');
  return [
    h('input', {
      ...common,
      type,
      min: how.min,
      max: how.max,
      pattern: how.pattern,
      list,
      value: value ?? '',
      step: type === 'number' ? 'any' : null,
      oninput: typed,
    }),
    list &&
      h(
        'datalist',
        { id: list },
        how.list.map((/** @type {string} */ it) => h('option', { value: it })),
      ),
  ];
}

/** A moment as the browser's own field writes it. @param {number} ms */
function local(ms) {
  const date = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return date.toISOString().slice(0, 16);
}

/**
 * The form around fields: it is sent once at a time, and keeps what was typed when that fails.
 * @param {Draft} form @param {{action: string, send: () => Promise<any>, redraw: () => void, cancel?: any,
 *   unchanged?: boolean}} how @param {...any} kids
 */
export function form(form, how, ...kids) {
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (form.busy || how.unchanged) return;
    Object.assign(form, { busy: true, error: null });
    how.redraw();
    try {
      await how.send();
    } catch (error) {
      form.error = error;
    }
    form.busy = false;
    how.redraw();
  };
  return h(
    'form',
    { onsubmit: submit, class: 'form' },
    h('div', { class: 'body' }, ...kids, problem(form.error?.field ? null : form.error)),
    h(
      'footer',
      null,
      how.cancel && h('button', { type: 'button', onclick: how.cancel }, t('cancel')),
      h('button', { class: 'main', 'aria-disabled': form.busy || how.unchanged ? 'true' : null }, how.action),
    ),
  );
}
