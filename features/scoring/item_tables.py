"""What is known of products beside the network, as arrays by the network's rows; one file that travels with the model.

Row 0 is padding everywhere. Training fills these arrays (`training/models/next_product/item_tables.py`); candidates and their
features are made from them by `rerank`.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from features.arrays import Float32Array, FloatArray, IntArray
from features.state.products import POPULARITY_DAYS

Floats32 = Float32Array
Ints32 = NDArray[np.int32]

COMPANIONS_FILE: Final = "companions.npz"
N_POPULAR: Final = 24
_WEEK, _MONTH = POPULARITY_DAYS.index(7.0), POPULARITY_DAYS.index(28.0)


@dataclass(frozen=True)
class Neighbours:
    """The strongest R neighbours of every product, 0 where there are fewer: which ones, and how strongly they are tied."""

    item: Ints32  # (V + 1, R)
    weight: Floats32  # (V + 1, R)


@dataclass(frozen=True)
class Favourites:
    """What sells best in each of G places (stores, or channels): products and their share of the place's purchases."""

    codes: FloatArray  # (G,) ascending
    item: Ints32  # (G + 1, L) the last one is of nowhere: all zero
    share: Floats32  # (G + 1, L)

    def place(self, code: NDArray[np.floating]) -> IntArray:
        """The rows (n,) of places by their codes (n,); the last row for an unknown one or NaN."""
        if not len(self.codes):
            return np.zeros(len(code), np.int64)
        at = np.minimum(np.searchsorted(self.codes, code), len(self.codes) - 1)
        return np.where(self.codes[at] == code, at, len(self.codes)).astype(np.int64)


@dataclass(frozen=True)
class Companions:
    """Popularity, neighbours, what a product is, and what sells best where."""

    popularity: Floats32  # (V + 1, len(POPULARITY_DAYS)) log of the decayed counts
    rules: Neighbours  # what is bought after a product
    pairs: Neighbours  # what is bought together with it
    category: Ints32  # (V + 1,) 0 where unknown
    brand: Ints32  # (V + 1,) 0 where unknown
    log_price: Floats32  # (V + 1,) NaN where unknown
    in_category: Floats32  # (V + 1,) log of the share of the category's purchases, 0 where there is no category
    category_best: Ints32  # (K + 1, B) best sellers of each category, 0 where there are fewer
    stores: Favourites
    channels: Favourites
    half_life_days: Floats32  # (2,) how fast an event stops pointing to what follows it, and to what goes with it

    @cached_property
    def popular(self) -> IntArray:
        """The most popular rows of the last week and of the last month, each best first."""
        n = min(N_POPULAR, len(self.popularity) - 1)
        lists = [np.argsort(-self.popularity[1:, half_life], kind="stable")[:n] + 1 for half_life in (_WEEK, _MONTH)]
        return np.concatenate(lists).astype(np.int64)

    @cached_property
    def n_brands(self) -> int:
        """Brands that products have, and none."""
        return int(self.brand.max(initial=0)) + 1

    def save(self, path: Path) -> None:
        """Write all arrays to one file."""
        arrays: dict[str, NDArray[Any]] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Neighbours | Favourites):
                arrays |= {f"{one.name}.{part.name}": getattr(value, part.name) for part in fields(value)}
            else:
                arrays[one.name] = value
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises KeyError where the file is of another version."""
        with np.load(path, allow_pickle=False) as arrays:
            found: dict[str, Any] = {}
            for one in fields(cls):
                if isinstance(one.type, type) and issubclass(one.type, Neighbours | Favourites):
                    found[one.name] = one.type(*(arrays[f"{one.name}.{part.name}"] for part in fields(one.type)))
                else:
                    found[one.name] = arrays[one.name]
        return cls(**found)
