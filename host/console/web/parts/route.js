// @ts-check
// A model's road, drawn: who is asked first and in which shares, who next, and which models stand in. And its form.

import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';
import { field, form } from './form.js';
import { shut } from './dialog.js';

const ROW = 26;
const [LEFT, RIGHT, WIDTH] = [120, 190, 440];

/** @param {any} route */
export function road(route) {
  const levels = [...new Set(route.targets.map((/** @type {any} */ it) => it.priority))].sort((a, b) => a - b);
  const rows = levels.flatMap((level) =>
    route.targets
      .filter((/** @type {any} */ it) => it.priority === level)
      .map((/** @type {any} */ it) => ({ ...it, level: levels.indexOf(level) })),
  );
  const all = [...rows, ...route.fallbacks.map((/** @type {string} */ name) => ({ fallback: name }))];
  const height = Math.max(all.length, 1) * ROW + 8;
  const middle = height / 2;
  const heaviest = Math.max(...rows.map((it) => it.weight), 1);
  const line = (/** @type {any} */ it, /** @type {number} */ at) => {
    const y = at * ROW + ROW / 2 + 4;
    return [
      h('path', {
        d: `M${LEFT} ${middle}C${LEFT + 40} ${middle} ${RIGHT - 40} ${y} ${RIGHT} ${y}`,
        fill: 'none',
        stroke: 'currentColor',
        'stroke-width': it.fallback ? 1 : 1 + (4 * it.weight) / heaviest,
        'stroke-dasharray': it.fallback ? '2 4' : it.level > 0 ? '6 3' : null,
        opacity: it.fallback || it.level ? 0.5 : 0.8,
      }),
      h('text', { x: RIGHT + 8, y: y + 4 }, words(it)),
    ];
  };
  return h(
    'svg',
    { class: 'chart', viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': all.map(words).join('; ') },
    h('text', { x: 0, y: middle + 4 }, route.name.length > 18 ? `${route.name.slice(0, 17)}…` : route.name),
    all.map(line),
  );
}

/** @param {any} it */
function words(it) {
  if (it.fallback) return t('models.stands-in', { name: it.fallback });
  const to = it.model ? `${it.provider} · ${it.model}` : it.provider;
  return `${to} · ${t(it.level ? 'models.then' : 'models.share', { n: it.weight })}`;
}

/** Targets as lines of text: `provider model weight priority`. @param {any[]} targets */
export const targetLines = (targets) =>
  targets.map((it) => `${it.provider} ${it.model ?? '-'} ${it.weight ?? 100} ${it.priority ?? 0}`);

/**
 * The other way; what a line does not say of a target that was there stays.
 * @param {string[]} lines @param {any[]} before
 */
export function targetsOf(lines, before) {
  return lines.map((line) => {
    const [provider, model = '-', weight = '100', priority = '0'] = line.split(/\s+/);
    const known = before.find((it) => it.provider === provider && (it.model ?? '-') === model);
    return { ...known, provider, ...(model !== '-' && { model }), weight: Number(weight), priority: Number(priority) };
  });
}

/** @param {any} it @param {{action: string, send: () => Promise<any>, redraw: () => void, fixed?: boolean}} how */
export function routeForm(it, { action, send, redraw, fixed }) {
  return form(
    it,
    { action, send, redraw, cancel: fixed ? undefined : shut },
    field(it, 'name', t('models.name'), { required: true, hint: t('models.name.hint'), focus: !fixed }),
    field(it, 'lines', t('models.targets'), { type: 'lines', rows: 4, required: true, hint: t('models.targets.hint') }),
    field(it, 'aliases', t('models.aliases'), { type: 'lines', rows: 2, hint: t('models.line') }),
    field(it, 'fallbacks', t('models.fallbacks'), { type: 'lines', rows: 2, hint: t('models.fallbacks.hint') }),
  );
}
