"""The official OpenAI SDK: completions, whole and streamed, of models that have conversations alone."""

import openai

from check import API_KEY, BASE_URL, held

api = openai.OpenAI(base_url=f"{BASE_URL}/v1", api_key=API_KEY, max_retries=0, timeout=30)

for model in ["gpt-4o", "claude-haiku-4-5", "gemini-2.5-flash"]:
    whole = api.completions.create(model=model, prompt="It was", max_tokens=2)
    held(f"{model} completes", whole.choices[0].text == "Once upon", whole)
    held("with a reason", whole.choices[0].finish_reason == "length", whole)
    held("and its usage", whole.usage.total_tokens == 9, whole)

    options = {"include_usage": True}
    pieces = list(
        api.completions.create(model=model, prompt="It was", max_tokens=2, stream=True, stream_options=options)
    )
    text = "".join(piece.choices[0].text for piece in pieces if piece.choices)
    held(f"{model} completes in pieces", text == "Once upon", pieces)
    held("with its usage at the end", pieces[-1].usage.total_tokens == 9, pieces[-1])
    with_raw = api.completions.with_raw_response.create(model=model, prompt="It was", max_tokens=2)
    held("and names its request", with_raw.headers.get("x-tollgate-request-id"), with_raw.headers)
