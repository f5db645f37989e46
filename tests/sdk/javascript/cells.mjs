// What every client gets of every provider: text and a call, whole and streamed, and an answer to the call's result.

import { all, held, same, toAnthropic, toGoogle, toOpenai } from './check.mjs';

const QUESTION = 'Weather?';
const RESULT = '18 degrees';
const TEXT = 'Let me look. ';
const TOOL = 'weather';
const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };

const [OPENAI, ANTHROPIC, GOOGLE] = [toOpenai(), toAnthropic(), toGoogle()];

/** The text, one call with its arguments, the usage and the reason to stop are those that the provider gave. */
function understood(cell, text, calls, tokens, reason) {
  same(`${cell}: the text`, text, TEXT);
  same(`${cell}: the call`, calls, [[TOOL, { city: 'Köln' }]]);
  same(`${cell}: the usage`, tokens, [10, 5]);
  held(`${cell}: the reason to stop`, reason);
}

async function chat(model) {
  const cell = `chat, ${model}`;
  const api = OPENAI.chat.completions;
  const messages = [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: QUESTION }];
  const tools = [{ type: 'function', function: { name: TOOL, parameters: SCHEMA } }];
  const request = { model, max_tokens: 99, messages, tools };
  const check = (cell, { choices: [{ message, finish_reason }], usage }) => {
    const calls = message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
    const tokens = [usage.prompt_tokens, usage.completion_tokens];
    understood(cell, message.content, calls, tokens, finish_reason === 'tool_calls');
  };

  const whole = await api.create(request);
  check(cell, whole);
  const stream = api.stream({ ...request, stream_options: { include_usage: true } });
  check(`${cell}, streamed`, await stream.finalChatCompletion());

  const { message } = whole.choices[0];
  const result = { role: 'tool', tool_call_id: message.tool_calls[0].id, content: RESULT };
  const again = await api.create({ ...request, messages: [...messages, message, result] });
  same(`${cell}: the result of a call`, again.choices[0].message.content, TEXT);
}

async function responses(model) {
  const cell = `responses, ${model}`;
  const api = OPENAI.responses;
  const tools = [{ type: 'function', name: TOOL, parameters: SCHEMA, strict: false }];
  const request = { model, max_output_tokens: 99, instructions: 'Be brief.', tools, store: false };
  const check = (cell, response) => {
    const made = response.output.filter((item) => item.type === 'function_call');
    const calls = made.map((call) => [call.name, JSON.parse(call.arguments)]);
    const tokens = [response.usage.input_tokens, response.usage.output_tokens];
    understood(cell, response.output_text, calls, tokens, response.status === 'completed');
    return made[0];
  };

  const whole = await api.create({ ...request, input: QUESTION });
  const call = check(cell, whole);
  const events = await all(await api.create({ ...request, input: QUESTION, stream: true }));
  const said = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta);
  same(`${cell}: pieces of a stream are its text`, said.join(''), TEXT);
  const final = await api.stream({ ...request, input: QUESTION }).finalResponse();
  check(`${cell}, streamed`, final);

  const result = { type: 'function_call_output', call_id: call.call_id, output: RESULT };
  const input = [{ role: 'user', content: QUESTION }, ...whole.output, result];
  const again = await api.create({ ...request, input });
  same(`${cell}: the result of a call`, again.output_text, TEXT);
}

async function messages(model) {
  const cell = `messages, ${model}`;
  const api = ANTHROPIC.messages;
  const question = { role: 'user', content: QUESTION };
  const request = { model, max_tokens: 99, system: 'Be brief.', tools: [{ name: TOOL, input_schema: SCHEMA }] };
  const check = (cell, { content, usage, stop_reason }) => {
    const text = content.filter((block) => block.type === 'text').map((block) => block.text);
    const made = content.filter((block) => block.type === 'tool_use');
    const calls = made.map((call) => [call.name, call.input]);
    const tokens = [usage.input_tokens, usage.output_tokens];
    understood(cell, text.join(''), calls, tokens, stop_reason === 'tool_use');
    return made[0];
  };

  const whole = await api.create({ ...request, messages: [question] });
  const call = check(cell, whole);
  const stream = api.stream({ ...request, messages: [question] });
  let said = '';
  stream.on('text', (piece) => (said += piece));
  check(`${cell}, streamed`, await stream.finalMessage());
  same(`${cell}: pieces of a stream are its text`, said, TEXT);

  const result = { type: 'tool_result', tool_use_id: call.id, content: RESULT };
  const turns = [question, { role: 'assistant', content: whole.content }, { role: 'user', content: [result] }];
  const again = await api.create({ ...request, messages: turns });
  same(`${cell}: the result of a call`, again.content[0].text, TEXT);
}

async function generate(model) {
  const cell = `generate, ${model}`;
  const api = GOOGLE.models;
  const tools = [{ functionDeclarations: [{ name: TOOL, parametersJsonSchema: SCHEMA }] }];
  const config = { systemInstruction: 'Be brief.', maxOutputTokens: 99, tools };
  const check = (cell, chunks) => {
    const parts = chunks.flatMap((chunk) => chunk.candidates[0].content?.parts ?? []);
    const text = parts.map((part) => part.text ?? '').join('');
    const calls = parts.filter((part) => part.functionCall).map(({ functionCall: { name, args } }) => [name, args]);
    const last = chunks.at(-1);
    const tokens = [last.usageMetadata.promptTokenCount, last.usageMetadata.candidatesTokenCount];
    understood(cell, text, calls, tokens, last.candidates[0].finishReason === 'STOP');
  };

  const whole = await api.generateContent({ model, contents: QUESTION, config });
  check(cell, [whole]);
  check(`${cell}, streamed`, await all(await api.generateContentStream({ model, contents: QUESTION, config })));

  const turn = whole.candidates[0].content;
  const { id } = turn.parts.find((part) => part.functionCall).functionCall;
  const functionResponse = { id, name: TOOL, response: { output: RESULT } };
  const contents = [
    { role: 'user', parts: [{ text: QUESTION }] },
    turn,
    { role: 'user', parts: [{ functionResponse }] },
  ];
  const again = await api.generateContent({ model, contents, config });
  same(`${cell}: the result of a call`, again.candidates[0].content.parts[0].text, TEXT);
}

export const CELLS = [chat, responses, messages, generate];
