// @ts-check
// The pages, as one table: where each is, for whom, which module draws it, and which words it needs. A page is loaded
// when it is first opened.

/**
 * @typedef {{id: string, area: 'operator' | 'user' | 'open', key?: string, words?: string[],
 *   load: () => Promise<{open: (page: any) => any}>}} Entry
 */

/** @type {Entry[]} */
export const PAGES = [
  { id: 'login', area: 'open', load: () => import('./pages/login.js') },
  { id: 'now', area: 'operator', key: 'n', load: () => import('./pages/now.js') },
  { id: 'calls', area: 'operator', key: 'c', load: () => import('./pages/calls.js') },
  { id: 'usage', area: 'operator', key: 'd', load: () => import('./pages/usage.js') },
  { id: 'users', area: 'operator', key: 'u', load: () => import('./pages/users.js') },
  { id: 'keys', area: 'operator', key: 'k', words: ['key'], load: () => import('./pages/keys.js') },
  { id: 'credentials', area: 'operator', key: 'p', load: () => import('./pages/credentials.js') },
  { id: 'prices', area: 'operator', key: 'm', load: () => import('./pages/prices.js') },
  { id: 'models', area: 'operator', key: 'r', load: () => import('./pages/models.js') },
  { id: 'components', area: 'operator', key: 'x', load: () => import('./pages/components.js') },
  { id: 'try', area: 'operator', key: 't', words: ['calls'], load: () => import('./pages/try.js') },
  { id: 'codes', area: 'operator', key: 'o', load: () => import('./pages/codes.js') },
  { id: 'pool', area: 'operator', key: 'l', words: ['credentials'], load: () => import('./pages/pool.js') },
  { id: 'audit', area: 'operator', key: 'a', load: () => import('./pages/audit.js') },
  { id: 'home', area: 'user', key: 'q', load: () => import('./pages/home.js') },
  { id: 'my-keys', area: 'user', key: 'y', words: ['key'], load: () => import('./pages/my-keys.js') },
  { id: 'my-calls', area: 'user', key: 'w', words: ['calls'], load: () => import('./pages/my-calls.js') },
  { id: 'my-usage', area: 'user', key: 'e', load: () => import('./pages/my-usage.js') },
  {
    id: 'my-credentials',
    area: 'user',
    key: 'b',
    words: ['credentials'],
    load: () => import('./pages/my-credentials.js'),
  },
  { id: 'statement', area: 'user', key: 'f', words: ['home'], load: () => import('./pages/statement.js') },
  { id: 'account', area: 'user', key: 'v', load: () => import('./pages/account.js') },
  { id: 'docs', area: 'user', key: 'h', load: () => import('./pages/docs.js') },
  { id: 'api', area: 'operator', key: 'i', load: () => import('./pages/api.js') },
  { id: 'system', area: 'operator', key: 's', load: () => import('./pages/system.js') },
];

/** @param {string | undefined} id @param {any} user */
export function find(id, user) {
  const shown = PAGES.filter((page) => visible(page, user));
  return shown.find((page) => page.id === id) ?? (id ? undefined : shown.find((page) => page.area !== 'open'));
}

/** Nobody is shown a way that they may not go. @param {Entry} page @param {any} user */
export function visible(page, user) {
  if (page.area === 'open') return true;
  return user !== null && (page.area === 'user' || user.role === 'admin');
}
