"""Companions of a few products that say nothing, for tests to say something with."""

from typing import Any

import numpy as np

from features.scoring.item_tables import Companions, Favourites, Neighbours
from features.state.products import POPULARITY_DAYS


def made_companions(n_products: int, **said: Any) -> Companions:
    """Companions of `n_products`, nothing popular and nothing tied, with the fields `said` in place."""
    rows = n_products + 1
    nowhere = Favourites(np.empty(0), np.zeros((1, 2), np.int32), np.zeros((1, 2), np.float32))
    nothing = Neighbours(np.zeros((rows, 2), np.int32), np.zeros((rows, 2), np.float32))
    quiet: dict[str, Any] = {
        "popularity": np.zeros((rows, len(POPULARITY_DAYS)), np.float32),
        "rules": nothing,
        "pairs": nothing,
        "category": np.zeros(rows, np.int32),
        "brand": np.zeros(rows, np.int32),
        "log_price": np.full(rows, np.nan, np.float32),
        "in_category": np.zeros(rows, np.float32),
        "category_best": np.zeros((1, 2), np.int32),
        "stores": nowhere,
        "channels": nowhere,
        "half_life_days": np.array([21.0, 21.0], np.float32),
    }
    return Companions(**quiet | said)
