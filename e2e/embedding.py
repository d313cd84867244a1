"""Embeddings without a model, for the frameworks' tests: texts that share words have near vectors."""

from __future__ import annotations

import hashlib
import math

from standin.embeddings import vector

SIZE = 256


def dense(text: str) -> list[float]:
    return vector(text, SIZE)


def sparse(text: str) -> tuple[list[int], list[float]]:
    """The words by their hashes, and how often they stand there."""
    counts: dict[int, float] = {}
    for word in text.lower().split():
        index = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little")
        counts[index] = counts.get(index, 0.0) + 1.0
    return list(counts), list(counts.values())


def cosine(a: str, b: str) -> float:
    return math.fsum(x * y for x, y in zip(dense(a), dense(b), strict=True))


def shared(a: str, b: str) -> float:
    """What `sparse` makes two texts share."""
    one, other = (dict(zip(*sparse(each), strict=True)) for each in (a, b))
    return sum(count * other.get(index, 0.0) for index, count in one.items())
