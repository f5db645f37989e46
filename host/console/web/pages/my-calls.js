// @ts-check
// One's own calls.

import { callsPage } from '../parts/calls.js';

/** @param {any} page */
export const open = (page) => callsPage(page, { id: 'my-calls', operator: false });
