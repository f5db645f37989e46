// @ts-check
// A view is a function that returns a tree of plain objects; `patch` makes the document like it, and touches nothing
// that is alike already. Texts become text nodes, so nothing that a stranger has named is ever read as markup.

/** @typedef {{tag: string, text?: string, props: Record<string, any>, key: any, kids: Node_[], el: any}} Node_ */

const SVG = 'http://www.w3.org/2000/svg';
/** Set as properties: their attributes are only first values. */
const LIVE = new Set(['value', 'checked', 'selected', 'indeterminate']);
const arrived = /** @type {(() => void)[]} */ ([]);

/**
 * An element. `key` tells it from its siblings, `ready(element)` runs once it is in the document, `style` is an object,
 * `on…` are handlers, `null` and `false` leave an attribute out.
 * @param {string} tag @param {Record<string, any> | null} [props] @param {...any} kids @returns {Node_}
 */
export function h(tag, props, ...kids) {
  return { tag, props: props ?? {}, key: props?.key, kids: nodes(kids), el: null };
}

/** @param {any} kids @returns {Node_[]} */
export function nodes(kids) {
  const flat = [kids].flat(Infinity).filter((kid) => kid != null && typeof kid !== 'boolean' && kid !== '');
  return flat.map((kid) => (typeof kid === 'object' ? kid : { ...h(''), text: String(kid) }));
}

/**
 * Makes the children of `parent`, which are `old`, into `next`.
 * @param {any} parent @param {Node_[]} old @param {Node_[]} next
 */
export function patch(parent, old, next) {
  const { kept, gone } = match(old, next);
  for (const node of gone) node.el.remove();
  let place = parent.firstChild;
  next.forEach((node, at) => {
    const was = kept[at];
    if (was) update(was, node);
    else node.el = create(node, parent.namespaceURI);
    if (node.el === place) place = place.nextSibling;
    else parent.insertBefore(node.el, place);
  });
}

/** Runs what waits for its element to be in the document. */
export function settle() {
  for (const run of arrived.splice(0)) run();
}

/** An old node goes on as the new one of its key, or else of its tag. @param {Node_[]} old @param {Node_[]} next */
function match(old, next) {
  const keyed = new Map(old.filter((node) => node.key !== undefined).map((node) => [node.key, node]));
  const rest = old.filter((node) => node.key === undefined);
  const gone = new Set(old);
  let at = 0;
  const kept = next.map((node) => {
    let was = node.key === undefined ? undefined : keyed.get(node.key);
    if (node.key === undefined) {
      const found = rest.findIndex((other, place) => place >= at && other.tag === node.tag);
      if (found >= 0) [was, at] = [rest[found], found + 1];
    }
    if (!was || was.tag !== node.tag || !gone.delete(was)) return undefined;
    return was;
  });
  return { kept, gone };
}

/** @param {Node_} node @param {string} space */
function create(node, space) {
  if (node.tag === '') return document.createTextNode(node.text ?? '');
  const inside = node.tag === 'svg' ? SVG : space;
  const el = inside === SVG ? document.createElementNS(SVG, node.tag) : document.createElement(node.tag);
  node.el = el;
  patch(el, [], node.kids);
  for (const [name, value] of Object.entries(node.props)) set(el, name, undefined, value);
  const { ready } = node.props;
  if (ready) arrived.push(() => ready(el));
  return el;
}

/** @param {Node_} was @param {Node_} node */
function update(was, node) {
  const el = (node.el = was.el);
  if (was === node) return;
  if (node.tag === '') {
    if (was.text !== node.text) el.data = node.text;
    return;
  }
  patch(el, was.kids, node.kids);
  for (const name of Object.keys(was.props)) if (!(name in node.props)) set(el, name, was.props[name], null);
  for (const [name, value] of Object.entries(node.props)) set(el, name, was.props[name], value);
}

/** @param {any} el @param {string} name @param {any} was @param {any} value */
function set(el, name, was, value) {
  if (name === 'key' || name === 'ready') return;
  if (LIVE.has(name)) {
    if (el[name] !== value) el[name] = value ?? '';
  } else if (name.startsWith('on')) {
    el[name] = value ?? null;
  } else if (name === 'style') {
    for (const [part, text] of Object.entries(value ?? {})) el.style.setProperty(part, text);
  } else if (was !== value) {
    if (value == null || value === false) el.removeAttribute(name);
    else el.setAttribute(name, value === true ? '' : String(value));
  }
}
