"""A vocabulary's products in, how much each was bought as of any moment of a fit out: from the feature store, or from lines."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Protocol, Self

from features.arrays import FloatArray, IntArray
from features.scoring.popularity import counts_of
from features.state.event_arrays import product_code
from features.state.products import ProductStates, fold_purchases
from training.data.interactions import Interactions


class ProductSource(Protocol):
    """What this module needs of features.store.feature_store.Store."""

    def training_products(self, moments: Sequence[datetime]) -> list[ProductStates]:
        """How much every product had sold strictly before each of `moments`."""
        ...


class ProductHistory:
    """Decayed purchase counts of products whose codes (V,) are given."""

    def __init__(self, code: IntArray, states_at: Callable[[float], ProductStates]) -> None:
        """`states_at` answers what purchases before a moment (seconds) say."""
        self._code = code
        self._states_at = cache(states_at)

    def counts(self, at: float) -> FloatArray:
        """Counts (V + 1, len(POPULARITY_DAYS)) as of a moment, row 0 padding."""
        return counts_of(self._states_at(at), self._code, at)

    @classmethod
    def of_store(cls, store: ProductSource, product_ids: Sequence[str], moments: Sequence[datetime]) -> Self:
        """As of `moments`, and of no others, through the feature store."""
        states = store.training_products(moments)
        at = {moment.timestamp(): found for moment, found in zip(moments, states, strict=True)}
        return cls(product_code(product_ids), at.__getitem__)

    @classmethod
    def of_lines(cls, lines: Interactions, catalogue_rows: IntArray) -> Self:
        """As of any moment, from a file of interactions; a product's code is its row in the catalogue."""

        def states_at(at: float) -> ProductStates:
            past = lines.before(at)
            return fold_purchases(ProductStates.empty(), past.item, past.time)

        return cls(catalogue_rows, states_at)
