"""Offers and a table of products in, what each offer promotes; one customer's ranking in, the best that may be offered of it.

Offers that promote the same products share one set: two hundred offers are mostly about a few categories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import BoolArray, Float32Array, IntArray
from features.state.jit import compiled
from serving.decision.rules import Rules, is_due
from serving.offers.shelf import ShelfOffer
from serving.products.eligibility import ProductTable
from serving.products.history import PurchaseHistory

_REBUYS: Final = ("any", "due", "never")
Refusal = Callable[[int], str | None]
"""Why the product of a column must not be offered to this customer, or None where it may be."""


@dataclass(frozen=True, eq=False)
class Promoted:
    """What O offers promote of the V products of a table, in S sets."""

    rows: IntArray
    """The products of all sets, set after set."""
    starts: IntArray
    """Where each set begins in `rows` (S + 1,)."""
    rebuys: IntArray
    """Which products bought before each set leaves (S,), by their place in `_REBUYS`."""
    set_of: IntArray
    """The set of each offer (O,); -1 for one that promotes no product."""

    @classmethod
    def of(cls, offers: Sequence[ShelfOffer], table: ProductTable) -> "Promoted":
        """What offers promote of a table's products."""
        sets: dict[tuple[object, ...], int] = {}
        members: list[IntArray] = []
        set_of = np.full(len(offers), -1, np.int64)
        for number, ready in enumerate(offers):
            offer = ready.offer
            if offer.promotes == "nothing":
                continue
            key = (offer.rebuys, offer.products, offer.categories, offer.brands)
            if key not in sets:
                sets[key] = len(sets)
                promoted = ready.promoted(table)
                members.append(np.arange(len(table)) if promoted is None else promoted)
            set_of[number] = sets[key]
        starts = np.cumsum([0, *(len(rows) for rows in members)])
        rows = np.concatenate([*members, np.empty(0, np.int64)]).astype(np.int64)
        return cls(rows, starts, np.array([_REBUYS.index(str(key[0])) for key in sets], np.int64), set_of)

    def best(
        self,
        scores: Float32Array,
        allowed: BoolArray,
        histories: PurchaseHistory,
        table: ProductTable,
        rules: Rules,
        refusal: Refusal,
    ) -> "BestProducts":
        """The best product of each set for one customer, of scores (V,), and the better ones that `refusal` passes over."""
        n_sets = len(self.rebuys)
        opened = np.stack([allowed, allowed, allowed]) if self.rebuys.any() else allowed[None]
        if self.rebuys.any():
            for code, history in histories.all.items():
                column = table.row_of_code.get(code)
                if column is not None:
                    opened[1, column] &= is_due(history, rules)
                    opened[2, column] = False
        else:
            opened = opened.copy()
        columns = np.full(n_sets, -1, np.int64)
        passed: list[list[tuple[int, str]]] = [[] for _ in range(n_sets)]
        said: dict[int, str | None] = {}
        open_sets = np.arange(n_sets)
        while len(open_sets):
            _best_of_sets(scores, opened, self.rebuys, self.rows, self.starts, open_sets, columns)
            again = []
            for number in open_sets.tolist():
                column = int(columns[number])
                if column < 0:
                    continue
                if column not in said:
                    said[column] = refusal(column)
                reason = said[column]
                if reason is not None:
                    passed[number].append((column, reason))
                    again.append(number)
            for number in again:
                opened[:, columns[number]] = False
            open_sets = np.array(again, np.int64)
        return BestProducts(columns, passed)


@dataclass(frozen=True, eq=False)
class BestProducts:
    """One customer's best product of each of S sets."""

    columns: IntArray
    """(S,) columns of the table; -1 where nothing of the set may be offered."""
    passed: Sequence[Sequence[tuple[int, str]]]
    """Of each set the better products that must not be offered, and why."""


@compiled
def _best_of_sets(
    scores: Float32Array,
    opened: BoolArray,
    rebuys: IntArray,
    rows: IntArray,
    starts: IntArray,
    which: IntArray,
    columns: IntArray,
) -> None:
    """Write the column of the highest score that is open to each of the sets `which` into `columns`, -1 where none is."""
    for number in which:
        best, highest = -1, np.float32(0.0)
        is_open = opened[rebuys[number]]
        for place in range(starts[number], starts[number + 1]):
            row = rows[place]
            if is_open[row] and (best < 0 or scores[row] > highest):
                best, highest = row, scores[row]
        columns[number] = best
