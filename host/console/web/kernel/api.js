// @ts-check
// The management API, which is all that the console has. The access token lives in this module's memory; the refresh
// token is a cookie that no script can read, and goes to the session's routes alone.

import { written } from './route.js';

export const ROOT = new URL('../../../management/v1/', import.meta.url);
const channel = new BroadcastChannel('tollgate');
/** Access tokens are replaced so many milliseconds before they end. */
const EARLY_MS = 30_000;
/** Who is logged in; `ended` once a login is over that was good. */
export const session = { user: /** @type {any} */ (null), ended: false };
let access = /** @type {{token: string, until: number} | null} */ (null);
let refreshing = /** @type {Promise<boolean> | null} */ (null);
let tell = () => {};
const versions = new WeakMap();

/** Why a call has no result: the server's code, for which there are words, and its own text. */
export class Problem extends Error {
  /** @param {number} status @param {any} error @param {string | null} wait */
  constructor(status, error, wait) {
    super(error?.message ?? '');
    this.status = status;
    this.code = error?.code ?? (status === 0 ? 'unreachable' : 'internal');
    this.field = error?.field ?? null;
    this.params = error?.params ?? {};
    this.requestId = error?.request_id ?? null;
    this.waitSeconds = wait === null ? null : Number(wait);
  }
}

/** Calls `changed` whenever who is logged in has changed, in whichever tab. @param {() => void} changed */
export function follow(changed) {
  tell = changed;
  channel.onmessage = ({ data }) => data === 'out' && over(false);
}

/** @param {boolean} ended */
function over(ended) {
  access = null;
  Object.assign(session, ended ? { ended: session.user !== null } : { user: null, ended: false });
  tell();
}

/**
 * @param {string} method @param {string} path @param {any} body @param {Record<string, string>} headers
 * @param {AbortSignal} [signal]
 */
async function send(method, path, body, headers, signal) {
  const all = body === undefined ? headers : { 'content-type': 'application/json', ...headers };
  const text = body instanceof Blob ? body : JSON.stringify(body);
  try {
    return await fetch(new URL(path, ROOT), { method, headers: all, body: text, signal, credentials: 'same-origin' });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, null, null);
  }
}

/** @param {Response} answer */
async function problem(answer) {
  return new Problem(answer.status, (await answer.json().catch(() => null))?.error, answer.headers.get('retry-after'));
}

/** Logs in: by `login` with a name and a password, or by `link`. @param {'login' | 'link'} by @param {any} body */
export async function enter(by, body) {
  const answer = await send('POST', `session/${by}`, body, {});
  if (!answer.ok) throw await problem(answer);
  opened(await answer.json());
}

/** @param {any} said */
function opened(said) {
  access = { token: said.access_token, until: performance.now() + said.expires_in * 1000 - EARLY_MS };
  Object.assign(session, { user: said.user, ended: false });
  tell();
}

/** Ends the login, in all tabs. */
export async function leave() {
  const answer = await send('POST', 'session/logout', undefined, {});
  if (!answer.ok) throw await problem(answer);
  over(false);
  channel.postMessage('out');
}

/** Gets the next access token; one tab at a time, where the browser can arrange that. Whether there is one. */
export function refresh() {
  const begun = () => (navigator.locks ? navigator.locks.request('tollgate-refresh', renew) : renew());
  refreshing ??= begun().finally(() => (refreshing = null));
  return /** @type {Promise<boolean>} */ (refreshing);
}

async function renew() {
  const answer = await send('POST', 'session/refresh', undefined, {});
  if (answer.ok) opened(await answer.json());
  else if (answer.status === 401) over(true);
  else throw await problem(answer);
  return answer.ok;
}

/**
 * Calls the API, with a token that is good, and again with another one where it was not. Answers the response.
 * @param {string} method @param {string} path below `/management/v1/`
 * @param {{query?: Record<string, any>, body?: any, once?: string, headers?: Record<string, string>,
 *   signal?: AbortSignal}} [how]
 */
export async function call(method, path, how = {}) {
  const target = path + written(how.query ?? {});
  for (let tries = 0; ; tries += 1) {
    if (!access || performance.now() > access.until) await refresh();
    const headers = {
      ...how.headers,
      ...(access && { authorization: `Bearer ${access.token}` }),
      ...(how.once && { 'idempotency-key': how.once }),
    };
    const answer = await send(method, target, how.body, headers, how.signal);
    if (answer.ok) return answer;
    if (answer.status !== 401 || tries > 0) throw await problem(answer);
    access = null;
  }
}

/** @param {Response} answer @returns {Promise<any>} */
async function read(answer) {
  const value = answer.status === 204 ? null : await answer.json();
  if (value) versions.set(value, answer.headers.get('etag'));
  return value;
}

/** @param {string} path @param {Record<string, any>} [query] @param {AbortSignal} [signal] @returns {Promise<any>} */
export const get = async (path, query, signal) => read(await call('GET', path, { query, signal }));

/**
 * Changes something. What makes a thing takes `once`, so that a second try makes no second one; what changes one takes
 * the value that was seen, `of`, and is refused where somebody has changed it since.
 * @param {string} method @param {string} path @param {any} [body] @param {string} [once] @param {any} [of]
 */
export async function change(method, path, body, once, of) {
  const version = of && versions.get(of);
  return read(await call(method, path, { body, once, headers: version && { 'if-match': version } }));
}

/** A word for `once`. */
export const fresh = () => crypto.getRandomValues(new Uint32Array(4)).join('-');
