// Each official SDK with a model of every provider, tools included, and with every failure of each: one process, all at once.
//
// MODELS and FAILURES are JSON lists of what the gateway serves; POOR_KEY and BOUND_KEY are keys without points and without leave.

import { CELLS } from './cells.mjs';
import { fails, REFUSALS } from './failures.mjs';

const models = JSON.parse(process.env.MODELS);
const work = CELLS.flatMap((cell) => models.map((model) => cell(model)));
work.push(...JSON.parse(process.env.FAILURES).map(fails));
work.push(...REFUSALS.map((refusal) => refusal()));
await Promise.all(work);
