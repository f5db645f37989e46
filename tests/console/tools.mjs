// What the scripts share: a gateway with users, keys and calls, browsers that are watched, and how a check reports.

import { chromium } from 'playwright-core';
import { isDeepStrictEqual } from 'node:util';

export const { ADMIN_URL, CLIENT_URL, ADMIN_SECRET, DEMO_KEY } = process.env;
export const PASSWORD = 'correct horse battery';
export const LANGUAGES = ['en', 'zh'];
export const THEMES = ['light', 'dark'];
export const WIDTHS = [360, 768, 1440];
/** Longer than anything takes on a busy machine, if it happens at all. */
const PATIENCE_MS = 60_000;

/** Reports a promise that held; throws with what was seen instead when it did not. */
export function held(promise, condition, seen) {
  if (!condition) throw new Error(`${promise}: saw ${typeof seen === 'string' ? seen : JSON.stringify(seen)}`);
  console.log(`ok  ${promise}`);
}

export const same = (promise, seen, expected) => held(promise, isDeepStrictEqual(seen, expected), seen);

/** Calls the API as the operator, or with another token. */
export async function api(method, path, body, token = ADMIN_SECRET, root = ADMIN_URL) {
  const answer = await fetch(`${root}/management/v1/${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

/** A call of a client, to its end. Answers its status. */
export async function ask(key, model, prompt, more = {}) {
  const answer = await fetch(`${CLIENT_URL}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: prompt }], max_tokens: 20, ...more }),
  });
  await answer.text();
  return answer.status;
}

/** Waits until something is so. It is looked at again when there may be news, not at a time that decides anything. */
export async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** A user with a password, an API key and some calls that are in the log. */
export async function person(name, { points = '1000', role = 'user', models = ['gpt-4o-mini'] } = {}) {
  const user = await api('POST', 'users', { name, role, password: PASSWORD, points });
  const key = await api('POST', 'keys', { name: `key of ${name}`, user: name, limits: { tokens_per_day: 100_000 } });
  await until('the key in force', async () => (await fetch(`${CLIENT_URL}/v1/models`, { headers: { authorization: `Bearer ${key.key}` } })).ok);
  for (const model of models) await ask(key.key, model, 'Good morning');
  await until(`the calls of ${name}`, async () => (await api('GET', `requests?user=${user.id}`)).data.length >= models.length);
  return { ...user, key };
}

let browser;

/** The browser that all pages share. It knows no name of any other host. */
export async function launched() {
  browser ??= await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  });
  return browser;
}

export const closed = async () => browser?.close();

/**
 * A visitor with cookies of their own, who is watched: `faults` are requests to other origins, what was refused by the
 * policy, errors of scripts and answers that failed.
 */
export async function visitor({ theme = 'light', language = 'en', width = 1440, ...more } = {}) {
  const context = await (await launched()).newContext({
    viewport: { width, height: 900 },
    colorScheme: theme,
    locale: language === 'zh' ? 'zh-CN' : 'en-GB',
    reducedMotion: 'reduce',
    ...more,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const faults = [];
  const calls = [];
  context.on('request', (request) => {
    const url = new URL(request.url());
    if (!/^(blob|data):$/.test(url.protocol) && url.hostname !== '127.0.0.1') faults.push(`request to ${url}`);
    if (url.pathname.includes('/management/v1/')) calls.push({ method: request.method(), url, body: request.postData(), request });
  });
  context.on('console', (message) => {
    // The browser itself reports each answer of 400 and above so.
    const status = message.text().startsWith('Failed to load resource');
    if (['error', 'warning'].includes(message.type()) && !status) faults.push(message.text());
  });
  context.on('weberror', (error) => faults.push(String(error.error().stack)));
  context.on('response', (answer) => {
    if (answer.status() >= 500) faults.push(`${answer.status()} of ${answer.url()}`);
  });
  return { context, faults, calls };
}

/** Waits until the page that is open has everything that it asked for. */
export async function settled(page) {
  await page.waitForFunction(() => {
    const main = document.querySelector('main');
    const busy = [...document.querySelectorAll('main [role=status].muted')].some((it) => /…$/.test(it.textContent ?? ''));
    return main !== null && main.querySelector('h1') !== null && !busy;
  });
}

/** Logs in by the form. */
export async function logIn(page, name, root = ADMIN_URL) {
  await page.goto(`${root}/console/`);
  await page.fill('form >> nth=0 >> input[name=name]', name);
  await page.fill('form >> nth=0 >> input[name=password]', PASSWORD);
  await page.press('form >> nth=0 >> input[name=password]', 'Enter');
  await page.waitForSelector('.rail');
  await settled(page);
}

/** Goes to a page of the console by its address. */
export async function go(page, hash) {
  await page.evaluate((to) => {
    location.hash = to;
  }, `#/${hash}`);
  await page.waitForFunction((to) => document.querySelector(`.rail a[aria-current]`)?.getAttribute('href') === to, `#/${hash.split(/[/?]/)[0]}`);
  await settled(page);
}

/** The ids of the pages that someone may open, as the rail shows them. */
export const railed = (page) =>
  page.evaluate(() => [...document.querySelectorAll('.rail li a')].map((link) => link.getAttribute('href').slice(2)));

/** Runs named checks, each of which is a function, and ends the process by what they say. */
export async function run(checks) {
  const only = process.argv[2];
  for (const [name, check] of Object.entries(checks)) {
    if (only && !name.includes(only)) continue;
    const began = Date.now();
    try {
      await check();
      console.log(`--  ${name}: ${Date.now() - began} ms`);
    } catch (error) {
      console.error(`FAILED  ${name}: ${error.stack}`);
      process.exitCode = 1;
    }
  }
  await closed();
}
