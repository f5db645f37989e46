// The numbers of a user are one number on every page and on the command line, and nothing in any answer to a user's
// session tells what operators hide: rates, prices, and who else there is.

import { execFileSync } from 'node:child_process';
import { ADMIN_SECRET, ADMIN_URL, CLIENT_URL, api, ask, go, held, logIn, person, railed, run, same, until, visitor } from './tools.mjs';

const { TOLLGATE, CONFIG, ROUNDS = '20' } = process.env;
const MODELS = ['gpt-4o-mini', 'claude-haiku-4-5', 'gemini-2.5-flash', 'no-such-model'];
/** What users are never told, as odd as can be, so that it is found wherever it stands. */
const HIDDEN = { rate: 737_373, price: '987.654321', other: 'zeno-the-hidden', label: 'hidden-house-key', secret: 'sk-house-hidden-ZQXV' };

await api('PATCH', 'prices', { name: 'gpt-4o-mini', prices: { input: HIDDEN.price } });
const other = await person(HIDDEN.other);
const user = await person('carol');
await api('PUT', 'price-rates', { ppm: HIDDEN.rate, users: ['carol'] });
await api('POST', 'credentials', { provider: 'openai', secret: HIDDEN.secret, owner: 'platform', label: HIDDEN.label, check: 'deferred' });
const second = await api('POST', 'keys', { name: 'second', user: 'carol' });

/** Digits as the server wrote them: pages put thin spaces between groups. */
const bare = (text) => text.replace(/[\s\u202f,]/g, '');
const cli = (...parts) => execFileSync(TOLLGATE, ['--config', CONFIG, '--json', ...parts], { encoding: 'utf8' });

async function mixed() {
  const keys = [user.key.key, second.key];
  for (let round = 0; round < Number(ROUNDS); round += 1) {
    await Promise.all(MODELS.map((model, at) => ask(keys[(round + at) % 2], model, `Good morning ${round}`, { stream: (round + at) % 3 === 0 })));
  }
  const leaving = new AbortController();
  const left = fetch(`${CLIENT_URL}/v1/chat/completions`, {
    method: 'POST',
    signal: leaving.signal,
    headers: { authorization: `Bearer ${second.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: 'long' }] }),
  }).then((answer) => answer.body.getReader().read());
  await left;
  leaving.abort();
  const all = Number(ROUNDS) * MODELS.length + 2;
  await until('all calls in the log', async () => (await api('GET', `usage/summary?user=${user.id}`)).total.requests >= all);
  await until('no hold is left', async () => (await api('GET', `users/${user.id}`)).reserved === '0');
}

const { context, faults } = await visitor({ timezoneId: 'Asia/Shanghai' });
const answers = [];
context.on('requestfinished', (asked) => {
  if (!asked.url().includes('/management/')) return;
  const told = async () => ({ url: asked.url(), body: await (await asked.response()).text() });
  answers.push(told().catch(() => null));
});

await run({
  async 'all pages show one number'() {
    await mixed();
    const page = await context.newPage();
    await logIn(page, 'carol');
    const summary = await api('GET', `usage/summary?user=${user.id}`);
    const { points: balance } = await api('GET', `users/${user.id}`);
    const spent = summary.total.points;
    held('something was spent', Number(spent) > 0, spent);
    const figures = () => page.evaluate(() => [...document.querySelectorAll('.sums dd')].map((it) => it.firstChild.textContent));
    await go(page, 'home');
    await page.waitForSelector('.sums');
    const home = (await figures()).map(bare);
    same('home shows the balance', home[0], balance);
    same('home shows the use of today, the month and all', home.slice(2), [summary.today, summary.month, summary.total].map((it) => it.points));
    await go(page, 'my-usage');
    await page.waitForSelector('tbody tr');
    same('the usage page shows the same', (await figures()).map(bare), home.slice(2));
    const day = await page.evaluate(() => document.querySelector('tbody tr').innerText.split(/\s*\t\s*|\n/).pop());
    same('its row of today shows the same', bare(day), summary.today.points);
    const title = await page.textContent('svg.chart g:last-child title');
    held('the bar of today says the same', bare(title).includes(summary.today.points), title);
    const rows = async (by) => (await api('GET', `usage?user=${user.id}&by=${by}`)).data.map((it) => it.points);
    const micro = (text) => { const [whole, part = ''] = text.replace('-', '').split('.'); return BigInt(whole + part.padEnd(6, '0')) * (text.startsWith('-') ? -1n : 1n); };
    const sum = (all) => all.reduce((one, text) => one + micro(text), 0n);
    for (const by of ['day', 'month', 'model', 'key']) same(`rows by ${by} sum to it`, String(sum(await rows(by))), String(micro(spent)));
    await go(page, 'my-keys');
    await page.waitForSelector('tbody tr');
    const keys = await page.evaluate(() => [...document.querySelectorAll('tbody tr td:last-child')].map((it) => it.textContent));
    same('the keys sum to it', String(sum(keys.map(bare))), String(micro(spent)));
    await go(page, 'statement');
    same('the statement shows the balance', bare(await page.textContent('#balance')), balance);
    const moved = [];
    for (let cursor = ''; cursor !== null; ) {
      const next = await api('GET', `transfers?user=${user.id}${cursor && `&cursor=${cursor}`}`);
      moved.push(...next.data);
      cursor = next.next_cursor;
    }
    same('its entries sum to the balance', String(sum(moved.map((it) => it.points))), String(micro(balance)));
    same('its charges sum to the use', String(-sum(moved.filter((it) => it.kind === 'charge').map((it) => it.points))), String(micro(spent)));
    const said = cli('usage', 'summary', '--user', 'carol');
    held('the command line shows the same', said.includes(spent), said);
  },

  async 'what operators hide is in no answer'() {
    const page = context.pages()[0];
    for (const id of await railed(page)) await go(page, id);
    await go(page, 'my-calls');
    await page.locator('tbody tr a >> nth=0').click();
    await page.waitForSelector('aside dl');
    for (const by of ['month', 'model', 'key']) await go(page, `my-usage?by=${by}`);
    await go(page, 'my-keys');
    await page.locator('main .head button.main').click();
    await page.waitForSelector('.preview dl');
    await page.keyboard.press('Escape');
    const token = (await (await fetch(`${ADMIN_URL}/management/v1/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name: 'carol', password: 'correct horse battery' }) })).json()).access_token;
    const crawled = await crawl(token);
    const all = [...(await Promise.all(answers)).filter(Boolean), ...crawled];
    held('there is much to look at', all.length > 30, all.length);
    const names = [String(HIDDEN.rate), '73.7373', '0.737373', HIDDEN.price, HIDDEN.other, other.id, HIDDEN.label, HIDDEN.secret.slice(-4), ADMIN_SECRET];
    for (const name of names) {
      // Not as a part of an id or of a moment.
      const whole = new RegExp(`(?<![0-9a-f])${name.replaceAll('.', '[.]')}(?![0-9a-f])`);
      const told = all.filter(({ body, url }) => whole.test(body) && !url.endsWith('/openapi.json'));
      same(`no answer has ${name}`, told.map(({ url, body }) => `${url}: ${body.slice(Math.max(0, body.search(whole) - 80)).slice(0, 160)}`), []);
    }
    same('nothing failed', faults, []);
    await context.close();
  },
});

/** Every route that a user may read, by the served document, with what the user has for its parameters. */
async function crawl(token) {
  const document = await api('GET', 'openapi.json');
  const [request] = (await api('GET', `requests?user=${user.id}&outcome=ok`)).data;
  const ids = { user: user.id, key: user.key.id, request: request.request };
  const found = [];
  for (const [path, methods] of Object.entries(document.paths)) {
    if (!methods.get || /tail|events$/.test(path)) continue;
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => ids[name] ?? other.id);
    const url = filled.startsWith('/management') ? `${ADMIN_URL}${filled}` : `${ADMIN_URL}/management/v1${filled}`;
    const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
    const body = await answer.text();
    if (methods.get['x-access'] === 'admin') same(`${path} is not a user's`, answer.status, 403);
    else found.push({ url, body });
  }
  return found;
}
