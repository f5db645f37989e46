// @ts-check
// How amounts, moments and ids look. Points and prices are decimal texts of the server's: they are spaced, never
// computed with.

import { h } from '../kernel/dom.js';
import { language, t } from '../kernel/words.js';

const locale = () => (language.name === 'zh' ? 'zh-CN' : 'en-GB');

/** A whole number. @param {number | null | undefined} value */
export const count = (value) => (value == null ? '–' : value.toLocaleString(locale()));

/** A decimal text, in groups of three. @param {string | null | undefined} text */
export function points(text) {
  if (text == null) return '–';
  const [whole, rest] = String(text).split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, '\u202f');
  return rest ? `${grouped}.${rest}` : grouped;
}

/** Milliseconds as a person reads them. @param {number | null | undefined} ms */
export function duration(ms) {
  if (ms == null) return '–';
  if (ms < 1000) return t('unit.ms', { n: Math.round(ms) });
  if (ms < 60_000) return t('unit.s', { n: (ms / 1000).toFixed(ms < 10_000 ? 2 : 1) });
  if (ms < 3_600_000) return t('unit.min', { n: Math.floor(ms / 60_000), s: Math.round((ms % 60_000) / 1000) });
  return t('unit.h', { n: Math.floor(ms / 3_600_000), min: Math.round((ms % 3_600_000) / 60_000) });
}

/** A moment in local time; in UTC where the pointer rests. @param {number | string | null | undefined} at */
export function moment(at) {
  if (at == null) return '–';
  const date = new Date(at);
  const local = date.toLocaleString(locale(), {
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hour12: false,
  });
  return h('time', { datetime: date.toISOString(), title: utc(date) }, local);
}

/** The same without its date where that is today's. @param {number} at */
export function clock(at) {
  const date = new Date(at);
  if (date.toDateString() !== new Date().toDateString()) return moment(at);
  const local = date.toLocaleTimeString(locale(), { hour12: false });
  return h('time', { datetime: date.toISOString(), title: utc(date) }, local);
}

/** @param {Date} date */
export const utc = (date) => `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`;

/** @type {[number, number, Intl.RelativeTimeFormatUnit][]} */
const AGES = [
  [60, 1, 'second'],
  [3600, 60, 'minute'],
  [86_400, 3600, 'hour'],
  [Infinity, 86_400, 'day'],
];

/** How long ago, or in how long. @param {number | null | undefined} at */
export function ago(at) {
  if (at == null) return t('never');
  const date = new Date(at);
  const seconds = (at - Date.now()) / 1000;
  const [, size, unit] = /** @type {any} */ (AGES.find(([below]) => Math.abs(seconds) < below));
  const format = new Intl.RelativeTimeFormat(locale(), { numeric: 'auto' });
  return h('time', { datetime: date.toISOString(), title: utc(date) }, format.format(Math.round(seconds / size), unit));
}

/** The end of an id, which tells it from its neighbours. @param {string | null | undefined} id */
export function short(id) {
  if (!id) return '–';
  return h('code', { title: id }, id.length > 12 ? `…${id.slice(-8)}` : id);
}

/** The beginning of a digest. @param {string | null | undefined} digest */
export function digest(digest) {
  return digest ? h('code', { title: digest }, digest.slice(0, 12)) : '–';
}
