"""Makes a corpus to begin with out of the protocols' own test cases."""

import hashlib
import pathlib
import re
import struct
import zlib

HERE = pathlib.Path(__file__).parent
CASES = HERE / "../../plugins/protocols/testdata"
SHORT = {"openai-chat": "chat", "openai-responses": "responses", "anthropic-messages": "messages", "gemini": "gemini"}


def put(target: str, seed: bytes) -> None:
    """One seed, named by what it holds."""
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


def sections(case: pathlib.Path) -> list[bytes]:
    """What a case holds: the input first, then what it becomes."""
    text = case.read_text().replace("␍\n", "\r\n")
    return [part.encode() for part in re.split(r"^== .*\n", text, flags=re.M)[1:]]


for number, (name, short) in enumerate(SHORT.items()):
    for case in sorted((CASES / "request" / name).glob("*.txt")):
        for choice in (0x3C, 0xFD):
            put(f"request_{short}", bytes([choice]) + sections(case)[0])
        put("json", sections(case)[0])
    for case in sorted((CASES / "stream" / name).glob("*.txt")):
        for choice in (0, 1, 0x80 + number):
            put(f"stream_{short}", bytes([choice, 7]) + sections(case)[0])
        put("sse", bytes([7]) + sections(case)[0])
    for case in sorted((CASES / "response" / name).glob("*.txt")):
        put("answer", bytes([number, 0]) + sections(case)[0])
    for case in sorted((CASES / "error" / name).glob("*.txt")):
        put("answer", bytes([number, 29]) + sections(case)[0].split(b"\n", 1)[-1])

put("sse", b"\x01\xef\xbb\xbfevent: a\r\ndata: 1\r\rdata: 2\n\n: comment\n\n")
put("answer", b'\x01\x00{"input_tokens":9,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":2}}')
put("answer", b'\x03\x00{"promptTokenCount":9,"cachedContentTokenCount":4,"toolUsePromptTokenCount":2}')
header = lambda key, text: bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(text)) + text
headers = header(b":message-type", b"event") + header(b":event-type", b"chunk")
payload = b'{"bytes":"e30="}'
put("event_stream", b"\x01\x05" + bytes([len(headers), len(payload)]) + headers + payload)
lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
message = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
put("event_stream", b"\x00\x05" + message + struct.pack(">I", zlib.crc32(message)))
