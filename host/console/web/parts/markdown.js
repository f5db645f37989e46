// @ts-check
// Documents as they are written in this repository: headings, paragraphs, lists, tables, blocks of code, links. Their
// text becomes text nodes, as everything does.

import { h } from '../kernel/dom.js';

/**
 * @param {string} text @param {(target: string) => string | null} link where a link of the document leads
 */
export function markdown(text, link) {
  const lines = text.split('\n');
  /** @type {any[]} */
  const blocks = [];
  while (lines.length) {
    const line = lines[0];
    if (line.trim() === '') lines.shift();
    else if (line.startsWith('```')) blocks.push(code(lines));
    else if (/^#{1,6} /.test(line)) blocks.push(heading(/** @type {string} */ (lines.shift()), link));
    else if (line.startsWith('|'))
      blocks.push(
        rows(
          take(lines, (it) => it.startsWith('|')),
          link,
        ),
      );
    else if (/^(- |\d+\. )/.test(line)) blocks.push(list(lines, link));
    else
      blocks.push(
        h(
          'p',
          null,
          inline(take(lines, (it) => it.trim() !== '' && !/^(```|\||#{1,6} |- |\d+\. )/.test(it)).join(' '), link),
        ),
      );
  }
  return blocks;
}

/**
 * The lines at the beginning for which something holds; the first one in any case.
 * @param {string[]} lines @param {(line: string) => boolean} holds
 */
function take(lines, holds) {
  const taken = [/** @type {string} */ (lines.shift())];
  while (lines.length && holds(lines[0])) taken.push(/** @type {string} */ (lines.shift()));
  return taken;
}

/** @param {string[]} lines */
function code(lines) {
  const block = take(lines, (it) => !it.startsWith('```')).slice(1);
  lines.shift();
  return h('pre', { tabindex: '0' }, block.join('\n'));
}

/** @param {string} line @param {any} link */
function heading(line, link) {
  const [marks, ...words] = line.split(' ');
  // The page has a heading of its own above these.
  return h(`h${Math.min(marks.length + 1, 6)}`, { id: anchor(words.join(' ')) }, inline(words.join(' '), link));
}

/** The name that a heading has in links. @param {string} text */
const anchor = (text) =>
  text
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

/** @param {string[]} lines @param {any} link */
function rows(lines, link) {
  const cells = (/** @type {string} */ line) =>
    line
      .replace(/^\||\|$/g, '')
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim().replaceAll('\\|', '|'));
  const [head, , ...body] = lines;
  return h(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region' },
    h(
      'table',
      null,
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          cells(head).map((cell) => h('th', { scope: 'col' }, inline(cell, link))),
        ),
      ),
      h(
        'tbody',
        null,
        body.map((line) =>
          h(
            'tr',
            null,
            cells(line).map((cell) => h('td', { class: 'wide' }, inline(cell, link))),
          ),
        ),
      ),
    ),
  );
}

/** @param {string[]} lines @param {any} link */
function list(lines, link) {
  const numbered = /^\d/.test(lines[0]);
  const items = [];
  while (lines.length && /^(- |\d+\. )/.test(lines[0])) {
    const item = take(lines, (it) => /^ +\S/.test(it));
    items.push(
      h(
        'li',
        null,
        inline(
          item
            .map((it) => it.trim())
            .join(' ')
            .replace(/^(- |\d+\. )/, ''),
          link,
        ),
      ),
    );
  }
  return h(numbered ? 'ol' : 'ul', null, items);
}

/** @param {string} text @param {(target: string) => string | null} link @returns {any[]} */
function inline(text, link) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*|\[[^\]]+\]\([^)]+\))/).map((part) => {
    if (/^`.+`$/.test(part)) return h('code', null, part.slice(1, -1));
    if (/^\*\*.+\*\*$/.test(part)) return h('strong', null, inline(part.slice(2, -2), link));
    if (/^\*.+\*$/.test(part)) return h('em', null, part.slice(1, -1));
    const found = /^\[([^\]]+)\]\(([^)]+)\)$/.exec(part);
    if (!found) return part;
    const target = link(found[2]);
    return target ? h('a', { href: target }, inline(found[1], link)) : inline(found[1], link);
  });
}
