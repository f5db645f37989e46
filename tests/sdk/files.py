"""Files through the official google-genai SDK: one that goes up in two pieces is read, listed, asked about, removed."""

import io

from google import genai
from google.genai import errors as failures
from google.genai import types

from check import API_KEY, BASE_URL, held, refused

MODEL = "gemini-2.5-flash"
# The SDK sends eight MiB at a time.
SIZE = 9 * 1024 * 1024

options = types.HttpOptions(base_url=BASE_URL, timeout=60_000)
api = genai.Client(api_key=API_KEY, http_options=options)

config = types.UploadFileConfig(mime_type="text/plain", display_name="a report")
kept = api.files.upload(file=io.BytesIO(b"x" * SIZE), config=config)
held("a file goes up", kept.name.startswith("files/") and kept.size_bytes == SIZE, kept)
held("it is read", api.files.get(name=kept.name).uri == kept.uri, kept)
names = [file.name for file in api.files.list()]
held("it is listed", names == [kept.name], names)
answer = api.models.generate_content(model=MODEL, contents=["What is this?", kept])
held("it is asked about", answer.text == "seen", answer)
api.files.delete(name=kept.name)
with refused("it is removed", failures.ClientError, lambda error: error.code in (403, 404)):
    api.files.get(name=kept.name)
with refused("a name of one's own is refused", failures.ClientError, lambda error: error.code == 400):
    api.files.upload(file=io.BytesIO(b"x"), config=types.UploadFileConfig(mime_type="text/plain", name="mine"))
