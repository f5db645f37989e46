// Every SDK against a gateway that speaks TLS: a whole answer and a stream of each. Node.js learns whom to trust by
// NODE_EXTRA_CA_CERTS.

import { BASE_URL, held, toAnthropic, toGoogle, toOpenai } from './check.mjs';

held('the gateway speaks TLS', BASE_URL.startsWith('https://'), BASE_URL);
const content = 'Hello!';
const messages = [{ role: 'user', content }];

const openai = toOpenai().chat.completions;
const chat = await openai.create({ model: 'gpt-4o-mini', messages });
held('chat answers', chat.choices[0].message.content.length > 0, chat);
const chunks = [];
for await (const chunk of await openai.create({ model: 'gpt-4o-mini', messages, stream: true })) chunks.push(chunk);
held('chat streams', chunks.length > 3, chunks);

const anthropic = toAnthropic().messages;
const message = { model: 'claude-haiku-4-5', max_tokens: 64, messages };
const whole = await anthropic.create(message);
held('messages answer', whole.content[0].text.length > 0, whole);
const streamed = await anthropic.stream(message).finalMessage();
held('messages stream', streamed.content[0].text.length > 0, streamed);

const google = toGoogle().models;
const generate = { model: 'gemini-2.5-flash', contents: content };
const generated = await google.generateContent(generate);
held('generate answers', generated.text.length > 0, generated);
const parts = [];
for await (const part of await google.generateContentStream(generate)) parts.push(part);
held('generate streams', parts.length > 3, parts);
