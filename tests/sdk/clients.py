"""The official SDKs, pointed at the gateway."""

import anthropic
import openai
from google import genai
from google.genai import types

from check import API_KEY, BASE_URL


def to_openai(key=API_KEY, retries=0):
    return openai.OpenAI(base_url=f"{BASE_URL}/v1", api_key=key, max_retries=retries, timeout=30)


def to_anthropic(key=API_KEY, retries=0):
    return anthropic.Anthropic(base_url=BASE_URL, api_key=key, max_retries=retries, timeout=30)


def to_google(key=API_KEY):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=BASE_URL, timeout=30_000))
