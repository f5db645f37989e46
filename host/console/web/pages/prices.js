// @ts-check
// Prices: the versions on a line of time, what models cost in one, how two differ, a price for one model, a whole list,
// and taking back what is still to come. What anybody would pay is the server's to say.

import { change, fresh, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { differences } from '../parts/difference.js';
import { dialog, question } from '../parts/dialog.js';
import { draft } from '../parts/form.js';
import { ago, count, moment, short } from '../parts/format.js';
import { state } from '../parts/icon.js';
import { empty, missing, problem } from '../parts/note.js';
import { listForm, priceBody, priceForm } from '../parts/price.js';
import { pages, resource } from '../parts/resource.js';
import { version } from '../parts/version.js';
import { asCommand, save } from '../parts/save.js';
import { listed, table } from '../parts/table.js';

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path, query } = page;
  const versions = pages(redraw, (cursor, signal) => get('prices', { cursor }, signal));
  const modelsOf = (/** @type {string} */ version) =>
    pages(redraw, (cursor, signal) => get(`prices/${version}`, { cursor }, signal));
  let models = /** @type {any} */ (null);
  const now = {
    one: /** @type {any} */ (null),
    list: /** @type {any} */ (null),
    asked: /** @type {any} */ (null),
    asking: {},
    once: fresh(),
    error: /** @type {any} */ (null),
  };
  const other = () => query.get('with') ?? '';
  const both = resource(redraw, async (signal) => {
    const lists = [other(), path[1]].map((version) => get(`prices/${version}/list`, {}, signal));
    const [before, after] = await Promise.all(lists);
    return differences(before.list, after.list);
  });
  const show = () => {
    models?.close();
    models = path[1] && !other() ? modelsOf(path[1]) : null;
    void models?.load();
    if (path[1] && other()) void both.load();
  };
  void versions.load();
  show();
  const set = async () => {
    await change('PATCH', 'prices', priceBody(now.one));
    now.one = null;
    await versions.load();
  };
  const publish = async () => {
    const body = {
      list: now.list.get('list'),
      effective_at_ms: now.list.get('at') ?? undefined,
      note: now.list.get('note') || undefined,
    };
    await change('POST', 'prices', body, now.once);
    Object.assign(now, { list: null, once: fresh() });
    await versions.load();
  };
  const startList = async () => {
    now.error = null;
    const last = path[1] ?? versions.value?.rows[0]?.version;
    const text = last
      ? await get(`prices/${last}/list`).catch((error) => {
          now.error = error;
        })
      : null;
    if (!now.error) now.list = draft({ list: text?.list ?? '' }, redraw);
    redraw();
  };
  const saved = async () => {
    now.error = null;
    const text = await get(`prices/${path[1]}/list`).catch((error) => {
      now.error = error;
    });
    if (text) save(new Blob([text.list], { type: 'application/toml' }), `prices-${path[1]}.toml`);
    redraw();
  };
  const start = (/** @type {any} */ of) => {
    now.one = draft(of, redraw);
    redraw();
  };
  const back = () => path[1] && go(['prices']);
  const draw = () => [
    h(
      'div',
      { class: 'head' },
      h('h1', null, t('page.prices')),
      h(
        'div',
        { class: 'end' },
        h('button', { type: 'button', onclick: startList }, t('prices.publish')),
        h('button', { type: 'button', class: 'main', onclick: () => start({}) }, t('prices.set')),
      ),
    ),
    problem(now.error),
    h('p', { class: 'muted' }, t('prices.unit')),
    h(
      'div',
      { class: path[1] ? 'split open even' : 'split' },
      h(
        'div',
        { key: 'list' },
        listed(
          versions,
          (rows) =>
            table({
              columns: columns(rows),
              rows,
              key: (row) => String(row.version),
              label: t('prices.versions'),
              href: (row) => href(['prices', String(row.version)]),
              current: path[1],
              rowClass: (row) => (row.withdrawn_at_ms ? 'faint' : ''),
            }),
          empty(t('prices.none')),
        ),
        missing(t('prices.who')),
        asCommand({ method: 'GET', path: 'prices', command: 'tollgate price history' }),
      ),
      path[1] &&
        h(
          'aside',
          { key: path[1], tabindex: '-1', 'aria-label': t('prices.version', { n: path[1] }) },
          version(path[1], {
            rows: versions.value?.rows ?? [],
            models,
            both,
            other: other(),
            compare: (/** @type {string} */ version) => go(['prices', path[1]], { with: version }),
            back,
            save: saved,
            start,
            ask: (/** @type {any} */ row) => {
              Object.assign(now, { asked: row, asking: {} });
              redraw();
            },
          }),
        ),
    ),
    now.one &&
      dialog(
        t('prices.set'),
        () => {
          now.one = null;
          redraw();
        },
        priceForm(now.one, set, redraw),
      ),
    now.list &&
      dialog(
        t('prices.publish'),
        () => {
          now.list = null;
          redraw();
        },
        listForm(now.list, publish, redraw),
      ),
    now.asked &&
      question({
        title: t('prices.withdraw'),
        action: t('prices.withdraw'),
        danger: true,
        state: now.asking,
        redraw,
        text: h('p', null, t('prices.withdraw.text', { n: now.asked.version })),
        done: () => {
          now.asked = null;
          redraw();
        },
        run: async () => {
          await change('DELETE', `prices/${now.asked.version}`);
          await versions.load();
        },
      }),
  ];
  return {
    draw,
    moved(/** @type {any} */ place) {
      const [before, last] = [path[1], other()];
      ({ path, query } = place);
      if (path[1] !== before || other() !== last) show();
    },
    close() {
      versions.close();
      models?.close();
      both.close();
    },
    keys: { Escape: back },
  };
}

/** The version in force: the latest whose moment has come. @param {any[]} rows */
const inForce = (rows) =>
  rows
    .filter((row) => !row.withdrawn_at_ms && row.effective_at_ms <= Date.now())
    .reduce(
      (latest, row) =>
        !latest ||
        (row.effective_at_ms >= latest.effective_at_ms && row.version > latest.version) ||
        row.effective_at_ms > latest.effective_at_ms
          ? row
          : latest,
      /** @type {any} */ (null),
    );

/** @param {any[]} rows @returns {import('../parts/table.js').Column<any>[]} */
function columns(rows) {
  const current = inForce(rows);
  const standing = (/** @type {any} */ row) => {
    if (row.withdrawn_at_ms) return state('off', t('prices.withdrawn'));
    if (row === current) return state('good', t('prices.force'));
    return row.effective_at_ms > Date.now()
      ? [state('rest', t('prices.coming')), ' ', ago(row.effective_at_ms)]
      : t('prices.past');
  };
  return [
    { name: t('prices.number'), cell: (row) => row.version },
    { name: t('prices.state'), cell: standing },
    { name: t('prices.from'), cell: (row) => moment(row.effective_at_ms) },
    { name: t('prices.models'), number: true, cell: (row) => count(row.models) },
    { name: t('prices.actor'), cell: (row) => short(row.actor) },
    { name: t('prices.note'), wide: true, cell: (row) => row.note ?? '' },
  ];
}
