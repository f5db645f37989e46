// @ts-check
// The same question in the words of each client, with the address of this gateway.

/** @typedef {{id: string, model: string, text: (at: string, model: string) => string}} Way */

/** @type {Way[]} */
export const WAYS = [
  {
    id: 'curl',
    model: 'gpt-4o-mini',
    text: (at, model) => `curl ${at}/v1/chat/completions \\
  -H "Authorization: Bearer $TOLLGATE_KEY" -H "Content-Type: application/json" \\
  -d '{"model": "${model}", "messages": [{"role": "user", "content": "Good morning"}]}'`,
  },
  {
    id: 'openai-python',
    model: 'gpt-4o-mini',
    text: (at, model) => `import os
from openai import OpenAI

client = OpenAI(base_url="${at}/v1", api_key=os.environ["TOLLGATE_KEY"])
answer = client.chat.completions.create(
    model="${model}", messages=[{"role": "user", "content": "Good morning"}]
)
print(answer.choices[0].message.content)`,
  },
  {
    id: 'openai-js',
    model: 'gpt-4o-mini',
    text: (at, model) => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${at}/v1", apiKey: process.env.TOLLGATE_KEY });
const answer = await client.chat.completions.create({
  model: "${model}",
  messages: [{ role: "user", content: "Good morning" }],
});
console.log(answer.choices[0].message.content);`,
  },
  {
    id: 'anthropic-python',
    model: 'claude-haiku-4-5',
    text: (at, model) => `import os
from anthropic import Anthropic

client = Anthropic(base_url="${at}", api_key=os.environ["TOLLGATE_KEY"])
answer = client.messages.create(
    model="${model}", max_tokens=100, messages=[{"role": "user", "content": "Good morning"}]
)
print(answer.content[0].text)`,
  },
  {
    id: 'google-python',
    model: 'gemini-2.5-flash',
    text: (at, model) => `import os
from google import genai

client = genai.Client(
    api_key=os.environ["TOLLGATE_KEY"], http_options=genai.types.HttpOptions(base_url="${at}")
)
print(client.models.generate_content(model="${model}", contents="Good morning").text)`,
  },
  {
    id: 'claude-code',
    model: 'claude-haiku-4-5',
    text: (at, model) => `export ANTHROPIC_BASE_URL=${at}
export ANTHROPIC_AUTH_TOKEN=$TOLLGATE_KEY
claude --model ${model}`,
  },
];

/** Where clients call, as seen from this browser. @param {any} about */
export function address(about) {
  const { url, port, tls } = about.clients;
  if (url) return url.replace(/\/$/, '');
  return `${tls ? 'https' : 'http'}://${location.hostname}:${port}`;
}
