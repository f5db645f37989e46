// Every failure is the right error of each SDK, and who is asked to wait waits.

import Anthropic from '@anthropic-ai/sdk';
import { ApiError } from '@google/genai';
import OpenAI from 'openai';

import { BOUND_KEY, POOR_KEY, WRONG_KEY, held, refused, toAnthropic, toGoogle, toOpenai } from './check.mjs';

const MESSAGES = [{ role: 'user', content: 'hi' }];
// How long the scripted provider asks to wait.
const RETRY_AFTER = '77';

const CALLS = {
  'openai-chat': (model, key, retries) =>
    toOpenai(key, retries).chat.completions.create({ model, messages: MESSAGES, max_tokens: 99 }),
  'openai-responses': (model, key, retries) =>
    toOpenai(key, retries).responses.create({ model, input: 'hi', max_output_tokens: 99 }),
  'anthropic-messages': (model, key, retries) =>
    toAnthropic(key, retries).messages.create({ model, max_tokens: 99, messages: MESSAGES }),
  gemini: (model, key) => toGoogle(key).models.generateContent({ model, contents: 'hi' }),
};

const any = () => true;
const status = (...known) => (error) => known.includes(error.status);
const toldToWait = (error) => error.headers.get('retry-after') === RETRY_AFTER;

// By failure: the error of each SDK, and what else it has to say. A provider's 401 is the operator's fault, and no client's.
const OPENAI = {
  'invalid-key': [OpenAI.InternalServerError, status(502, 503)],
  permission: [OpenAI.PermissionDeniedError, any],
  'not-found': [OpenAI.NotFoundError, any],
  'bad-request': [OpenAI.BadRequestError, (error) => error.type === 'invalid_request_error'],
  context: [OpenAI.BadRequestError, (error) => error.code === 'context_length_exceeded'],
  'too-large': [OpenAI.APIError, status(400, 413)],
  'rate-limited': [OpenAI.RateLimitError, toldToWait],
  overloaded: [OpenAI.InternalServerError, status(503)],
  'server-error': [OpenAI.InternalServerError, any],
};
const EXPECTED = {
  'openai-chat': OPENAI,
  'openai-responses': OPENAI,
  'anthropic-messages': {
    'invalid-key': [Anthropic.InternalServerError, status(502, 503)],
    permission: [Anthropic.PermissionDeniedError, any],
    'not-found': [Anthropic.NotFoundError, any],
    'bad-request': [Anthropic.BadRequestError, any],
    context: [Anthropic.BadRequestError, any],
    'too-large': [Anthropic.APIError, status(413)],
    'rate-limited': [Anthropic.RateLimitError, toldToWait],
    overloaded: [Anthropic.InternalServerError, (error) => error.status === 529 && error.error.error.type === 'overloaded_error'],
    'server-error': [Anthropic.InternalServerError, any],
  },
  // This SDK has one error for all.
  gemini: {
    'invalid-key': [ApiError, status(502, 503)],
    permission: [ApiError, status(403)],
    'not-found': [ApiError, status(404)],
    'bad-request': [ApiError, status(400)],
    context: [ApiError, status(400)],
    'rate-limited': [ApiError, status(429)],
    overloaded: [ApiError, status(503)],
    'server-error': [ApiError, (error) => error.status >= 500],
  },
};

/** One failure of one provider, seen by one SDK. */
export async function fails({ model, failure, client }) {
  const call = CALLS[client];
  if (failure !== 'busy-once') {
    const [kind, fits] = EXPECTED[client][failure];
    await refused(`${model} is a ${kind.name}`, kind, fits, () => call(model));
  } else if (client !== 'gemini') {
    // The credential rests for as long as the provider said: a retry that came sooner would be refused as well.
    held(`${model}: the SDK waits as it is told and is served then`, await call(model, undefined, 1));
  }
}

/** What the gateway itself refuses: by the status, for which each SDK has its error. */
async function everyone(promise, code, openai, anthropic, model, key) {
  const kinds = [openai, openai, anthropic, ApiError];
  const calls = Object.values(CALLS).map((call, at) =>
    refused(`${promise} is a ${kinds[at].name}`, kinds[at], status(code), () => call(model, key)),
  );
  await Promise.all(calls);
}

export const REFUSALS = [
  () => everyone('a wrong key', 401, OpenAI.AuthenticationError, Anthropic.AuthenticationError, 'on.gemini', WRONG_KEY),
  () => everyone('an unknown model', 404, OpenAI.NotFoundError, Anthropic.NotFoundError, 'no-such-model'),
  () =>
    everyone(
      'a model that the key is not for',
      403,
      OpenAI.PermissionDeniedError,
      Anthropic.PermissionDeniedError,
      'on.gemini',
      BOUND_KEY,
    ),
  () => everyone('a balance that does not cover the call', 402, OpenAI.APIError, Anthropic.APIError, 'on.gemini', POOR_KEY),
];
