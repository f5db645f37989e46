// The ai SDK with each of its providers, to a model of its own protocol and to one of another: every scenario of the
// table in docs/users.md. The provider is scripted; NO_POINTS is a key of somebody who has none.

import { createAnthropic } from '@ai-sdk/anthropic';
import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const { BASE_URL, API_KEY, NO_POINTS } = process.env;
const PICTURE = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const maxRetries = 0;
// Nothing of OpenAI's is stored, so that each turn is sent whole.
const providerOptions = { openai: { store: false } };

const clients = {
  'openai, chat': (key) => createOpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: key }).chat,
  'openai, responses': (key) => createOpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: key }).responses,
  anthropic: (key) => createAnthropic({ baseURL: `${BASE_URL}/v1`, apiKey: key }),
  google: (key) => createGoogleGenerativeAI({ baseURL: `${BASE_URL}/v1beta`, apiKey: key }),
};
const models = { openai: 'gpt-4o', anthropic: 'claude-haiku-4-5', google: 'gemini-2.5-flash' };

function held(promise, condition, seen) {
  if (!condition) throw new Error(`${promise}: saw ${JSON.stringify(seen)}`);
  console.log(`ok  ${promise}`);
}

async function refusal(call) {
  try {
    await call();
  } catch (error) {
    return { status: error.statusCode, message: error.message };
  }
  return {};
}

const weather = tool({
  description: 'The weather of a city',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `18 degrees in ${city}`,
});

async function scenarios(name, make) {
  const client = make(API_KEY);
  for (const [provider, id] of Object.entries(models)) {
    const told = `${name} to ${provider}`;
    const model = client(id);
    const plain = await generateText({ model, prompt: 'Moin', maxRetries, providerOptions });
    held(`${told}: plain`, plain.text === 'Good morning' && plain.usage.outputTokens === 5, plain);

    const stream = streamText({ model, prompt: 'Moin', maxRetries, providerOptions });
    let streamed = '';
    for await (const text of stream.textStream) streamed += text;
    held(`${told}: stream`, streamed === 'Good morning', streamed);

    const options = { model, maxRetries, providerOptions, tools: { weather }, stopWhen: stepCountIs(3) };
    const looped = await generateText({ ...options, prompt: 'Which weather?' });
    held(`${told}: tool loop`, looped.steps.length === 2 && looped.text === 'It is mild', looped.text);
    const streamedLoop = streamText({ ...options, prompt: 'Which weather?' });
    held(`${told}: tool loop, streamed`, (await streamedLoop.text) === 'It is mild', await streamedLoop.text);

    const content = [{ type: 'text', text: 'What is this?' }, { type: 'image', image: PICTURE, mediaType: 'image/png' }];
    const seen = await generateText({ model, maxRetries, providerOptions, messages: [{ role: 'user', content }] });
    held(`${told}: image`, seen.text === 'A picture', seen.text);
  }
  const own = Object.entries(models).find(([provider]) => name.startsWith(provider))[1];
  const bad = await refusal(() => generateText({ model: make('tg_wrong')(own), prompt: 'Moin', maxRetries }));
  held(`${name}: bad key`, bad.status === 401 && bad.message.includes('key'), bad);
  const poor = await refusal(() => generateText({ model: make(NO_POINTS)(own), prompt: 'Moin', maxRetries }));
  held(`${name}: no points`, poor.status === 402 && poor.message.includes('balance'), poor);

  const leaving = new AbortController();
  const endless = streamText({ model: client(own), prompt: 'Endlessly', maxRetries, abortSignal: leaving.signal, onError() {} });
  for await (const text of endless.textStream) {
    if (text) leaving.abort();
  }
  held(`${name}: cancel`, leaving.signal.aborted);
}

await Promise.all(Object.entries(clients).map(([name, make]) => scenarios(name, make)));
