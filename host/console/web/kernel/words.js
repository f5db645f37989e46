// @ts-check
// Texts in the reader's language: `words/<language>/<page>.json`. A page's words come with the page.

export const LANGUAGES = ['en', 'zh'];
/** Shows keys in place of words, so that a raw text is seen. */
const PSEUDO = 'xx';
let texts = /** @type {Record<string, string>} */ ({});
const files = /** @type {Set<string>} */ (new Set());
/** The language in use. */
export const language = { name: 'en' };
/** What the reader has chosen, or else what the browser prefers. */
export function preferred() {
  const chosen = localStorage.getItem('language');
  if (chosen && [...LANGUAGES, PSEUDO].includes(chosen)) return chosen;
  return navigator.languages.some((name) => name.startsWith('zh')) ? 'zh' : 'en';
}

/** @param {string} name */
export async function speak(name) {
  language.name = name;
  document.documentElement.lang = name === 'zh' ? 'zh-CN' : 'en';
  texts = {};
  const loaded = [...files];
  files.clear();
  await learn(...loaded);
}

/** Loads words that are not there yet. @param {...string} names */
export async function learn(...names) {
  const folder = language.name === PSEUDO ? 'en' : language.name;
  const load = async (/** @type {string} */ name) => {
    const answer = await fetch(new URL(`../words/${folder}/${name}.json`, import.meta.url));
    if (!answer.ok) throw new Error(name);
    Object.assign(texts, await answer.json());
    files.add(name);
  };
  await Promise.all(names.filter((name) => !files.has(name)).map(load));
}

/**
 * The text of a key, with `{name}` replaced by values. `key.one` is for an `n` of one, where there is such a text.
 * @param {string} key @param {Record<string, any>} [values]
 */
export function t(key, values = {}) {
  if (language.name === PSEUDO) return `⟦${key}⟧`;
  const text = (values.n === 1 && texts[`${key}.one`]) || texts[key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ''));
}

/** Whether there is a text of this key. @param {string} key */
export const known = (key) => key in texts;

/** A word of the API, such as the name of a state: its text, or itself. @param {string} kind @param {any} word */
export const word = (kind, word) => (known(`${kind}.${word}`) ? t(`${kind}.${word}`) : String(word));
