"""Each official SDK with models of the other two providers: the answers are its own, whoever made them."""

import anthropic
import openai
from google import genai
from google.genai import types

from check import API_KEY, BASE_URL, MESSAGE, answered, held, refused

GPT, CLAUDE, GEMINI = "gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash"
MESSAGES = [{"role": "user", "content": MESSAGE}]


def chat(api, model):
    whole = api.chat.completions.create(model=model, messages=MESSAGES)
    held(f"chat with {model} answers", answered(whole.choices[0].message.content), whole)
    held("and finishes with a reason", whole.choices[0].finish_reason == "stop", whole)
    held("and reports its usage", whole.usage.prompt_tokens > 0 and whole.usage.completion_tokens > 3, whole.usage)
    options = {"include_usage": True}
    chunks = list(api.chat.completions.create(model=model, messages=MESSAGES, stream=True, stream_options=options))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    held("its stream comes in pieces that are the answer", len(pieces) > 1 and answered("".join(pieces)), pieces)
    held("its last chunk has the same usage", chunks[-1].usage.total_tokens == whole.usage.total_tokens, chunks[-1])


def responses(api, model):
    whole = api.responses.create(model=model, input=MESSAGE)
    held(f"responses with {model} answer", answered(whole.output_text), whole)
    with api.responses.stream(model=model, input=MESSAGE) as stream:
        final = stream.get_final_response()
    held("the SDK's accumulator agrees", answered(final.output_text), final)
    held("on the usage too", final.usage.total_tokens == whole.usage.total_tokens > 0, final.usage)


def messages(api, model):
    request = {"model": model, "max_tokens": 256, "messages": MESSAGES}
    whole = api.messages.create(**request)
    held(f"messages with {model} answer", answered(whole.content[0].text), whole)
    held("and stop with a reason", whole.stop_reason == "end_turn", whole)
    with api.messages.stream(**request) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    held("the SDK's text stream is the answer", answered(text), text)
    held("its accumulator agrees on the usage", final.usage.output_tokens == whole.usage.output_tokens > 3, final)


def generate(api, model):
    whole = api.models.generate_content(model=model, contents=MESSAGE)
    held(f"generate with {model} answers", answered(whole.text), whole)
    held("and finishes with a reason", whole.candidates[0].finish_reason == types.FinishReason.STOP, whole)
    chunks = list(api.models.generate_content_stream(model=model, contents=MESSAGE))
    text = "".join(chunk.text or "" for chunk in chunks)
    held("its stream comes in pieces that are the answer", len(chunks) > 1 and answered(text), chunks)
    used = chunks[-1].usage_metadata.total_token_count
    held("its last piece has the same usage", used == whole.usage_metadata.total_token_count > 3, chunks[-1])


def errors(chat_api, messages_api):
    too_long = [{"role": "user", "content": "[[context]]"}]
    with refused("a request that Claude refuses is OpenAI's BadRequestError", openai.BadRequestError):
        chat_api.chat.completions.create(model=CLAUDE, messages=too_long)
    with refused("a request that GPT refuses is Anthropic's BadRequestError", anthropic.BadRequestError):
        messages_api.messages.create(model=GPT, max_tokens=9, messages=too_long)
    with refused(
        "what Claude cannot do is refused by the name of the parameter",
        openai.BadRequestError,
        lambda error: error.param == "logprobs",
    ):
        chat_api.chat.completions.create(model=CLAUDE, messages=MESSAGES, logprobs=True)
    broken = [{"role": "user", "content": "[[midstream-error]]"}]
    with refused("an error in a stream of Claude's is an APIError", openai.APIError):
        list(chat_api.chat.completions.create(model=CLAUDE, messages=broken, stream=True))


if __name__ == "__main__":
    to_openai = openai.OpenAI(base_url=f"{BASE_URL}/v1", api_key=API_KEY, max_retries=0, timeout=30)
    to_anthropic = anthropic.Anthropic(base_url=BASE_URL, api_key=API_KEY, max_retries=0, timeout=30)
    to_google = genai.Client(api_key=API_KEY, http_options=types.HttpOptions(base_url=BASE_URL, timeout=30_000))
    for model in (CLAUDE, GEMINI):
        chat(to_openai, model)
        responses(to_openai, model)
    for model in (GPT, GEMINI):
        messages(to_anthropic, model)
    for model in (GPT, CLAUDE):
        generate(to_google, model)
    errors(to_openai, to_anthropic)
