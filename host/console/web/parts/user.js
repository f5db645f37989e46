// @ts-check
// One user, for an operator: balance, role, password, what is given and paid, and the ways to their keys and calls.

import { change, fresh, get } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { draft, field, form } from './form.js';
import { moment, points } from './format.js';
import { busy, problem } from './note.js';
import { resource } from './resource.js';
import { asCommand, copier } from './save.js';

const AMOUNT = '[0-9]+([.][0-9]{1,6})?';

/** @param {string} id @param {{redraw: () => void, changed: () => void}} of */
export function userPanel(id, { redraw, changed }) {
  const path = `users/${encodeURIComponent(id)}`;
  const user = resource(redraw, (signal) => get(path, {}, signal));
  const forms = { edit: /** @type {any} */ (null), gift: draft({}, redraw), payment: draft({}, redraw) };
  const once = { gift: fresh(), payment: fresh() };
  let said = '';
  const load = async () => {
    await user.load();
    if (user.value) forms.edit = draft({ password: '', ...user.value }, redraw);
    redraw();
  };
  void load();
  const save = async () => {
    await change('PATCH', path, forms.edit.changes, undefined, user.value);
    said = t('saved');
    await load();
    changed();
  };
  const give = (/** @type {'gift' | 'payment'} */ kind, /** @type {string} */ route) => async () => {
    const it = forms[kind];
    const body = Object.fromEntries(
      ['points', 'reason', 'reference'].map((name) => [name, it.get(name)]).filter(([, value]) => value),
    );
    const booked = await change('POST', `${path}/${route}`, body, once[kind]);
    said = t(booked.repeated ? 'user.repeated' : 'user.booked', { n: points(booked.points) });
    once[kind] = fresh();
    forms[kind] = draft({}, redraw);
    await load();
    changed();
  };
  return {
    /** @param {() => void} back */
    draw: (back) => [
      h(
        'div',
        { class: 'head' },
        h('h2', null, user.value?.name ?? t('users.one')),
        copier(id, t('user.copy')),
        h(
          'div',
          { class: 'end' },
          h('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onclick: back }, '×'),
        ),
      ),
      problem(user.error, load),
      !user.value && !user.error && busy(),
      said && h('p', { role: 'status' }, said),
      user.value && [
        ways(user.value),
        forms.edit && editing(forms.edit, save, redraw),
        giving(forms, give, redraw),
        asCommand({ method: 'GET', path }),
      ],
    ],
  };
}

/** @param {any} user */
function ways(user) {
  return [
    h(
      'dl',
      { class: 'pairs' },
      h('dt', null, t('users.points')),
      h('dd', null, points(user.points)),
      h('dt', null, t('users.reserved')),
      h('dd', null, points(user.reserved)),
      h('dt', null, t('users.since')),
      h('dd', null, moment(user.created_at_ms)),
    ),
    h(
      'p',
      { class: 'actions' },
      h('a', { class: 'button', href: href(['calls'], { user: user.name }) }, t('page.calls')),
      h('a', { class: 'button', href: href(['keys'], { user: user.id }) }, t('page.keys')),
      h('a', { class: 'button', href: href(['audit'], { target: user.id }) }, t('page.audit')),
    ),
  ];
}

/** @param {any} it @param {() => Promise<any>} send @param {() => void} redraw */
function editing(it, send, redraw) {
  return h(
    'section',
    null,
    h('h3', null, t('user.edit')),
    form(
      it,
      { action: t('save'), send, redraw, unchanged: Object.keys(it.changes).length === 0 },
      h(
        'div',
        { class: 'two' },
        field(it, 'role', t('users.role'), {
          options: [
            ['user', word('role', 'user')],
            ['admin', word('role', 'admin')],
          ],
        }),
        field(it, 'floor', t('users.floor'), { hint: t('users.floor.hint'), pattern: `-?${AMOUNT}` }),
      ),
      field(it, 'enabled', t('user.enabled'), { type: 'checkbox', hint: t('user.enabled.hint') }),
      field(it, 'own_only', t('user.own_only'), { type: 'checkbox', hint: t('user.own_only.hint') }),
      field(it, 'password', t('user.password'), {
        type: 'password',
        auto: 'new-password',
        hint: t('user.password.hint'),
      }),
    ),
  );
}

/** @param {any} forms @param {any} give @param {() => void} redraw */
function giving(forms, give, redraw) {
  const amount = (/** @type {any} */ it) => field(it, 'points', t('unit.points'), { required: true, pattern: AMOUNT });
  return [
    h(
      'details',
      null,
      h('summary', null, t('user.give')),
      form(
        forms.gift,
        { action: t('user.give'), redraw, send: give('gift', 'grants') },
        amount(forms.gift),
        field(forms.gift, 'reason', t('user.reason'), { required: true, hint: t('user.reason.hint') }),
      ),
    ),
    h(
      'details',
      null,
      h('summary', null, t('user.pay')),
      form(
        forms.payment,
        { action: t('user.pay'), redraw, send: give('payment', 'top-ups') },
        amount(forms.payment),
        field(forms.payment, 'reference', t('user.reference'), { required: true, hint: t('user.reference.hint') }),
        field(forms.payment, 'reason', t('user.reason'), {}),
      ),
    ),
  ];
}
