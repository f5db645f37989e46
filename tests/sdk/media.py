"""The official OpenAI SDK: pictures, speech, transcripts and judgements."""

import io
import wave

import openai

from check import API_KEY, BASE_URL, held, refused

api = openai.OpenAI(base_url=f"{BASE_URL}/v1", api_key=API_KEY, max_retries=0, timeout=30)

made = api.images.generate(model="by-piece", prompt="a cat", n=2)
held("pictures are made", [image.url for image in made.data] == ["https://x/1.png", "https://x/2.png"], made)
edited = api.images.edit(model="by-token", image=("cat.png", b"PNG", "image/png"), prompt="a hat")
held("and edited, with their usage", edited.usage.output_tokens == 4160, edited)

spoken = api.audio.speech.create(model="by-letter", voice="alloy", input="Hello")
held("a text is spoken", spoken.content == bytes([0xFF, 0xFB, 0, 1, 2]), spoken.content)

recording = io.BytesIO()
with wave.open(recording, "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(16_000)
    file.writeframes(bytes(64_000))
recording.name = "two-seconds.wav"
heard = api.audio.transcriptions.create(model="by-second", file=recording)
held("a recording is written down", heard.text == "hello there", heard)
recording.seek(0)
translated = api.audio.translations.create(model="by-second", file=recording)
held("and translated", translated.text == "hello there", translated)

judged = api.moderations.create(input="hi")
held("a text is judged", judged.results[0].flagged is False, judged)

with refused("what has no price is refused by its name", openai.BadRequestError, lambda error: "`image`" in str(error)):
    api.images.generate(model="unpriced", prompt="a cat")
