// @ts-check
// Where one is: `#/calls/<id>?user=carol`. All of it stands behind the number sign, so the console works below any
// path, and no proxy's log learns of it.

/** @typedef {{path: string[], query: URLSearchParams}} Place */

/** @returns {Place} */
export function here() {
  // A lone percent sign is one that somebody typed.
  const hash = location.hash.replace(/%(?![0-9a-f]{2})/gi, '%25');
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  return { path: path.split('/').filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

/** A query as text. A list is its values; what is empty is left out. @param {Record<string, any>} query */
export function written(query) {
  const pairs = query instanceof URLSearchParams ? [...query] : Object.entries(query);
  const each = pairs.flatMap(([name, value]) => [value].flat().map((one) => [name, one ?? '']));
  const given = each.filter(([, one]) => one !== '').map(([name, one]) => [name, String(one)]);
  return given.length ? `?${new URLSearchParams(given)}` : '';
}

/** The address of a place. @param {string[]} path @param {URLSearchParams | Record<string, any>} [query] */
export const href = (path, query = {}) => `#/${path.map(encodeURIComponent).join('/')}${written(query)}`;

/**
 * Goes there; `instead` leaves no way back to where one is.
 * @param {string[]} path @param {URLSearchParams | Record<string, any>} [query] @param {boolean} [instead]
 */
export function go(path, query, instead) {
  location[instead ? 'replace' : 'assign'](href(path, query));
}
