"""What every client gets of every provider: text and a call, whole and streamed, and an answer to the call's result."""

import json

from google.genai import types

from check import held
from clients import to_anthropic, to_google, to_openai

QUESTION, RESULT = "Weather?", "18 degrees"
TEXT, TOOL, ARGUMENTS = "Let me look. ", "weather", {"city": "Köln"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOKENS = (10, 5)

OPENAI, ANTHROPIC, GOOGLE = to_openai(), to_anthropic(), to_google()


def understood(cell, text, calls, tokens, finish, seen):
    """The text, one call with its arguments, the usage and the reason to stop are those that the provider gave."""
    held(f"{cell}: the text", text == TEXT, seen)
    held(f"{cell}: the call", calls == [(TOOL, ARGUMENTS)], seen)
    held(f"{cell}: the usage", tokens == TOKENS, seen)
    held(f"{cell}: the reason to stop", finish, seen)


def chat(model):
    api, cell = OPENAI.chat.completions, f"chat, {model}"
    tools = [{"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    request = {"model": model, "max_tokens": 99, "messages": messages, "tools": tools}

    whole = api.create(**request)
    message, reason = whole.choices[0].message, whole.choices[0].finish_reason
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]
    tokens = (whole.usage.prompt_tokens, whole.usage.completion_tokens)
    understood(cell, message.content, calls, tokens, reason == "tool_calls", whole)

    chunks = list(api.create(**request, stream=True, stream_options={"include_usage": True}))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    pieces = [call.function for choice in choices for call in choice.delta.tool_calls or []]
    name = "".join(piece.name or "" for piece in pieces)
    calls = [(name, json.loads("".join(piece.arguments or "" for piece in pieces)))]
    reason = [choice.finish_reason for choice in choices if choice.finish_reason]
    usage = chunks[-1].usage
    tokens = (usage.prompt_tokens, usage.completion_tokens)
    understood(f"{cell}, streamed", text, calls, tokens, reason == ["tool_calls"], chunks)

    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": RESULT}
    again = api.create(**{**request, "messages": [*messages, message, result]})
    held(f"{cell}: the result of a call", again.choices[0].message.content == TEXT, again)


def responses(model):
    api, cell = OPENAI.responses, f"responses, {model}"
    tools = [{"type": "function", "name": TOOL, "parameters": SCHEMA, "strict": False}]
    request = {"model": model, "max_output_tokens": 99, "instructions": "Be brief.", "tools": tools, "store": False}

    def check(cell, response):
        made = [item for item in response.output if item.type == "function_call"]
        calls = [(call.name, json.loads(call.arguments)) for call in made]
        tokens = (response.usage.input_tokens, response.usage.output_tokens)
        understood(cell, response.output_text, calls, tokens, response.status == "completed", response)
        return made[0]

    whole = api.create(**request, input=QUESTION)
    call = check(cell, whole)
    events = list(api.create(**request, input=QUESTION, stream=True))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    held(f"{cell}: pieces of a stream are its text", said == TEXT, events)
    check(f"{cell}, streamed", events[-1].response)

    turn = [item.to_dict() for item in whole.output]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
    again = api.create(**request, input=[{"role": "user", "content": QUESTION}, *turn, result])
    held(f"{cell}: the result of a call", again.output_text == TEXT, again)


def messages(model):
    api, cell = ANTHROPIC.messages, f"messages, {model}"
    question = {"role": "user", "content": QUESTION}
    tools = [{"name": TOOL, "input_schema": SCHEMA}]
    request = {"model": model, "max_tokens": 99, "system": "Be brief.", "tools": tools}

    def check(cell, message):
        text = "".join(block.text for block in message.content if block.type == "text")
        made = [block for block in message.content if block.type == "tool_use"]
        calls = [(call.name, call.input) for call in made]
        tokens = (message.usage.input_tokens, message.usage.output_tokens)
        understood(cell, text, calls, tokens, message.stop_reason == "tool_use", message)
        return made[0]

    whole = api.create(**request, messages=[question])
    call = check(cell, whole)
    with api.stream(**request, messages=[question]) as stream:
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
    held(f"{cell}: pieces of a stream are its text", said == TEXT, said)
    check(f"{cell}, streamed", final)

    result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
    turns = [question, {"role": "assistant", "content": whole.content}, {"role": "user", "content": [result]}]
    again = api.create(**request, messages=turns)
    held(f"{cell}: the result of a call", again.content[0].text == TEXT, again)


def generate(model):
    api, cell = GOOGLE.models, f"generate, {model}"
    declaration = types.FunctionDeclaration(name=TOOL, parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        max_output_tokens=99,
        tools=[types.Tool(function_declarations=[declaration])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )

    def check(cell, chunks):
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
        text = "".join(part.text or "" for part in parts)
        made = [part.function_call for part in parts if part.function_call]
        usage = chunks[-1].usage_metadata
        tokens = (usage.prompt_token_count, usage.candidates_token_count)
        reason = chunks[-1].candidates[0].finish_reason
        calls = [(call.name, call.args) for call in made]
        understood(cell, text, calls, tokens, reason == types.FinishReason.STOP, chunks)

    whole = api.generate_content(model=model, contents=QUESTION, config=config)
    check(cell, [whole])
    chunks = list(api.generate_content_stream(model=model, contents=QUESTION, config=config))
    check(f"{cell}, streamed", chunks)

    question = types.Content(role="user", parts=[types.Part(text=QUESTION)])
    called = next(part.function_call for part in whole.candidates[0].content.parts if part.function_call)
    answered = types.FunctionResponse(id=called.id, name=TOOL, response={"output": RESULT})
    result = types.Content(role="user", parts=[types.Part(function_response=answered)])
    turns = [question, whole.candidates[0].content, result]
    again = api.generate_content(model=model, contents=turns, config=config)
    held(f"{cell}: the result of a call", again.candidates[0].content.parts[0].text == TEXT, again)


CELLS = [chat, responses, messages, generate]
