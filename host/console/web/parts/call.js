// @ts-check
// One call: what each step decided, its attempts, its receipt line by line, and what an operator may do about it. The
// lines are the receipt's own; nothing here computes a price.

import { change, fresh, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { decisions } from './decisions.js';
import { dialog } from './dialog.js';
import { draft, field, form } from './form.js';
import { count, digest, duration, moment, points, short } from './format.js';
import { busy, missing, problem } from './note.js';
import { ended } from './outcome.js';
import { resource } from './resource.js';
import { asCommand, copier } from './save.js';
import { table } from './table.js';

/**
 * @param {string} id @param {{redraw: () => void, operator: boolean}} of
 */
export function callPanel(id, { redraw, operator }) {
  const path = encodeURIComponent(id);
  const call = resource(redraw, (signal) => get(`requests/${path}`, {}, signal));
  // What was not charged has no receipt, and says so by 404.
  const receipt = resource(redraw, (signal) => get(`receipts/${path}${operator ? '/inputs' : ''}`, {}, signal));
  const bodies = resource(redraw, (signal) => get(`requests/${path}/bodies`, {}, signal));
  const state = { refund: /** @type {any} */ (null), refunded: /** @type {any} */ (null), once: fresh() };
  void call.load();
  void receipt.load();

  const send = async () => {
    const body = {
      reason: state.refund.get('reason'),
      points: state.refund.get('points') || undefined,
      key: state.once,
    };
    state.refunded = await change('POST', `requests/${path}/refund`, body, state.once);
    Object.assign(state, { refund: null, once: fresh() });
  };
  const refund = () => {
    state.refund = draft({ points: '', reason: '' }, redraw);
    redraw();
  };
  return {
    /** @param {(() => void)} shut */
    draw: (shut) => [
      h(
        'div',
        { class: 'head' },
        h('h2', null, t('call.title')),
        h('code', { title: id }, `…${id.slice(-12)}`),
        copier(id),
        h(
          'div',
          { class: 'end' },
          h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: shut }, '×'),
        ),
      ),
      call.value ? facts(call.value, operator) : call.error ? problem(call.error, call.load) : busy(),
      call.value && [decisions(call.value), attempts(call.value)],
      receiptLines(receipt, operator),
      state.refunded && h('p', { role: 'status' }, t('call.refunded', { n: points(state.refunded.points) })),
      operator &&
        receipt.value &&
        h(
          'p',
          { class: 'actions' },
          h('button', { type: 'button', onclick: refund }, t('call.refund')),
          h('button', { type: 'button', onclick: () => bodies.load() }, t('call.bodies')),
        ),
      operator && bodyTexts(bodies),
      asCommand({
        method: 'GET',
        path: `requests/${path}`,
        command: operator ? `tollgate requests show ${id}` : undefined,
      }),
      state.refund &&
        dialog(
          t('call.refund'),
          () => {
            state.refund = null;
            redraw();
          },
          form(
            state.refund,
            { action: t('call.refund.give'), send, redraw },
            field(state.refund, 'points', t('unit.points'), {
              hint: t('call.refund.hint'),
              pattern: '[0-9]+([.][0-9]{1,6})?',
            }),
            field(state.refund, 'reason', t('call.refund.reason'), { required: true, hint: t('call.refund.seen') }),
          ),
        ),
    ],
    close() {
      for (const it of [call, receipt, bodies]) it.close();
    },
  };
}

/** @param {any} call @param {boolean} operator */
function facts(call, operator) {
  /** @type {[string, any][]} */
  const rows = [
    [t('calls.at'), moment(call.started_at_ms)],
    [t('calls.outcome'), [ended(call.outcome), call.status ? ` ${call.status}` : '']],
    [t('calls.user'), operator && (call.user ?? short(call.user_id))],
    [
      t('calls.key'),
      call.key &&
        h('a', { href: href([operator ? 'calls' : 'my-calls'], { key: call.key }) }, call.key_name ?? short(call.key)),
    ],
    [t('calls.model.whole'), call.model],
    [t('calls.protocol'), call.protocol && `${call.protocol} · ${call.operation}`],
    [t('calls.provider'), call.provider],
    [
      t('call.credential'),
      operator &&
        call.credential && [
          call.credential_name ?? short(call.credential),
          ' ',
          call.owner && h('span', { class: 'tag' }, word('owner', call.owner)),
        ],
    ],
    [
      t('calls.took'),
      [duration(call.latency_ms), call.ttft_ms == null ? '' : t('call.ttft', { n: duration(call.ttft_ms) })],
    ],
    [t('call.held'), points(call.held_points)],
    [t('call.cost'), points(call.points)],
    [t('call.left'), call.left_out],
    [t('call.error'), call.error && h('span', { lang: 'en' }, call.error)],
  ];
  return h(
    'dl',
    { class: 'pairs' },
    rows.filter(([, value]) => value).map(([name, value]) => [h('dt', null, name), h('dd', null, value)]),
  );
}

/** A step's own words, member by member. @param {any} value */
export function detail(value) {
  if (value == null) return null;
  if (typeof value !== 'object') return h('p', null, String(value));
  const flat = (/** @type {any} */ it) => (typeof it === 'object' && it !== null ? JSON.stringify(it) : String(it));
  return h(
    'dl',
    { class: 'pairs' },
    Object.entries(value)
      .filter(([, it]) => it !== null && it !== '')
      .map(([name, it]) => [h('dt', null, name), h('dd', null, flat(it))]),
  );
}

/** @param {any} call */
function attempts(call) {
  if (!call.tries?.length) return null;
  const one = (/** @type {any} */ attempt) => {
    const beside = [attempt.status, attempt.took_ms == null ? null : duration(attempt.took_ms)].filter(Boolean);
    return h(
      'li',
      null,
      attempt.failure ? word('failure', attempt.failure) : t('call.answered'),
      ' ',
      h('span', { class: 'muted' }, beside.join(' · ')),
      attempt.credential && [' ', attempt.credential_name ?? short(attempt.credential)],
    );
  };
  return [h('h2', null, t('call.attempts')), h('ol', { class: 'road' }, call.tries.map(one))];
}

/** @param {any} receipt @param {boolean} operator */
function receiptLines(receipt, operator) {
  if (receipt.error) {
    if (receipt.error.status !== 404) return problem(receipt.error, receipt.load);
    return h('p', { class: 'muted' }, t('call.receipt.none'));
  }
  if (!receipt.value) return null;
  const it = receipt.value;
  /** @type {import('./table.js').Column<any>[]} */
  const columns = [
    { name: t('call.class'), cell: (line) => word('class', line.class) },
    { name: t('call.units'), number: true, cell: (line) => count(line.units) },
    ...(operator
      ? [
          {
            name: t('call.price'),
            number: true,
            hint: t('call.price.hint'),
            cell: (/** @type {any} */ line) => points(it.prices?.[line.class]),
          },
        ]
      : []),
    { name: t('unit.points'), number: true, cell: (line) => points(line.points) },
    { name: t('call.why'), cell: (line) => line.reason && word('reason', line.reason) },
  ];
  return [
    h('h2', null, t('call.receipt')),
    table({ columns, rows: it.lines, key: (line) => line.class, label: t('call.receipt') }),
    h('p', { class: 'number' }, t('call.total'), ' ', h('strong', null, points(it.total)), ' ', t('unit.points')),
    h('dl', { class: 'pairs' }, receiptFacts(it, operator)),
  ];
}

/** @param {any} it @param {boolean} operator */
function receiptFacts(it, operator) {
  /** @type {[string, any][]} */
  const rows = [
    [
      t('call.version'),
      operator ? h('a', { href: href(['prices', String(it.price_version)]) }, it.price_version) : it.price_version,
    ],
    [t('call.quality'), word('quality', it.usage.quality)],
    [t('call.tier'), it.usage.service_tier === 'standard' ? null : it.usage.service_tier],
    [t('call.default'), it.default_price],
    [t('call.component'), digest(it.pricing_component)],
    [t('call.rate'), operator && percent(it.price_rate_ppm)],
    [t('call.held'), operator && points(it.held)],
  ];
  return rows.filter(([, value]) => value).map(([name, value]) => [h('dt', null, name), h('dd', null, value)]);
}

/** Millionths as hundredths, in digits alone. @param {number | null | undefined} ppm */
export function percent(ppm) {
  if (ppm == null) return null;
  const digits = String(ppm).padStart(5, '0');
  const part = digits.slice(-4).replace(/0+$/, '');
  return `${digits.slice(0, -4)}${part && `.${part}`} %`;
}

/** @param {any} bodies */
function bodyTexts(bodies) {
  if (bodies.error)
    return bodies.error.status === 404 ? missing(t('call.bodies.none')) : problem(bodies.error, bodies.load);
  if (!bodies.value) return bodies.busy ? busy() : null;
  return [
    h('h2', null, t('call.asked')),
    h('pre', { tabindex: '0' }, bodies.value.asked.text),
    h('h2', null, t('call.answer')),
    h('pre', { tabindex: '0' }, bodies.value.answered.text),
  ];
}
