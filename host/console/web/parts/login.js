// @ts-check
// Name and password, and who says why they are not taken.

import { enter } from '../kernel/api.js';
import { t } from '../kernel/words.js';
import { draft, field, form } from './form.js';

/** @type {import('./form.js').Draft | null} */
let filled = null;

/** @param {() => void} redraw @param {string} [name] */
export function login(redraw, name = '') {
  filled ??= draft({ name, password: '' }, redraw);
  const values = filled;
  const send = async () => {
    await enter('login', { name: values.get('name'), password: values.get('password') });
    filled = null;
  };
  return form(
    values,
    { action: t('login.enter'), send, redraw },
    field(values, 'name', t('login.name'), { required: true, auto: 'username', focus: name === '' }),
    field(values, 'password', t('login.password'), {
      type: 'password',
      required: true,
      auto: 'current-password',
      focus: name !== '',
    }),
  );
}
