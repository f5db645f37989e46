"""Every failure is the right exception of each SDK, and who is asked to wait waits."""

import os

import anthropic
import openai
from google.genai import errors as google

from check import WRONG_KEY, held, refused
from clients import to_anthropic, to_google, to_openai

POOR_KEY, BOUND_KEY = os.environ["POOR_KEY"], os.environ["BOUND_KEY"]
MESSAGES = [{"role": "user", "content": "hi"}]
# How long the scripted provider asks to wait.
RETRY_AFTER = "77"


def chat(model, key=None, retries=0):
    api = to_openai(retries=retries, **({"key": key} if key else {}))
    return api.chat.completions.create(model=model, messages=MESSAGES, max_tokens=99)


def responses(model, key=None, retries=0):
    api = to_openai(retries=retries, **({"key": key} if key else {}))
    return api.responses.create(model=model, input="hi", max_output_tokens=99)


def messages(model, key=None, retries=0):
    api = to_anthropic(retries=retries, **({"key": key} if key else {}))
    return api.messages.create(model=model, max_tokens=99, messages=MESSAGES)


def generate(model, key=None):
    api = to_google(**({"key": key} if key else {}))
    return api.models.generate_content(model=model, contents="hi")


CALLS = {
    "openai-chat": chat,
    "openai-responses": responses,
    "anthropic-messages": messages,
    "gemini": generate,
}


def code(*codes):
    return lambda error: error.code in codes


def status(*codes):
    return lambda error: error.status_code in codes


def told_to_wait(error):
    return error.response.headers["retry-after"] == RETRY_AFTER


# By failure: the exception of each SDK, and what else it has to say. A provider's 401 is the operator's fault, and no
# client's.
OPENAI = {
    "invalid-key": (openai.InternalServerError, status(502, 503)),
    "permission": (openai.PermissionDeniedError, lambda error: True),
    "not-found": (openai.NotFoundError, lambda error: True),
    "bad-request": (openai.BadRequestError, lambda error: error.type == "invalid_request_error"),
    "context": (openai.BadRequestError, lambda error: error.code == "context_length_exceeded"),
    "too-large": (openai.APIStatusError, status(400, 413)),
    "rate-limited": (openai.RateLimitError, told_to_wait),
    "overloaded": (openai.InternalServerError, status(503)),
    "server-error": (openai.InternalServerError, lambda error: True),
}
EXPECTED = {
    "openai-chat": OPENAI,
    "openai-responses": OPENAI,
    "anthropic-messages": {
        "invalid-key": (anthropic.InternalServerError, status(502, 503)),
        "permission": (anthropic.PermissionDeniedError, lambda error: True),
        "not-found": (anthropic.NotFoundError, lambda error: True),
        "bad-request": (anthropic.BadRequestError, lambda error: True),
        "context": (anthropic.BadRequestError, lambda error: True),
        "too-large": (anthropic.ContentTooLargeError, lambda error: True),
        "rate-limited": (anthropic.RateLimitError, told_to_wait),
        "overloaded": (anthropic.OverloadedError, lambda error: error.body["error"]["type"] == "overloaded_error"),
        "server-error": (anthropic.InternalServerError, lambda error: True),
    },
    "gemini": {
        "invalid-key": (google.ServerError, code(502, 503)),
        "permission": (google.ClientError, code(403)),
        "not-found": (google.ClientError, code(404)),
        "bad-request": (google.ClientError, code(400)),
        "context": (google.ClientError, code(400)),
        "rate-limited": (google.ClientError, lambda error: error.code == 429 and told_to_wait(error)),
        "overloaded": (google.ServerError, code(503)),
        "server-error": (google.ServerError, lambda error: True),
    },
}


def fails(case):
    """One failure of one provider, seen by one SDK."""
    model, failure, client = case["model"], case["failure"], case["client"]
    call = CALLS[client]
    if failure != "busy-once":
        kind, fits = EXPECTED[client][failure]
        with refused(f"{model} is a {kind.__name__}", kind, fits):
            call(model)
    elif client != "gemini":
        # The credential rests for as long as the provider said: a retry that came sooner would be refused as well.
        held(f"{model}: the SDK waits as it is told and is served then", call(model, retries=1))


def everyone(promise, kinds, model, key):
    """What the gateway itself refuses."""
    for call, (kind, fits) in zip(CALLS.values(), [kinds[0], kinds[0], *kinds[1:]], strict=True):
        with refused(f"{promise} is a {kind.__name__}", kind, fits):
            call(model, key=key)


def wrong_key():
    kinds = [(openai.AuthenticationError, status(401)), (anthropic.AuthenticationError, status(401))]
    everyone("a wrong key", [*kinds, (google.ClientError, code(401))], "on.gemini", WRONG_KEY)


def unknown_model():
    kinds = [(openai.NotFoundError, status(404)), (anthropic.NotFoundError, status(404))]
    everyone("an unknown model", [*kinds, (google.ClientError, code(404))], "no-such-model", None)


def forbidden_model():
    kinds = [(openai.PermissionDeniedError, status(403)), (anthropic.PermissionDeniedError, status(403))]
    everyone("a model that the key is not for", [*kinds, (google.ClientError, code(403))], "on.gemini", BOUND_KEY)


def no_points():
    poor = (openai.APIStatusError, lambda error: error.status_code == 402 and error.code == "insufficient_quota")
    kinds = [poor, (anthropic.PaymentRequiredError, status(402)), (google.ClientError, code(402))]
    everyone("a balance that does not cover the call", kinds, "on.gemini", POOR_KEY)


REFUSALS = [wrong_key, unknown_model, forbidden_model, no_points]
