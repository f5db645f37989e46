// @ts-check
// Who serves which model. Routes of the configuration file count first and are changed there; those made here are in
// force within a second.

import { change, fresh, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t } from '../kernel/words.js';
import { dialog, question } from '../parts/dialog.js';
import { draft } from '../parts/form.js';
import { moment } from '../parts/format.js';
import { empty, warning } from '../parts/note.js';
import { pages } from '../parts/resource.js';
import { road, routeForm, targetLines, targetsOf } from '../parts/route.js';
import { asCommand } from '../parts/save.js';
import { listed, table } from '../parts/table.js';

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path } = page;
  const list = pages(redraw, (cursor, signal) => get('models/routes', { cursor }, signal));
  const now = {
    making: /** @type {any} */ (null),
    edit: /** @type {any} */ (null),
    asked: /** @type {any} */ (null),
    asking: {},
    seen: /** @type {any} */ (null),
    once: fresh(),
  };
  const find = () => list.value?.rows.find((/** @type {any} */ row) => row.id === path[1]);
  const seen = async (/** @type {string} */ id) => {
    const route = await get(`models/routes/${id}`).catch(() => null);
    if (!route || id !== path[1] || !now.edit?.untouched) return;
    Object.assign(now, { seen: route, edit: draft({ ...route, lines: targetLines(route.targets) }, redraw) });
    redraw();
  };
  const opened = () => {
    const route = find();
    now.seen = null;
    if (route) void seen(route.id);
    now.edit = route?.source === 'database' ? draft({ ...route, lines: targetLines(route.targets) }, redraw) : null;
  };
  const load = async () => {
    await list.load();
    opened();
    redraw();
  };
  void load();
  const body = (/** @type {any} */ it, /** @type {any[]} */ before) => ({
    name: it.get('name'),
    aliases: it.get('aliases') ?? [],
    fallbacks: it.get('fallbacks') ?? [],
    targets: targetsOf(it.get('lines') ?? [], before),
  });
  const make = async () => {
    const made = await change('POST', 'models/routes', body(now.making, []), now.once);
    Object.assign(now, { making: null, once: fresh() });
    await load();
    go(['models', made.id]);
  };
  const save = async () => {
    const { lines, ...rest } = now.edit.changes;
    const targets = lines && { targets: targetsOf(lines, find().targets) };
    await change('PATCH', `models/routes/${path[1]}`, { ...rest, ...targets }, undefined, now.seen);
    await load();
  };
  const back = () => path[1] && go(['models']);
  const draw = () => {
    const route = find();
    return [
      h(
        'div',
        { class: 'head' },
        h('h1', null, t('page.models')),
        h(
          'div',
          { class: 'end' },
          h(
            'button',
            {
              type: 'button',
              class: 'main',
              onclick: () => {
                now.making = draft({}, redraw);
                redraw();
              },
            },
            t('models.make'),
          ),
        ),
      ),
      h('p', { class: 'muted' }, t('models.text')),
      h(
        'div',
        { class: route ? 'split open' : 'split' },
        h(
          'div',
          { key: 'list' },
          listed(
            list,
            (rows) =>
              table({
                columns: columns(),
                rows,
                key: (row) => row.id,
                label: t('page.models'),
                href: (row) => href(['models', row.id]),
                current: path[1],
              }),
            empty(t('models.none')),
          ),
          asCommand({ method: 'GET', path: 'models/routes' }),
        ),
        route &&
          h(
            'aside',
            { key: route.id, tabindex: '-1', 'aria-label': route.name },
            h(
              'div',
              { class: 'head' },
              h('h2', null, route.name),
              h(
                'div',
                { class: 'end' },
                h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: back }, '×'),
              ),
            ),
            road(route),
            h(
              'p',
              { class: 'actions' },
              h('a', { class: 'button', href: href(['try'], { model: route.name }) }, t('page.try')),
              h('a', { class: 'button', href: href(['calls'], { model: route.name }) }, t('page.calls')),
              now.edit &&
                h(
                  'button',
                  {
                    type: 'button',
                    class: 'danger',
                    onclick: () => {
                      Object.assign(now, { asked: route, asking: {} });
                      redraw();
                    },
                  },
                  t('remove'),
                ),
            ),
            route.source === 'file' && warning(h('p', null, t('models.file'))),
            now.edit && routeForm(now.edit, { action: t('save'), send: save, redraw, fixed: true }),
          ),
      ),
      now.making &&
        dialog(
          t('models.make'),
          () => {
            now.making = null;
            redraw();
          },
          routeForm(now.making, { action: t('models.make'), send: make, redraw }),
        ),
      now.asked &&
        question({
          title: t('remove'),
          action: t('remove'),
          danger: true,
          state: now.asking,
          redraw,
          text: h('p', null, t('models.remove', { name: now.asked.name })),
          done: () => {
            now.asked = null;
            redraw();
          },
          run: async () => {
            await change('DELETE', `models/routes/${now.asked.id}`);
            back();
            await load();
          },
        }),
    ];
  };
  return {
    draw,
    moved(/** @type {any} */ place) {
      ({ path } = place);
      opened();
    },
    close: () => list.close(),
    keys: { Escape: back },
  };
}

/** @returns {import('../parts/table.js').Column<any>[]} */
const columns = () => [
  { name: t('models.name'), cell: (row) => row.name },
  { name: t('models.targets'), wide: true, cell: (row) => targetsShort(row) },
  { name: t('models.fallbacks'), wide: true, cell: (row) => row.fallbacks.join(', ') },
  { name: t('models.from'), cell: (row) => h('span', { class: 'tag' }, t(`models.source.${row.source}`)) },
  { name: t('models.changed'), cell: (row) => (row.updated_at_ms ? moment(row.updated_at_ms) : '–') },
];

/** @param {any} row */
const targetsShort = (row) =>
  row.targets.map((/** @type {any} */ it) => (it.model ? `${it.provider}: ${it.model}` : it.provider)).join(', ');
