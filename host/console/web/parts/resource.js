// @ts-check
// Something that is fetched: its value, what failed, and whether it is under way. An answer that comes after a later
// question is dropped.

/**
 * @template T
 * @param {() => void} redraw @param {(signal: AbortSignal) => Promise<T>} fetcher
 */
export function resource(redraw, fetcher) {
  /** @type {AbortController | null} */
  let running = null;
  const self = {
    value: /** @type {T | null} */ (null),
    error: /** @type {any} */ (null),
    busy: false,
    /** Fetches it again. What was there stays until the answer is. */
    async load() {
      running?.abort();
      const mine = (running = new AbortController());
      self.busy = true;
      redraw();
      try {
        const value = await fetcher(mine.signal);
        if (mine !== running) return;
        Object.assign(self, { value, error: null });
      } catch (error) {
        if (mine !== running) return;
        self.error = error;
      }
      self.busy = false;
      redraw();
    },
    close() {
      running?.abort();
      running = null;
    },
  };
  return self;
}

/**
 * A list of pages: `more` fetches the next one behind those that are there.
 * @param {() => void} redraw @param {(cursor: string | null, signal: AbortSignal) => Promise<any>} fetcher
 */
export function pages(redraw, fetcher) {
  /** @type {string | null} */
  let cursor = null;
  /** @type {any[]} */
  let before = [];
  const list = resource(redraw, async (signal) => {
    const page = await fetcher(cursor, signal);
    return { rows: [...before, ...page.data], next: page.next_cursor, page };
  });
  const first = list.load;
  return Object.assign(list, {
    load() {
      [cursor, before] = [null, []];
      return first();
    },
    more() {
      if (list.busy || !list.value?.next) return Promise.resolve();
      [cursor, before] = [list.value.next, list.value.rows];
      return first();
    },
  });
}
