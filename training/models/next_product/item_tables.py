"""Purchases and the product table as of a moment in, what ranks products beside the network out (`Companions`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from features.config import Config
from features.errors import StoreError
from features.events.payload import store_code
from features.ids import with_text_ids
from features.scoring.item_tables import Companions, Favourites, Neighbours
from features.scoring.popularity import ProductFacts, as_popular_as
from features.sql import connect_bounded
from features.state.products import POPULARITY_DAYS
from features.vocabulary import CHANNEL_CODES, Columns
from training.data.interactions import SECONDS_PER_DAY, Interactions
from training.models.next_product.data import ProductVocabulary
from training.models.next_product.history import ProductHistory
from training.models.recommenders.baselines import ItemKnn, SequenceRules

_HALF_LIFE_DAYS: Final = 21.0
_N_LOCAL: Final = 64
_LOCAL_HALF_LIFE_DAYS: Final = 28.0


Settings = Mapping[str, Any]


class TablesConfig(Config):
    """How products point to each other; where a setting has several values, the validation period chooses."""

    rules: dict[str, list[Any]] = Field(
        {
            "max_distance": [2],
            "normalisation": [0.5],
            "shrinkage": [20.0],
            "window_days": [120.0],
            "half_life_days": [21.0],
        }
    )
    """What follows a product: settings of `SequenceRules.fit`."""
    item_knn: dict[str, list[Any]] = Field(
        {
            "shrinkage": [20.0],
            "min_count": [3.0],
            "window_days": [120.0],
            "half_life_days": [21.0],
        }
    )
    """What goes with a product: settings of `ItemKnn.fit`."""
    n_neighbors: int = Field(30, ge=1)
    """Strongest neighbours of each product that are kept."""


@dataclass(frozen=True)
class TableSettings:
    """The chosen settings of both kinds of neighbours."""

    rules: Settings
    item_knn: Settings
    n_neighbors: int

    def to_dict(self) -> dict[str, Any]:
        """What a model's metadata says of how its tables were made."""
        return {"rules": dict(self.rules), "item_knn": dict(self.item_knn), "n_neighbors": self.n_neighbors}


class CompanionBuilder:
    """Companions of one vocabulary as of any moment."""

    def __init__(
        self,
        lines: Interactions,
        vocabulary: ProductVocabulary,
        history: ProductHistory,
        products: Path | None,
        timeline: Path | None,
    ) -> None:
        """Reads the product table (may be missing) and where purchases were made; a file of interactions knows neither."""
        self._lines, self._vocabulary = lines, vocabulary
        self.history = history
        self._facts = product_facts(products).of(vocabulary.product_ids).described()
        self.category: NDArray[np.int32] = self._facts.category
        self._stores, self._channels = _places(timeline, vocabulary.product_ids)

    def at(self, now: float, settings: TableSettings) -> Companions:
        """What purchases strictly before `now` (seconds) say."""
        lines, rows = self._lines.before(now), np.concatenate(([0], self._vocabulary.catalogue_rows))
        rules = SequenceRules.fit(lines, now, **settings.rules).rules
        pairs = ItemKnn.fit(lines, now, **settings.item_knn).similarity
        half_lives = [kind.get("half_life_days", _HALF_LIFE_DAYS) for kind in (settings.rules, settings.item_knn)]
        nothing_sold = np.zeros((len(rows), len(POPULARITY_DAYS)), np.float32)
        companions = Companions(
            popularity=nothing_sold,
            rules=_strongest(rules[rows][:, rows], settings.n_neighbors),
            pairs=_strongest(pairs[rows][:, rows], settings.n_neighbors),
            **vars(self._facts),
            in_category=nothing_sold[:, 0],
            category_best=np.zeros((0, 0), np.int32),
            stores=_favourites(self._stores, now, len(rows)),
            channels=_favourites(self._channels, now, len(rows)),
            half_life_days=np.array(half_lives, np.float32),
        )
        return as_popular_as(companions, self.history.counts(now))


def product_facts(path: Path | None) -> ProductFacts:
    """What the product table says; of no product where there is none. Raises StoreError for a price that is no number."""
    names = [Columns.PRODUCT_ID, Columns.CATEGORY, Columns.BRAND, Columns.PRICE]
    if path is None or not path.exists():
        return ProductFacts((), (), (), np.zeros(0))
    given = with_text_ids(pq.read_table(path, columns=names), names[:1])
    table = given.to_pandas().drop_duplicates(Columns.PRODUCT_ID)
    ids, category, brand = (table[name].astype(object).where(table[name].notna(), None).tolist() for name in names[:3])
    try:
        price = table[Columns.PRICE].to_numpy(np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{path} holds a price that is no number ({error}).", repair="Write prices as numbers."
        ) from error
    return ProductFacts(ids, category, brand, price)


def _places(timeline: Path | None, product_ids: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every purchase of a product of the vocabulary at a store, and on a channel: place, row, time."""
    if timeline is None:
        nowhere = pd.DataFrame({"place": np.empty(0), "row": np.empty(0, np.int64), "time": np.empty(0)})
        return nowhere, nowhere
    with connect_bounded() as connection:
        bought = connection.execute(
            """
            SELECT product_id, channel, store_id, epoch_us(occurred_at) / 1e6 AS time FROM read_parquet($path)
            WHERE kind = 'purchase' AND product_id IS NOT NULL
            """,
            {"path": str(timeline)},
        ).df()
    row_of = {product_id: row for row, product_id in enumerate(product_ids, start=1)}
    bought = bought.assign(row=bought[Columns.PRODUCT_ID].map(row_of)).dropna(subset="row")
    stores = bought.dropna(subset=Columns.STORE_ID)
    codes = {name: store_code(name) for name in stores[Columns.STORE_ID].unique()}
    return (
        stores.assign(place=stores[Columns.STORE_ID].map(codes))[["place", "row", "time"]],
        bought.assign(place=bought[Columns.CHANNEL].map(CHANNEL_CODES))[["place", "row", "time"]],
    )


def _strongest(ties: sparse.csr_array, n_neighbors: int) -> Neighbours:
    """The `n_neighbors` largest entries of each row."""
    ties = ties.tocsr()
    n = ties.shape[0]
    owner = np.repeat(np.arange(n), np.diff(ties.indptr))
    order = np.lexsort((ties.indices, -ties.data, owner))
    place = np.arange(len(order)) - ties.indptr[owner[order]]
    kept = (place < n_neighbors) & (ties.data[order] > 0) & (owner[order] > 0) & (ties.indices[order] > 0)
    item, weight = np.zeros((n, n_neighbors), np.int32), np.zeros((n, n_neighbors), np.float32)
    at = (owner[order][kept], place[kept])
    item[at], weight[at] = ties.indices[order][kept], ties.data[order][kept]
    return Neighbours(item, weight)


def _favourites(bought: pd.DataFrame, now: float, n_rows: int) -> Favourites:
    """What sold best at each place before `now`."""
    past = bought[bought["time"] < now]
    codes, place = np.unique(past["place"].to_numpy(np.float64), return_inverse=True)
    weight = np.exp2(-(now - past["time"].to_numpy()) / SECONDS_PER_DAY / _LOCAL_HALF_LIFE_DAYS)
    rows = past["row"].to_numpy(np.int64)
    counts = sparse.coo_array((weight, (place, rows)), shape=(len(codes), n_rows)).tocsr()
    owner = np.repeat(np.arange(len(codes)), np.diff(counts.indptr))
    order = np.lexsort((counts.indices, -counts.data, owner))
    at = np.arange(len(order)) - counts.indptr[owner[order]]
    kept = at < _N_LOCAL
    item, share = np.zeros((len(codes) + 1, _N_LOCAL), np.int32), np.zeros((len(codes) + 1, _N_LOCAL), np.float32)
    total = np.maximum(counts.sum(axis=1), 1e-9)
    owner, at, order = owner[order][kept], at[kept], order[kept]
    item[owner, at], share[owner, at] = counts.indices[order], counts.data[order] / total[owner]
    return Favourites(codes, item, share)
