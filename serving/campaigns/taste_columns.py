"""Live states and the product table in, what each customer likes by category and brand out, as columns of an audience.

top_category, top_category_share, top_category_affinity, and the same of brands, are always there; `category_share('WINE')` is
asked for as a column, category_share_wine, and so are category_affinity_wine, brand_share_acme and brand_affinity_acme.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from features.arrays import FloatArray, IntArray
from features.attributes.declared import slug
from features.attributes.tastes import AXES, ProductGroups, Tastes
from features.errors import InputError
from features.online.live import LiveState
from features.state import layout
from features.state.batch import Ragged
from features.state.event_arrays import product_code
from features.vocabulary import DAY_S, Columns
from serving.products.catalogue import Catalogue

MEASURES: Final = ("share", "affinity")


class TasteColumns:
    """Gathers what customers bought, part by part, and tells their tastes when everybody is known."""

    def __init__(self, catalogue: Catalogue, named: Iterable[str]) -> None:
        """`named` are the columns of a condition; those of no taste are passed over. Raises InputError for no group's name."""
        products = catalogue.columns(catalogue.product_ids)
        of_axis = {Columns.CATEGORY: products.category, Columns.BRAND: products.brand}
        self._groups = {axis: ProductGroups.of(catalogue.product_ids, of_axis[axis], product_code) for axis in AXES}
        self._wanted = [found for name in named if (found := self._place(name.lower())) is not None]
        self._rows: list[IntArray] = []
        self._products: list[IntArray] = []
        self._weights: list[FloatArray] = []
        self._n = 0

    def add(self, lives: Sequence[LiveState], as_of_s: FloatArray) -> None:
        """More customers, as of a moment each (n,)."""
        habits = Ragged.concat([live.scored.habit_product for live in lives])
        stats = np.concatenate([live.scored.habit_stats.values for live in lives])
        rows = habits.rows()
        age_days = (as_of_s[rows] - stats[:, layout.HABIT_LAST]) / DAY_S
        self._rows.append(rows + self._n)
        self._products.append(habits.values)
        self._weights.append(stats[:, layout.HABIT_WEIGHT] * np.exp2(-age_days / layout.HABIT_HALF_LIFE_DAYS))
        self._n += len(lives)

    def beside(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table of everybody who was added, in their order, with the columns of their tastes."""
        rows, products = np.concatenate(self._rows), np.concatenate(self._products)
        weights = np.concatenate(self._weights)
        columns: dict[str, Any] = {}
        for axis in AXES:
            tastes = Tastes.of(rows, products, weights, self._n, self._groups[axis])
            names, share, affinity = tastes.top()
            columns |= {f"top_{axis}": np.array(names, object)}
            columns |= {f"top_{axis}_share": share, f"top_{axis}_affinity": affinity}
            for column, _, measure, name in (wanted for wanted in self._wanted if wanted[1] == axis):
                columns[column] = tastes.share(name) if measure == "share" else tastes.affinity(name)
        return table.assign(**columns)

    def _place(self, column: str) -> tuple[str, str, str, str] | None:
        """The column, the axis, the measure and the group of a named column; None for a column of another kind."""
        for axis in AXES:
            for measure in MEASURES:
                start = f"{axis}_{measure}_"
                if column.startswith(start):
                    return column, axis, measure, self._group(axis, column.removeprefix(start))
        return None

    def _group(self, axis: str, plain: str) -> str:
        known = {slug(name): name for name in reversed(self._groups[axis].names)}
        if plain not in known:
            near = difflib.get_close_matches(plain, known, n=5, cutoff=0.3) or sorted(known)[:5]
            raise InputError(
                f"No {axis} of the product table is called {plain!r} in small letters, digits and _.",
                repair=f"Some that are: {', '.join(near)}."
                if near
                else "Bring products with their categories and brands.",
            )
        return known[plain]
