// @ts-check
// The way in: a name and a password, a link that is good once, or, where there is no operator yet, the admin secret.

import { call, enter } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { t } from '../kernel/words.js';
import { draft, field, form } from '../parts/form.js';
import { login } from '../parts/login.js';
import { busy, problem } from '../parts/note.js';

/** @param {any} page */
export function open({ path, query, redraw }) {
  const link = path[0] === 'login' ? query.get('link') : null;
  const state = { following: link !== null, error: /** @type {any} */ (null) };
  const first = draft({ secret: '', name: '', password: '' }, redraw);
  if (link !== null) {
    // What is good once has no place in the history.
    history.replaceState(null, '', '#/login');
    enter('link', { token: link }).catch((error) => {
      Object.assign(state, { following: false, error });
      redraw();
    });
  }
  /** Makes the first operator by the admin secret, which the console does not keep. */
  const make = async () => {
    const name = first.get('name');
    const password = first.get('password');
    const headers = { authorization: `Bearer ${first.get('secret')}` };
    await call('POST', 'users', { body: { name, password, role: 'admin' }, headers });
    first.set('secret', '');
    await enter('login', { name, password });
  };
  return {
    draw: () =>
      state.following
        ? busy()
        : h(
            'div',
            { class: 'panel' },
            h('h1', null, 'Tollgate'),
            state.error && problem(state.error),
            login(redraw),
            h(
              'details',
              null,
              h('summary', null, t('login.first')),
              h('p', null, t('login.first.text')),
              form(
                first,
                { action: t('login.first.make'), send: make, redraw },
                field(first, 'secret', t('login.secret'), {
                  type: 'secret',
                  required: true,
                  hint: t('login.secret.hint'),
                }),
                field(first, 'name', t('login.name'), { required: true }),
                field(first, 'password', t('login.password'), {
                  type: 'password',
                  required: true,
                  auto: 'new-password',
                  hint: t('login.password.hint'),
                }),
              ),
            ),
          ),
  };
}
