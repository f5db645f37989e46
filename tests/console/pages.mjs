// Every page, as everyone sees it: nothing foreign is asked for, nothing is refused by the policy, no script fails, no
// text is raw, nothing scrolls sideways, and axe finds nothing, in both languages and themes at three widths.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { ADMIN_URL, api, go, held, logIn, person, railed, run, same, settled, visitor } from './tools.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
const FIRST_VISIT_BYTES_MAX = 100_000;
const ALL_BYTES_MAX = 250_000;
const CALLS_MAX = 3;
/** Each theme and each language at each width, and not each with each: what axe sees of one does not follow another. */
const LOOKS = [
  { theme: 'light', language: 'en', width: 1440 },
  { theme: 'dark', language: 'zh', width: 1440 },
  { theme: 'light', language: 'zh', width: 768 },
  { theme: 'dark', language: 'en', width: 768 },
  { theme: 'dark', language: 'zh', width: 360 },
  { theme: 'light', language: 'en', width: 360 },
];
const KEPT = ['language', 'theme', 'rows', 'keys'];

/** Names that would be scripts and formulas if anything read them as such. */
const HOSTILE = '<img src=x onerror=alert(1)>=1+1';

const admin = await person('olga', { role: 'admin' });
const user = await person('carol', { models: ['gpt-4o-mini', 'claude-haiku-4-5', HOSTILE] });
await api('POST', 'keys', { name: HOSTILE, user: 'carol' });
await api('POST', 'users', { name: HOSTILE });
await api('POST', 'credentials', { provider: 'openai', secret: 'sk-0123456789abcdef', user: 'carol', label: HOSTILE, check: 'deferred' });
await api('POST', `users/${user.id}/grants`, { points: '12.5', reason: HOSTILE });

/** Places beside the pages themselves: what is open on them. */
const open = {
  carol: [`my-keys/${user.key.id}`, 'my-usage?by=model', 'my-usage?by=key'],
  olga: [`keys/${user.key.id}`, `users/${user.id}`],
};

/** What is wrong with the page that is open is added to `wrong`. */
async function seen(session, page, what, wrong) {
  const found = await page.evaluate(
    () => ({
      wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      images: document.querySelectorAll('main img').length,
    }),
  );
  if (found.wide > 0) wrong.push(`${what}: scrolls sideways by ${found.wide}`);
  if (found.images > 0) wrong.push(`${what}: a stranger's name became an element`);
  const cdp = await session.context.newCDPSession(page);
  await cdp.send('Runtime.evaluate', { expression: AXE });
  const { result, exceptionDetails } = await cdp.send('Runtime.evaluate', {
    expression: `axe.run(document, {runOnly: ${JSON.stringify(TAGS)}, resultTypes: ['violations']}).then((it) => JSON.stringify(it.violations.map((one) => one.id + ': ' + one.nodes.slice(0, 3).map((node) => node.html + ' ' + node.failureSummary).join(' | '))))`,
    awaitPromise: true,
    returnByValue: true,
  });
  await cdp.detach();
  wrong.push(...(exceptionDetails ? [exceptionDetails.text] : JSON.parse(result.value)).map((it) => `${what}: ${it}`));
}

const named = ({ theme, language, width }) => `${theme}, ${language}, ${width}`;

await run({
  async policy() {
    const answer = await fetch(`${ADMIN_URL}/console/`);
    same('the policy is the strict one', answer.headers.get('content-security-policy'), POLICY);
  },

  async looks() {
    const wrong = [];
    for (const look of LOOKS) {
      const session = await visitor(look);
      const page = await session.context.newPage();
      await page.goto(`${ADMIN_URL}/console/`);
      await settled(page);
      await seen(session, page, `log in (${named(look)})`, wrong);
      for (const name of ['carol', 'olga']) {
        await logIn(page, name);
        const places = [...(await railed(page)).filter((id) => name === 'carol' || !id.startsWith('my-')), ...open[name]];
        for (const place of places) {
          await go(page, place);
          await seen(session, page, `${name} at ${place} (${named(look)})`, wrong);
        }
        await session.context.clearCookies();
        await page.goto('about:blank');
      }
      wrong.push(...session.faults.map((it) => `${named(look)}: ${it}`));
      await session.context.close();
    }
    held('every page is readable by all, in both languages and themes at each width', wrong.length === 0, wrong.join('\n'));
  },

  async words() {
    const session = await visitor();
    const page = await session.context.newPage();
    await page.addInitScript(() => localStorage.setItem('language', 'xx'));
    await logIn(page, 'olga');
    for (const id of await railed(page)) {
      await go(page, id);
      const raw = await page.evaluate(() => {
        const marks = /⟦[^⟧]*⟧/g;
        const walk = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
        const found = [];
        while (walk.nextNode()) {
          const { parentElement: at, textContent: text } = walk.currentNode;
          if (at.closest('code, pre, td, time, dd, option, kbd, [lang=en], .chip, h2, legend ~ label, .brand, text, .tag')) continue;
          const rest = text.replace(marks, '').trim();
          if (/[A-Za-z\u4e00-\u9fff]{3,}/.test(rest)) found.push(rest);
        }
        return found;
      });
      same(`no text of ${id} stands in a module`, raw.filter((it) => !['olga', 'points'].includes(it)), []);
    }
    await session.context.close();
  },

  async weight() {
    const all = new Map();
    for (const name of ['carol', 'olga']) {
      const watched = await visitor();
      const first = await watched.context.newPage();
      await logIn(first, name);
      const cookies = await watched.context.storageState();
      const ids = await railed(first);
      await watched.context.close();
      for (const id of ids) {
        const fresh = await visitor({ storageState: cookies });
        const page = await fresh.context.newPage();
        let bytes = 0;
        const cdp = await fresh.context.newCDPSession(page);
        await cdp.send('Network.enable');
        const files = new Map();
        cdp.on('Network.responseReceived', ({ requestId, response }) => files.set(requestId, response.url));
        cdp.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
          const url = files.get(requestId) ?? '';
          if (!url.includes('/console/')) return;
          bytes += encodedDataLength;
          all.set(url, encodedDataLength);
        });
        await page.goto(`${ADMIN_URL}/console/#/${id}`);
        await page.waitForSelector('.rail');
        await settled(page);
        held(`a first visit of ${id} is light`, bytes > 1000 && bytes <= FIRST_VISIT_BYTES_MAX, bytes);
        const calls = fresh.calls.filter(({ url }) => !url.pathname.includes('/session/') && !/tail|events/.test(url.pathname));
        held(`${id} asks at most ${CALLS_MAX} times`, new Set(calls.map(({ url }) => url.href)).size <= CALLS_MAX, calls.map(({ url }) => url.pathname));
        same(`${id} keeps nothing but how it looks`, await page.evaluate((kept) => Object.keys(localStorage).filter((it) => !kept.includes(it)), KEPT), []);
        Object.assign(cookies, await fresh.context.storageState());
        await fresh.context.close();
      }
    }
    const sum = [...all.values()].reduce((one, other) => one + other, 0);
    held('all pages together are light', sum <= ALL_BYTES_MAX, sum);
    console.log(`--  ${sum} bytes in ${all.size} files`);
  },
});
