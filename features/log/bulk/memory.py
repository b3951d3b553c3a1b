"""Customers that one connection to the log has met come in; they are given again, for as long as nobody has changed them.

A bulk load meets the same customers with every batch: looked up anew they cost more than their events.
"""

from collections.abc import Collection, Sequence
from itertools import repeat
from typing import Final

import numpy as np

from features.arrays import IntArray

UNKNOWN: Final = -1
"""The place of what is not remembered."""
MOST: Final = 500_000
"""Customers that are remembered, of some 400 bytes each."""


class Memory:
    """Rows of the log's `customers` by texts that stand for them; a row may have several texts.

    Each row has a place, at which its `keys`, `first_us` (P,), `names` and first `texts` lie. Whoever takes back what was
    written to the log, or takes a customer out, `drop`s all.
    """

    def __init__(self) -> None:
        self._version = ""
        self.drop()

    def __len__(self) -> int:
        return len(self.names)

    def drop(self) -> None:
        """Forget everything, as after a transaction that was rolled back."""
        self._places: dict[str, int] = {}
        self._place_of_key: dict[int, int] = {}
        self.keys: IntArray = np.empty(0, np.int64)
        self.first_us: IntArray = np.empty(0, np.int64)
        self.names: list[str] = []
        self.texts: list[str] = []
        self.complete_to = 0
        """Every row up to this key is remembered; 0 where some may not be."""

    def begin(self, version: str) -> None:
        """`version` is what the log says of changes to customers, whoever made them: another one than before drops all."""
        if version != self._version or len(self) > MOST:
            self.drop()
            self._version = version

    def follow(self, version: str) -> None:
        """Keep what is remembered over a change that was made here, and was told."""
        self._version = version

    def find(self, texts: Collection[str]) -> IntArray:
        """The place behind each text, (k,)."""
        return np.fromiter(map(self._places.get, texts, repeat(UNKNOWN)), np.int64, len(texts))

    def add(self, texts: Sequence[str], keys: Sequence[int], first_us: Sequence[int], names: Sequence[str]) -> None:
        """Remember rows (k,): by a text each, their key, first moment (microseconds) and customer's name."""
        start = len(self)
        places = range(start, start + len(texts))
        self._places.update(zip(texts, places, strict=True))
        self._place_of_key.update(zip(keys, places, strict=True))
        self.keys = np.append(self.keys, np.array(keys, np.int64))
        self.first_us = np.append(self.first_us, np.array(first_us, np.int64))
        self.names += names
        self.texts += texts

    def add_text(self, text: str, place: int) -> None:
        """Remember another text for what is known already."""
        self._places[text] = place

    def rename(self, key: int, name: str) -> None:
        """A row is another customer's now."""
        place = self._place_of_key.get(key)
        if place is not None:
            self.names[place] = name
