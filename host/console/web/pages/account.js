// @ts-check
// Who one is here, and a new password.

import { change, session } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { t, word } from '../kernel/words.js';
import { draft, field, form } from '../parts/form.js';
import { moment } from '../parts/format.js';
import { copier } from '../parts/save.js';

/** @param {any} page */
export function open({ redraw }) {
  const blank = () => draft({ old_password: '', new_password: '' }, redraw);
  const now = { password: blank(), said: '' };
  const send = async () => {
    const [before, next] = ['old_password', 'new_password'].map((name) => now.password.get(name));
    await change('POST', 'me/password', { old_password: before, new_password: next });
    Object.assign(now, { password: blank(), said: t('account.changed') });
  };
  const me = session.user;
  return {
    draw: () => [
      h('div', { class: 'head' }, h('h1', null, t('page.account'))),
      h(
        'dl',
        { class: 'pairs' },
        h('dt', null, t('login.name')),
        h('dd', null, me.name),
        h('dt', null, t('account.id')),
        h('dd', null, h('code', null, me.id), ' ', copier(me.id)),
        h('dt', null, t('account.role')),
        h('dd', null, word('role', me.role)),
        h('dt', null, t('account.since')),
        h('dd', null, moment(me.created_at)),
      ),
      h('h2', null, t('account.password')),
      h(
        'div',
        { class: 'panel narrow' },
        form(
          now.password,
          { action: t('account.password.set'), send, redraw },
          field(now.password, 'old_password', t('account.old'), {
            type: 'password',
            required: true,
            auto: 'current-password',
          }),
          field(now.password, 'new_password', t('account.new'), {
            type: 'password',
            required: true,
            auto: 'new-password',
            hint: t('account.new.hint'),
          }),
        ),
      ),
      now.said && h('p', { role: 'status' }, now.said),
    ],
  };
}
