"""The official OpenAI SDK: chat completions, responses, embeddings, models and errors."""

import openai

from check import API_KEY, BASE_URL, MESSAGE, WRONG_KEY, answered, held, refused

MODEL = "gpt-4o-mini"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": MESSAGE}]


def client(key=API_KEY):
    return openai.OpenAI(base_url=f"{BASE_URL}/v1", api_key=key, max_retries=0, timeout=30)


def deltas(chunks):
    return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]


def chat(api):
    whole = api.chat.completions.create(model=MODEL, messages=MESSAGES)
    held("chat answers", answered(whole.choices[0].message.content), whole)
    held("chat finishes with a reason", whole.choices[0].finish_reason == "stop", whole)
    usage = whole.usage
    held("chat reports its usage", usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0, usage)
    short = api.chat.completions.create(model=MODEL, messages=MESSAGES, max_completion_tokens=2)
    held("a bounded chat ends at the bound", short.choices[0].finish_reason == "length", short)
    return usage


def chat_stream(api, usage):
    chunks = list(api.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    held("a chat stream answers in pieces", len(deltas(chunks)) > 3, chunks)
    held("the pieces are the answer", answered("".join(deltas(chunks))), chunks)
    held("every chunk has the same id", len({chunk.id for chunk in chunks}) == 1, chunks)
    held("every chunk has a choice when usage was not asked for", all(c.choices for c in chunks), chunks)
    held("no chunk has usage when it was not asked for", all(c.usage is None for c in chunks), chunks)
    held("the last chunk has the reason", chunks[-1].choices[0].finish_reason == "stop", chunks[-1])

    options = {"include_usage": True}
    chunks = list(api.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, stream_options=options))
    held("usage that was asked for comes last, without choices", not chunks[-1].choices, chunks[-1])
    held("and is that of the whole answer", chunks[-1].usage == usage, chunks[-1].usage)
    held("and only there", all(chunk.usage is None for chunk in chunks[:-1]), chunks)

    with api.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
        final = stream.get_final_completion()
    held("the SDK's accumulator agrees", answered(final.choices[0].message.content), final)


def responses(api):
    whole = api.responses.create(model=MODEL, instructions="Be brief.", input=MESSAGE)
    held("responses answers", answered(whole.output_text), whole)
    held("responses completes", whole.status == "completed" and whole.usage.output_tokens > 0, whole)

    events = list(api.responses.create(model=MODEL, input=MESSAGE, stream=True))
    kinds = [event.type for event in events]
    held("a response stream begins with created", kinds[:2] == ["response.created", "response.in_progress"], kinds)
    held("a response stream ends with completed", kinds[-1] == "response.completed", kinds)
    numbers = [event.sequence_number for event in events]
    held("its events are numbered without a gap", numbers == list(range(len(events))), numbers)
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    held("its pieces are the answer", answered("".join(pieces)), pieces)
    held("its last event has the usage", events[-1].response.usage.total_tokens > 0, events[-1])

    with api.responses.stream(model=MODEL, input=MESSAGE) as stream:
        final = stream.get_final_response()
    held("the SDK's accumulator agrees on responses", answered(final.output_text), final)


def embeddings(api):
    model = "text-embedding-3-small"
    packed = api.embeddings.create(model=model, input=["one", "two"])
    held("embeddings come one for each input", [item.index for item in packed.data] == [0, 1], packed)
    held("with the model's length", len(packed.data[0].embedding) == 1536, packed)
    held("and usage", packed.usage.prompt_tokens > 0, packed.usage)
    plain = api.embeddings.create(model=model, input="one", encoding_format="float")
    near = all(abs(a - b) < 1e-6 for a, b in zip(packed.data[0].embedding, plain.data[0].embedding, strict=True))
    held("base64 and float are the same vector", near, plain.data[0].embedding[:4])


def models(api):
    listed = [model.id for model in api.models.list()]
    held("models are listed", MODEL in listed, listed)


def errors(api):
    with refused("a wrong key is an AuthenticationError", openai.AuthenticationError):
        client(WRONG_KEY).chat.completions.create(model=MODEL, messages=MESSAGES)
    with refused("an unknown model is a NotFoundError", openai.NotFoundError):
        api.chat.completions.create(model="no-such-model", messages=MESSAGES)
    too_long = [{"role": "user", "content": "[[context]]"}]
    with refused(
        "a refused request keeps its status and code",
        openai.BadRequestError,
        lambda error: error.code == "context_length_exceeded",
    ):
        api.chat.completions.create(model=MODEL, messages=too_long)
    with refused("an error in a stream is an APIError", openai.APIError):
        broken = [{"role": "user", "content": "[[midstream-error]]"}]
        list(api.chat.completions.create(model=MODEL, messages=broken, stream=True))


if __name__ == "__main__":
    sdk = client()
    chat_stream(sdk, chat(sdk))
    responses(sdk)
    embeddings(sdk)
    models(sdk)
    errors(sdk)
