"""The official google-genai SDK, with the API version that it sends by itself (v1) and the older v1beta."""

from google import genai
from google.genai import errors as failures
from google.genai import types

from check import API_KEY, BASE_URL, MESSAGE, WRONG_KEY, answered, held, refused

MODEL = "gemini-2.5-flash"
EMBEDDING_MODEL = "gemini-embedding-001"


def client(version, key=API_KEY):
    options = types.HttpOptions(base_url=BASE_URL, api_version=version, timeout=30_000)
    return genai.Client(api_key=key, http_options=options)


def generate(api):
    config = types.GenerateContentConfig(system_instruction="Be brief.")
    whole = api.models.generate_content(model=MODEL, contents=MESSAGE, config=config)
    held("generate answers", answered(whole.text), whole)
    held("and finishes with a reason", whole.candidates[0].finish_reason == types.FinishReason.STOP, whole)
    usage = whole.usage_metadata
    total = usage.prompt_token_count + usage.candidates_token_count
    held("and reports its usage", usage.total_token_count == total > 3, usage)
    bounded = types.GenerateContentConfig(max_output_tokens=2)
    short = api.models.generate_content(model=MODEL, contents=MESSAGE, config=bounded)
    reason = short.candidates[0].finish_reason
    held("a bounded answer ends at the bound", reason == types.FinishReason.MAX_TOKENS, short)


def stream(api):
    chunks = list(api.models.generate_content_stream(model=MODEL, contents=MESSAGE))
    held("a stream answers in pieces", len(chunks) > 3, chunks)
    held("the pieces are the answer", answered("".join(chunk.text for chunk in chunks)), chunks)
    last = chunks[-1]
    held("the last piece has the reason", last.candidates[0].finish_reason == types.FinishReason.STOP, last)
    held("and the whole usage", last.usage_metadata.candidates_token_count == len(chunks), last)


def count(api):
    counted = api.models.count_tokens(model=MODEL, contents=MESSAGE)
    whole = api.models.generate_content(model=MODEL, contents=MESSAGE)
    used = whole.usage_metadata.prompt_token_count
    held("counting gives the tokens that generating uses", counted.total_tokens == used, counted)


def embed(api):
    config = types.EmbedContentConfig(output_dimensionality=64)
    reply = api.models.embed_content(model=EMBEDDING_MODEL, contents=["one", "two"], config=config)
    held("embeddings come one for each input", len(reply.embeddings) == 2, reply)
    held("with the length asked for", len(reply.embeddings[0].values) == 64, reply)
    held("and differ with the input", reply.embeddings[0].values != reply.embeddings[1].values, reply)


def models(api):
    listed = [model.name for model in api.models.list()]
    held("models are listed", f"models/{MODEL}" in listed, listed)


def errors(api, version):
    stranger = client(version, WRONG_KEY)
    with refused("a wrong key is a ClientError", failures.ClientError, lambda error: error.code in (400, 401)):
        stranger.models.generate_content(model=MODEL, contents=MESSAGE)
    with refused("an unknown model is a 404", failures.ClientError, lambda error: error.code == 404):
        api.models.generate_content(model="no-such-model", contents=MESSAGE)
    with refused("and so it is in a stream", failures.ClientError, lambda error: error.code == 404):
        list(api.models.generate_content_stream(model="no-such-model", contents=MESSAGE))
    with refused(
        "a refused request keeps its status",
        failures.ClientError,
        lambda error: error.code == 400 and error.status == "INVALID_ARGUMENT",
    ):
        api.models.generate_content(model=MODEL, contents="[[context]]")


if __name__ == "__main__":
    for api_version in (None, "v1beta"):
        print(f"--  api version {api_version or 'of the SDK'}")
        sdk = client(api_version)
        generate(sdk)
        stream(sdk)
        count(sdk)
        embed(sdk)
        models(sdk)
        errors(sdk, api_version)
