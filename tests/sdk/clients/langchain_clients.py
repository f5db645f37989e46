"""LangChain with each of its providers, to a model of its own protocol and to one of another: every scenario of the
table in docs/users.md. The provider is scripted; NO_POINTS is a key of somebody who has none."""

import os

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI

BASE_URL, API_KEY, NO_POINTS = (os.environ[name] for name in ("BASE_URL", "API_KEY", "NO_POINTS"))
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MODELS = {"openai": "gpt-4o", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash"}


def openai(model, key, **more):
    return ChatOpenAI(model=model, api_key=key, base_url=f"{BASE_URL}/v1", max_retries=0, **more)


def responses(model, key):
    return openai(model, key, use_responses_api=True)


def anthropic(model, key):
    return ChatAnthropic(model=model, api_key=key, base_url=BASE_URL, max_retries=0, max_tokens=1000)


def google(model, key):
    return ChatGoogleGenerativeAI(model=model, google_api_key=key, base_url=BASE_URL, max_retries=1, transport="rest")


CLIENTS = {"openai, chat": openai, "openai, responses": responses, "anthropic": anthropic, "google": google}


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"18 degrees in {city}"


def held(promise, condition, seen=None):
    if not condition:
        raise SystemExit(f"{promise}: saw {seen!r}")
    print("ok ", promise)


def refusal(call):
    try:
        call()
    except Exception as error:
        return str(error)
    return ""


def scenarios(name, make):
    for provider, model in MODELS.items():
        told, client = f"{name} to {provider}", make(model, API_KEY)
        plain = client.invoke("Moin")
        held(f"{told}: plain", plain.text == "Good morning", plain)
        held(f"{told}: counts", plain.usage_metadata["output_tokens"] == 5, plain.usage_metadata)
        streamed = "".join(chunk.text for chunk in client.stream("Moin"))
        held(f"{told}: stream", streamed == "Good morning", streamed)

        asked = [HumanMessage("Which weather?")]
        called = client.bind_tools([weather]).invoke(asked)
        held(f"{told}: tool call", [call["name"] for call in called.tool_calls] == ["weather"], called)
        call = called.tool_calls[0]
        result = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"], name="weather")
        looped = client.bind_tools([weather]).invoke([*asked, called, result])
        held(f"{told}: tool loop", looped.text == "It is mild", looped)

        picture = {"type": "image", "base64": PICTURE, "mime_type": "image/png"}
        seen = client.invoke([HumanMessage([{"type": "text", "text": "What is this?"}, picture])])
        held(f"{told}: image", seen.text == "A picture", seen)
    own = next(model for provider, model in MODELS.items() if name.startswith(provider))
    bad = refusal(lambda: make(own, "tg_wrong").invoke("Moin"))
    held(f"{name}: bad key", "not valid" in bad, bad)
    poor = refusal(lambda: make(own, NO_POINTS).invoke("Moin"))
    held(f"{name}: no points", "balance" in poor, poor)
    endless = make(own, API_KEY).stream("Endlessly")
    next(chunk for chunk in endless if chunk.text)
    endless.close()
    held(f"{name}: cancel", True)


for client, make in CLIENTS.items():
    scenarios(client, make)
