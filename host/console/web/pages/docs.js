// @ts-check
// The documents of this repository, as the build has embedded them.

import { h } from '../kernel/dom.js';
import { href } from '../kernel/route.js';
import { t } from '../kernel/words.js';
import { markdown } from '../parts/markdown.js';
import { busy, problem } from '../parts/note.js';
import { resource } from '../parts/resource.js';

const FIRST = 'users';
/** In the order in which one reads them. */
const DOCUMENTS = [
  'users',
  'operators/configuration',
  'operators/operation',
  'operators/accounts',
  'operators/credentials',
  'operators/limits',
  'operators/money',
  'operators/security',
  'plugins/first',
  'plugins/adapters',
  'plugins/rules',
  'plugins/operation',
  'plugins/languages',
];

/** @param {any} page */
export function open(page) {
  const { redraw } = page;
  let { path } = page;
  const name = () => path.slice(1).join('/') || FIRST;
  const text = resource(redraw, async (signal) => {
    const answer = await fetch(new URL(`../docs/${name()}.md`, import.meta.url), { signal });
    if (!answer.ok) throw Object.assign(new Error(), { code: 'not_found' });
    return answer.text();
  });
  void text.load();
  /** Documents lead to each other by their files. @param {string} target */
  const link = (target) => {
    if (target.includes(':/')) return null;
    const at = new URL(target.split('#')[0] || `${name()}.md`, `${location.origin}/docs/${name()}`).pathname;
    const found = /^\/docs\/(.+)\.md$/.exec(at);
    return found ? href(['docs', ...found[1].split('/')]) : null;
  };
  const draw = () => [
    h('div', { class: 'head' }, h('h1', null, t('page.docs'))),
    h(
      'nav',
      { class: 'actions', 'aria-label': t('page.docs') },
      DOCUMENTS.map((it) =>
        h(
          'a',
          {
            key: it,
            class: 'button',
            lang: 'en',
            href: href(['docs', ...it.split('/')]),
            'aria-current': it === name() ? 'page' : null,
          },
          it.replace('/', ': '),
        ),
      ),
    ),
    problem(text.error, text.load),
    !text.value && !text.error && busy(),
    text.value && h('article', { lang: 'en', class: 'document' }, markdown(text.value, link)),
  ];
  return {
    draw,
    moved(/** @type {any} */ place) {
      const before = name();
      ({ path } = place);
      if (name() !== before) void text.load();
    },
    close: () => text.close(),
  };
}
