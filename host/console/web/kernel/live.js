// @ts-check
// What happens now, as a stream of events. It is read by `fetch`, since an `EventSource` cannot say who asks, and rests
// while the page is hidden: a browser has six connections to a host, and a tab that nobody sees needs none of them.

import { call } from './api.js';

/**
 * Follows a stream of the API until the function that it returns is called.
 * @param {string} path @param {Record<string, any>} query
 * @param {{event: (name: string, data: any) => void, state: (live: boolean, error?: unknown) => void}} to
 */
export function listen(path, query, to) {
  let reading = /** @type {AbortController | null} */ (null);
  let [wait, timer] = [1000, 0];
  const begin = async () => {
    if (reading || document.hidden) return;
    const mine = (reading = new AbortController());
    try {
      const answer = await call('GET', path, { query, signal: mine.signal });
      wait = 1000;
      to.state(true);
      for await (const [name, text] of events(answer)) to.event(name, JSON.parse(text));
      throw new Error();
    } catch (error) {
      if (mine.signal.aborted) return;
      reading = null;
      to.state(false, error);
      timer = setTimeout(begin, (wait = Math.min(wait * 2, 30_000)));
    }
  };
  const rest = () => {
    clearTimeout(timer);
    reading?.abort();
    reading = null;
  };
  const seen = () => (document.hidden ? rest() : void begin());
  document.addEventListener('visibilitychange', seen);
  void begin();
  return () => {
    document.removeEventListener('visibilitychange', seen);
    rest();
  };
}

/** The events of a stream: name and data. @param {Response} answer @returns {AsyncGenerator<[string, string]>} */
async function* events(answer) {
  const reader = /** @type {any} */ (answer.body).pipeThrough(new TextDecoderStream()).getReader();
  let held = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (held + value).split('\n\n');
    held = parts.pop() ?? '';
    for (const part of parts) {
      const lines = part.split('\n');
      const of = (/** @type {string} */ field) =>
        lines.filter((line) => line.startsWith(`${field}:`)).map((line) => line.slice(field.length + 1).trimStart());
      if (of('data').length) yield [of('event')[0] ?? 'message', of('data').join('\n')];
    }
  }
}
