"""The official Anthropic SDK: messages, token counts, models and errors."""

import anthropic

from check import API_KEY, BASE_URL, MESSAGE, WRONG_KEY, answered, held, refused

MODEL = "claude-haiku-4-5"
REQUEST = {
    "model": MODEL,
    "max_tokens": 256,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": MESSAGE}],
}


def client(**credential):
    return anthropic.Anthropic(base_url=BASE_URL, max_retries=0, timeout=30, **(credential or {"api_key": API_KEY}))


def asking(text):
    return {**REQUEST, "messages": [{"role": "user", "content": text}]}


def messages(api):
    whole = api.messages.create(**REQUEST)
    held("messages answers", answered(whole.content[0].text), whole)
    held("and stops with a reason", whole.stop_reason == "end_turn", whole)
    held("and reports its usage", whole.usage.input_tokens > 0 and whole.usage.output_tokens > 3, whole.usage)
    held("and has a request id", whole._request_id, whole._request_id)
    short = api.messages.create(**{**REQUEST, "max_tokens": 2})
    held("a bounded message ends at the bound", short.stop_reason == "max_tokens", short)
    bearer = client(auth_token=API_KEY).messages.create(**REQUEST)
    held("a key sent as a bearer token is taken as well", answered(bearer.content[0].text), bearer)
    return whole.usage


def message_stream(api, usage):
    events = list(api.messages.create(**REQUEST, stream=True))
    kinds = [event.type for event in events]
    held("a stream begins with message_start", kinds[0] == "message_start", kinds)
    held("and ends with message_stop", kinds[-2:] == ["message_delta", "message_stop"], kinds)
    pieces = [event.delta.text for event in events if event.type == "content_block_delta"]
    held("its pieces are the answer", len(pieces) > 3 and answered("".join(pieces)), pieces)
    held("its start counts the input", events[0].message.usage.input_tokens == usage.input_tokens, events[0])
    held("its delta counts the output", events[-2].usage.output_tokens == usage.output_tokens, events[-2])

    with api.messages.stream(**REQUEST) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    held("the SDK's text stream is the answer", answered(text), text)
    held("the SDK's accumulator agrees", final.usage.output_tokens == usage.output_tokens, final)


def counts(api, usage):
    question = {name: value for name, value in REQUEST.items() if name != "max_tokens"}
    counted = api.messages.count_tokens(**question)
    held("counting gives the tokens that generating uses", counted.input_tokens == usage.input_tokens, counted)


def models(api):
    listed = {model.id: model for model in api.models.list()}
    held("models are listed", MODEL in listed, listed)
    held("with a name to show", listed[MODEL].display_name, listed[MODEL])


def errors(api):
    with refused("a wrong key is an AuthenticationError", anthropic.AuthenticationError):
        client(api_key=WRONG_KEY).messages.create(**REQUEST)
    with refused("an unknown model is a NotFoundError", anthropic.NotFoundError):
        api.messages.create(**{**REQUEST, "model": "no-such-model"})
    with refused(
        "a refused request keeps its status and type",
        anthropic.BadRequestError,
        lambda error: error.body["error"]["type"] == "invalid_request_error",
    ):
        api.messages.create(**asking("[[context]]"))
    with refused("an error in a stream is an APIStatusError", anthropic.APIStatusError):
        list(api.messages.create(**asking("[[midstream-error]]"), stream=True))


if __name__ == "__main__":
    sdk = client()
    used = messages(sdk)
    message_stream(sdk, used)
    counts(sdk, used)
    models(sdk)
    errors(sdk)
