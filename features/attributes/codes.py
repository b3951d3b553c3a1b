"""Texts in, the whole numbers under which states keep them out: a float holds each exactly."""

from functools import lru_cache
from typing import Final

from features.events.hashing import hash_texts

_BITS_DROPPED: Final = 12
"""Of 64: what is left is exact in a float."""


@lru_cache(maxsize=16_384)
def text_code(text: str) -> float:
    """The code of a text: the same on every machine and always; of 10,000 values two share one with a chance of 10^-8."""
    return float(int(hash_texts([text])[0]) >> _BITS_DROPPED)
