// @ts-check
// Everyone's calls, for operators.

import { callsPage } from '../parts/calls.js';

/** @param {any} page */
export const open = (page) => callsPage(page, { id: 'calls', operator: true });
