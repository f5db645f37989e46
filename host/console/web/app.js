// @ts-check
// The console: who is logged in, which page is open, and when it is drawn.

import { nodes, patch, settle } from './kernel/dom.js';
import { follow, refresh, session } from './kernel/api.js';
import { go, here } from './kernel/route.js';
import { learn, preferred, speak } from './kernel/words.js';
import { find } from './pages.js';
import { keys } from './keys.js';
import { shell } from './shell.js';

const root = /** @type {HTMLElement} */ (document.getElementById('app'));
/** @type {import('./kernel/dom.js').Node_[]} */
let shown = [];
let waiting = false;

/** The open page: its row of the table, who sees it, and what its module made. */
const now = {
  entry: /** @type {any} */ (null),
  user: '',
  view: /** @type {any} */ (null),
  error: /** @type {any} */ (null),
};

/** Draws everything before the next frame. What is alike already is not touched. */
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(draw);
}

function draw() {
  waiting = false;
  const next = nodes(shell({ ...now, redraw, languageChanged }));
  patch(root, shown, next);
  shown = next;
  settle();
}

/** Opens what the address says, or tells the open page that its address has changed. */
async function arrive() {
  const place = here();
  const user = session.user?.id ?? '';
  const asked = find(place.path[0], session.user);
  // Without a login every page is the login's; its address stays, to go on to.
  const entry =
    session.user === null ? find('login', null) : asked?.id === 'login' ? find(undefined, session.user) : asked;
  if (entry && now.entry === entry && now.user === user && !now.error) {
    // One that is still on its way looks where it is when it opens.
    now.view?.moved?.(place);
    return redraw();
  }
  now.view?.close?.();
  Object.assign(now, { entry, user, view: null, error: null });
  redraw();
  if (entry) await open(entry, user);
}

/** @param {import('./pages.js').Entry} entry @param {string} user */
async function open(entry, user) {
  const wanted = () => now.entry === entry && now.user === user && !now.view;
  try {
    const [module] = await Promise.all([entry.load(), learn(entry.id, ...(entry.words ?? []))]);
    if (wanted()) now.view = module.open({ ...here(), redraw });
  } catch (error) {
    if (wanted()) now.error = error;
  }
  redraw();
}

/** Whoever logs in goes on where they wanted to. */
function changed() {
  const user = session.user?.id ?? '';
  if (now.entry && now.user === user) return redraw();
  if (session.user && here().path[0] === 'login') return go([], {}, true);
  void arrive();
}

/** @param {string} name */
async function languageChanged(name) {
  localStorage.setItem('language', name);
  await speak(name);
  redraw();
}

async function begin() {
  document.documentElement.dataset.theme = localStorage.getItem('theme') ?? '';
  document.documentElement.dataset.rows = localStorage.getItem('rows') ?? '';
  follow(changed);
  window.addEventListener('hashchange', () => void arrive());
  window.addEventListener('keydown', (event) => keys(event, now.view, redraw));
  const link = here().query.get('link');
  const [, known] = await Promise.allSettled([
    speak(preferred()).then(() => learn('common')),
    link ? Promise.resolve() : refresh(),
  ]);
  if (known.status === 'rejected') now.error = known.reason;
  await arrive();
}

void begin();
