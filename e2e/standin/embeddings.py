"""/embeddings: hashed n-grams. Equal texts have equal vectors, and texts that share words have near ones."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import TYPE_CHECKING

from .shapes import Wrong, array, either, filled, integer, one_of, record

if TYPE_CHECKING:
    from .server import Ask

DIMENSIONS = 256
INPUT = either(
    filled, array(filled, least=1), array(integer, least=1), array(array(integer), least=1)
)
OPTIONAL = {"dimensions": integer, "encoding_format": one_of("float", "base64")}
REQUEST = {
    "openai": record({"model": filled, "input": INPUT}, OPTIONAL | {"user": filled}),
    "azure": record({"model": filled, "input": INPUT}, OPTIONAL | {"user": filled}),
    "vllm": record({"model": filled, "input": INPUT}, OPTIONAL),
    "sglang": record({"model": filled, "input": INPUT}, OPTIONAL),
    "compatible": record({"model": filled, "input": INPUT}, OPTIONAL),
}


def answer(ask: Ask) -> dict:
    if ask.seen.kind not in REQUEST:
        raise Wrong("path", f"a provider of kind {ask.seen.kind} has no embeddings")
    REQUEST[ask.seen.kind](ask.body, "body")
    given = ask.body["input"]
    single = isinstance(given, str) or isinstance(given[0], int)
    texts = [given] if single else given
    dimensions = ask.body.get("dimensions", DIMENSIONS)
    data = [
        {"object": "embedding", "index": index, "embedding": written(ask, text, dimensions)}
        for index, text in enumerate(texts)
    ]
    tokens = {"prompt_tokens": 7, "total_tokens": 7}
    return {"object": "list", "data": data, "model": ask.model, "usage": tokens}


def written(ask: Ask, text: object, dimensions: int) -> object:
    made = vector(text if isinstance(text, str) else " ".join(map(str, text)), dimensions)
    if ask.body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{dimensions}f", *made)).decode()
    return made


def vector(text: str, dimensions: int) -> list[float]:
    """Words and their trigrams, hashed into signed places; of length 1."""
    sums = [0.0] * dimensions
    for word in text.lower().split():
        padded = f" {word} "
        for gram in (word, *(padded[at : at + 3] for at in range(len(padded) - 2))):
            digest = hashlib.blake2b(gram.encode(), digest_size=8).digest()
            place = int.from_bytes(digest[:4], "little") % dimensions
            sums[place] += 1.0 if digest[4] & 1 else -1.0
    length = math.sqrt(sum(each * each for each in sums)) or 1.0
    return [each / length for each in sums]
