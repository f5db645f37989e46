// @ts-check
// What leaves the console: the clipboard, and files.

import { call, ROOT } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';

/** A button that copies a text and says so. @param {string} text @param {string} [label] */
export function copier(text, label = t('copy')) {
  const copy = async (/** @type {any} */ event) => {
    const button = event.currentTarget;
    await copied(text, button);
    button.textContent = t('copied');
    setTimeout(() => {
      button.textContent = label;
    }, 1500);
  };
  return h('button', { type: 'button', key: `copy ${text}`, onclick: copy }, label);
}

/**
 * Without TLS a browser has no clipboard for scripts; then a selected field does.
 * @param {string} text @param {Element} near
 */
async function copied(text, near) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement('textarea');
  field.value = text;
  (near.closest('dialog') ?? document.body).append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
  return undefined;
}

/** Saves bytes as a file. @param {Blob} bytes @param {string} name */
export function save(bytes, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(bytes);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Fetches something and saves it. @param {string} path @param {Record<string, any>} query @param {string} name */
export async function download(path, query, name) {
  const answer = await call('GET', path, { query });
  save(await answer.blob(), name);
}

/**
 * The same as a call and as a command, for those who would rather type.
 * @param {{method: string, path: string, query?: Record<string, any>, body?: any, command?: string}} of
 */
export function asCommand({ method, path, query, body, command }) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query ?? {})) if (value) url.searchParams.set(name, String(value));
  const parts = [
    'curl',
    method === 'GET' ? '' : `-X ${method}`,
    '-H "Authorization: Bearer $TOLLGATE_TOKEN"',
    body === undefined ? '' : `-H 'Content-Type: application/json' -d ${quoted(JSON.stringify(body))}`,
    quoted(url.href),
  ];
  const curl = parts.filter(Boolean).join(' ');
  return h(
    'details',
    { class: 'command' },
    h('summary', null, t('command')),
    h('h3', null, t('command.curl')),
    h('pre', { tabindex: '0' }, curl),
    copier(curl),
    command && [h('h3', null, t('command.cli')), h('pre', { tabindex: '0' }, command), copier(command)],
  );
}

/** For a shell. @param {string} text */
export const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
