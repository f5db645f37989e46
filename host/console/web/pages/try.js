// @ts-check
// The same question in one protocol or in all four, side by side: what the client would have got, and what each step
// decided, in microseconds.

import { change } from '../kernel/api.js';
import { h } from '../kernel/dom.js';
import { go, href } from '../kernel/route.js';
import { t, word } from '../kernel/words.js';
import { detail } from '../parts/call.js';
import { draft, field, form } from '../parts/form.js';
import { count, duration } from '../parts/format.js';
import { state } from '../parts/icon.js';
import { empty, problem } from '../parts/note.js';
import { asCommand, copier } from '../parts/save.js';

const PROTOCOLS = ['openai-chat', 'openai-responses', 'anthropic-messages', 'gemini'];

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { query } = page;
  const it = draft(
    {
      model: query.get('model') ?? '',
      key: query.get('key') ?? '',
      credential: query.get('credential') ?? '',
      prompt: t('try.prompt.first'),
      protocol: 'all',
      stream: false,
    },
    redraw,
  );
  /** @type {Record<string, any>} */
  let results = {};
  const order = (/** @type {string} */ protocol) => ({
    model: it.get('model'),
    protocol,
    prompt: it.get('prompt'),
    stream: it.get('stream'),
    ...Object.fromEntries(['key', 'credential'].map((name) => [name, it.get(name)]).filter(([, value]) => value)),
  });
  const chosen = () => (it.get('protocol') === 'all' ? PROTOCOLS : [it.get('protocol')]);
  const send = async () => {
    const protocols = chosen();
    results = Object.fromEntries(protocols.map((name) => [name, { busy: true }]));
    go(['try'], { model: it.get('model'), key: it.get('key'), credential: it.get('credential') }, true);
    await Promise.all(
      protocols.map(async (name) => {
        results[name] = await change('POST', 'proxy/test', order(name)).catch((error) => ({ error }));
        redraw();
      }),
    );
  };
  const draw = () => [
    h('div', { class: 'head' }, h('h1', null, t('page.try'))),
    h('p', { class: 'muted' }, t('try.text')),
    form(
      it,
      { action: t('try.send'), send, redraw },
      h(
        'div',
        { class: 'two' },
        field(it, 'model', t('try.model'), { required: true, focus: !it.get('model') }),
        field(it, 'protocol', t('try.protocol'), {
          options: [['all', t('try.all')], ...PROTOCOLS.map((name) => /** @type {[string, string]} */ ([name, name]))],
        }),
        field(it, 'key', t('try.key'), { hint: t('try.key.hint') }),
        field(it, 'credential', t('try.credential'), { hint: t('try.credential.hint') }),
      ),
      field(it, 'prompt', t('try.prompt'), { type: 'text', rows: 3, required: true }),
      field(it, 'stream', t('try.stream'), { type: 'checkbox' }),
    ),
    Object.keys(results).length
      ? h(
          'div',
          { class: 'beside' },
          Object.entries(results).map(([name, result]) =>
            h('section', { key: name, class: 'panel', 'aria-label': name }, h('h2', null, name), outcome(result)),
          ),
        )
      : empty(t('try.nothing')),
    asCommand({ method: 'POST', path: 'proxy/test', body: order(chosen()[0]) }),
  ];
  return {
    draw,
    moved: (/** @type {any} */ place) => {
      ({ query } = place);
    },
  };
}

/** @param {any} result */
function outcome(result) {
  if (result.busy) return h('p', { class: 'muted', role: 'status' }, t('try.busy'));
  if (result.error) return problem(result.error);
  const good = result.status >= 200 && result.status < 300;
  return [
    h(
      'p',
      null,
      state(good ? 'good' : 'bad', String(result.status)),
      ' · ',
      duration(result.took_ms),
      ' ',
      result.request && h('a', { href: href(['calls', result.request]) }, t('try.call')),
    ),
    h('pre', { tabindex: '0' }, pretty(result.answer)),
    copier(result.answer),
    h('h3', null, t('try.steps')),
    h(
      'ol',
      { class: 'road' },
      result.steps.map((/** @type {any} */ step) =>
        h(
          'li',
          null,
          h(
            'details',
            null,
            h(
              'summary',
              null,
              word('step', step.step),
              ' ',
              h('span', { class: 'muted' }, `${count(step.took_us)} µs`),
            ),
            detail(step.detail),
          ),
        ),
      ),
    ),
  ];
}

/** @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
