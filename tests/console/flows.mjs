// What people do: log in and out, in two tabs, with an expired login, without scripts, below a proxy's path; make,
// change and lose a key. Everyone here is a user or an operator with a password, and types as a person would.

import { createServer, request } from 'node:http';
import { ADMIN_URL, PASSWORD, api, go, held, logIn, person, railed, run, same, settled, until, visitor } from './tools.mjs';

const carol = await person('carol');
await person('olga', { role: 'admin' });

/** Sends what comes for `/a/b/…` on to the gateway without that, as a proxy below a path does. */
async function proxy() {
  const to = new URL(ADMIN_URL);
  const server = createServer((asked, answer) => {
    const path = asked.url.startsWith('/a/b/') ? asked.url.slice(4) : null;
    if (path === null) return answer.writeHead(404).end();
    const headers = { ...asked.headers, host: to.host };
    const passed = request({ host: to.hostname, port: to.port, path, method: asked.method, headers }, (reply) => {
      answer.writeHead(reply.statusCode, reply.headers);
      reply.pipe(answer);
    });
    passed.on('error', () => answer.destroy());
    answer.on('close', () => passed.destroy());
    return asked.pipe(passed);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return { url: `http://127.0.0.1:${server.address().port}/a/b`, close: () => server.closeAllConnections() || server.close() };
}

const text = (page, selector = 'main') => page.textContent(selector);
const token = (calls) => calls.map(({ request: it }) => it.headers().authorization).filter(Boolean).pop().replace('Bearer ', '');
const status = async (bearer) => (await fetch(`${ADMIN_URL}/management/v1/me`, { headers: { authorization: `Bearer ${bearer}` } })).status;

await run({
  async 'a wrong password'() {
    const { context, faults } = await visitor();
    const page = await context.newPage();
    await page.goto(`${ADMIN_URL}/console/`);
    await page.fill('form >> nth=0 >> input[name=name]', 'carol');
    await page.fill('form >> nth=0 >> input[name=password]', 'wrong horse battery');
    await page.press('form >> nth=0 >> input[name=password]', 'Enter');
    await page.waitForSelector('[role=alert]');
    same('the name stays', await page.inputValue('form >> nth=0 >> input[name=name]'), 'carol');
    same('nobody is let in', await page.locator('.rail').count(), 0);
    await page.fill('form >> nth=0 >> input[name=password]', PASSWORD);
    await page.press('form >> nth=0 >> input[name=password]', 'Enter');
    await page.waitForSelector('.rail');
    held('a user is shown no way into the operators’ pages', !(await railed(page)).some((id) => ['users', 'prices', 'now'].includes(id)), await railed(page));
    await page.evaluate(() => { location.hash = '#/users'; });
    await page.waitForSelector('main .empty');
    same('no cookie can be read', await page.evaluate(() => document.cookie), '');
    same('nothing failed', faults, []);
    await context.close();
  },

  async 'without scripts'() {
    const { context } = await visitor({ javaScriptEnabled: false });
    const page = await context.newPage();
    await page.goto(`${ADMIN_URL}/console/`);
    const said = await page.innerText('body');
    held('what is needed is said in both languages', said.includes('Allow scripts') && said.includes('脚本'), said);
    await context.close();
  },

  async 'two tabs'() {
    const { context, calls } = await visitor();
    const [one, other] = [await context.newPage(), await context.newPage()];
    await logIn(one, 'carol');
    await other.goto(`${ADMIN_URL}/console/`);
    await other.waitForSelector('.rail');
    for (let times = 0; times < 5; times += 1) {
      await Promise.all([one.reload(), other.reload()]);
      await Promise.all([one, other].map((page) => page.waitForSelector('.rail')));
    }
    held('two tabs that wake together stay logged in', true);
    await settled(one);
    const access = token(calls);
    const [{ value: cookie }] = await context.cookies();
    same('the token is good', await status(access), 200);
    await one.locator('.who > button').click();
    await Promise.all([one, other].map((page) => page.waitForSelector('main.alone')));
    same('after logging out the token is none, at once', await status(access), 401);
    const again = await fetch(`${ADMIN_URL}/management/v1/session/refresh`, { method: 'POST', headers: { cookie: `tollgate_session=${cookie}` } });
    same('nor is the cookie', again.status, 401);
    await context.close();
  },

  async 'an expired login'() {
    const { context } = await visitor();
    const page = await context.newPage();
    await logIn(page, 'carol');
    await go(page, 'my-keys');
    await page.locator('main .head button.main').click();
    await page.fill('dialog input[name=name]', 'what I was typing');
    const cookies = await context.cookies();
    const cookie = cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
    await fetch(`${ADMIN_URL}/management/v1/session/logout`, { method: 'POST', headers: { cookie } });
    await page.press('dialog input[name=name]', 'Enter');
    await page.waitForSelector('dialog input[name=password]');
    await page.fill('dialog input[name=password]', PASSWORD);
    await page.press('dialog input[name=password]', 'Enter');
    await page.waitForSelector('dialog input[name=password]', { state: 'detached' });
    same('the form has kept what was typed', await page.inputValue('dialog input[name=name]'), 'what I was typing');
    await page.press('dialog input[name=name]', 'Enter');
    await page.waitForSelector('pre.secret');
    await context.close();
  },

  async 'a key is made, shown once, changed, switched off and on'() {
    const { context, calls, faults } = await visitor();
    const page = await context.newPage();
    await logIn(page, 'carol');
    await go(page, 'my-keys');
    await page.locator('main .head button.main').focus();
    await page.keyboard.press('Enter');
    await page.fill('dialog input[name=name]', 'laptop');
    await page.locator('dialog .preview dl').waitFor();
    await page.locator('dialog details summary').click();
    await page.fill('dialog textarea[name=models]', 'gpt-4o*');
    await page.waitForFunction(() => /gpt-4o-mini.*its models do not include/.test(document.querySelector('dialog .preview')?.textContent ?? ''));
    held('the form shows what the key may do', !/can be called[^✓]*claude.*its models/.test(await text(page, 'dialog .preview')), await text(page, 'dialog .preview'));
    await page.press('dialog input[name=name]', 'Enter');
    const secret = (await page.textContent('pre.secret')).trim();
    held('the key is shown', secret.startsWith('tg_'), secret);
    await page.locator('dialog footer button').click();
    await page.waitForSelector('pre.secret', { state: 'detached' });
    held('it is gone from the page', !(await page.content()).includes(secret), 'it is there');
    held('it was in no address', ![...calls.map(({ url }) => url.href), page.url()].some((url) => url.includes(secret)), 'it was');
    await page.locator('tbody a', { hasText: 'laptop' }).click();
    await page.waitForSelector('aside input[name=name]');
    await page.fill('aside input[name=name]', 'desk');
    await page.locator('aside form button.main').click();
    const renamed = await until('the change', () => calls.find(({ method }) => method === 'PATCH'));
    same('what was touched is sent, and nothing else', JSON.parse(renamed.body), { name: 'desk' });
    await page.locator('tbody a', { hasText: 'desk' }).waitFor();
    const row = page.locator('tbody tr', { hasText: 'desk' });
    await row.locator('button').click();
    await page.waitForSelector('.note[role=status] button');
    same('it is off', (await api('GET', `users/${carol.id}/keys`)).data.find(({ name }) => name === 'desk').enabled, false);
    await page.locator('.note[role=status] button').click();
    await until('it is on again', async () => (await api('GET', `users/${carol.id}/keys`)).data.find(({ name }) => name === 'desk').enabled);
    await page.locator('aside button.danger').click();
    await page.locator('tr.faint', { hasText: 'desk' }).waitFor();
    same('nothing failed', faults, []);
    await context.close();
  },

  async 'what somebody else has changed is not overwritten'() {
    const { context, calls } = await visitor();
    const page = await context.newPage();
    await logIn(page, 'carol');
    await go(page, `my-keys/${carol.key.id}`);
    await page.waitForSelector('aside input[name=name]');
    const shown = ({ method, url }) => method === 'GET' && url.pathname.endsWith(`/keys/${carol.key.id}`);
    const { request: asked } = await until('the version that is shown', () => calls.find(shown));
    await (await asked.response()).finished();
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    await api('PATCH', `keys/${carol.key.id}`, { name: 'by the operator' });
    await page.fill('aside input[name=name]', 'by carol');
    await page.locator('aside form button.main').click();
    await page.waitForSelector('aside [role=alert]');
    same('the change of the operator stands', (await api('GET', `keys/${carol.key.id}`)).name, 'by the operator');
    same('what was typed is kept', await page.inputValue('aside input[name=name]'), 'by carol');
    await context.close();
  },

  async 'a provider key is added, asked about, changed and removed'() {
    const { context, calls, faults } = await visitor();
    const page = await context.newPage();
    await logIn(page, 'carol');
    await go(page, 'my-credentials');
    await page.locator('main .head button.main').click();
    await page.selectOption('dialog select[name=place]', { index: 0 });
    await page.fill('dialog input[name=secret]', 'sk-carols-own-0123456789');
    await page.fill('dialog input[name=label]', 'mine');
    await page.locator('dialog form button.main').click();
    await page.waitForSelector('dialog [role=alert]');
    same('one that the provider refuses is not added', await page.locator('tbody a').count(), 0);
    await page.fill('dialog input[name=secret]', 'demo-carols-own-0123456789');
    await page.locator('dialog form button.main').click();
    await page.locator('tbody a', { hasText: 'mine' }).waitFor();
    held('what the provider says is in plain words', (await text(page)).includes('The provider'), await text(page));
    held('the key is gone from the page', !(await page.content()).includes('carols-own'), 'it is there');
    await page.locator('tbody a', { hasText: 'mine' }).click();
    await page.fill('aside input[name=weight]', '7');
    await page.locator('aside form button.main >> nth=0').click();
    const changed = await until('the change', () => calls.find(({ method }) => method === 'PATCH'));
    same('the key itself is not sent again', JSON.parse(changed.body), { weight: 7 });
    await page.locator('aside details summary').click();
    await page.check('aside input[name=agreed]');
    await page.fill('aside input[name=requests_per_day]', '5');
    await page.locator('aside details form button.main').click();
    await page.locator('aside button.danger', { hasText: 'Take it back' }).click();
    await page.locator('aside details summary').waitFor();
    same('it is taken back in one click', (await api('GET', 'credentials?owner=user')).data.map(({ shared }) => shared), [null]);
    await page.locator('aside .actions button.danger').click();
    await page.locator('dialog footer button.danger').click();
    await page.waitForSelector('main .empty');
    same('nothing failed', faults, []);
    await context.close();
  },

  async 'a code is redeemed'() {
    const { codes } = await api('POST', 'codes', { label: 'spring', points: '7.25', count: 1 });
    const { context } = await visitor();
    const page = await context.newPage();
    await logIn(page, 'carol');
    await go(page, 'statement');
    await page.locator('main details summary >> nth=0').click();
    await page.fill('input[name=code]', codes[0]);
    await page.press('input[name=code]', 'Enter');
    await page.locator('tbody tr', { hasText: 'spring' }).waitFor();
    held('what came stands in the statement', (await text(page, 'tbody tr')).includes('+7.25'), await text(page, 'tbody tr'));
    await page.fill('input[name=code]', codes[0]);
    await page.press('input[name=code]', 'Enter');
    await page.waitForSelector('[role=alert]');
    await context.close();
  },

  async 'below a path'() {
    const { url, close } = await proxy();
    const { context, faults } = await visitor();
    const page = await context.newPage();
    for (const name of ['carol', 'olga']) {
      await logIn(page, name, url);
      for (const id of await railed(page)) await go(page, id);
      await page.reload();
      await page.waitForSelector('.rail');
      same(`${name} stays below the path`, new URL(page.url()).pathname, '/a/b/console/');
      await page.locator('.who > button').click();
      await page.waitForSelector('main.alone');
    }
    same('nothing failed', faults, []);
    await context.close();
    close();
  },
});
