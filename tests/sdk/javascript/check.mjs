// What the scripts share: where the gateway is, how the SDKs are pointed at it, and how a check reports.

import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import OpenAI from 'openai';
import { isDeepStrictEqual } from 'node:util';

export const { BASE_URL, API_KEY, POOR_KEY, BOUND_KEY } = process.env;
export const WRONG_KEY = `wrong-${API_KEY}`;
const timeout = 30_000;

export const toOpenai = (apiKey = API_KEY, maxRetries = 0) =>
  new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey, maxRetries, timeout });

export const toAnthropic = (apiKey = API_KEY, maxRetries = 0) =>
  new Anthropic({ baseURL: BASE_URL, apiKey, maxRetries, timeout });

export const toGoogle = (apiKey = API_KEY) =>
  new GoogleGenAI({ apiKey, httpOptions: { baseUrl: BASE_URL, timeout } });

/** Reports a promise that held; throws with what was seen instead when it did not. */
export function held(promise, condition, seen) {
  if (!condition) throw new Error(`${promise}: saw ${JSON.stringify(seen)}`);
  console.log(`ok  ${promise}`);
}

export function same(promise, seen, expected) {
  held(promise, isDeepStrictEqual(seen, expected), seen);
}

/** Expects a call to be refused with an SDK's error of this kind that fits. */
export async function refused(promise, kind, fits, call) {
  let error;
  try {
    await call();
  } catch (thrown) {
    error = thrown;
  }
  const seen = error && { name: error.constructor.name, status: error.status, message: error.message, body: error.error };
  held(promise, error instanceof kind && fits(error), seen ?? 'no error');
}

/** All that a stream brings. */
export async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
