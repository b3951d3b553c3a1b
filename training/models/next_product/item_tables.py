"""Purchases and the product table as of a moment in, what ranks products beside the network out (`Companions`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from features.arrays import Float32Array
from features.events.payload import store_code
from features.scoring.item_tables import POPULARITY_DAYS, Companions, Favourites, Neighbours
from features.sql import connect_bounded
from features.vocabulary import CHANNEL_CODES, Columns
from training.data.interactions import SECONDS_PER_DAY, Interactions
from training.models.next_product.data import ProductVocabulary
from training.models.recommenders.baselines import ItemKnn, SequenceRules

_HALF_LIFE_DAYS: Final = 21.0
_N_LOCAL: Final = 64
_N_BEST: Final = 8
_SMOOTHING: Final = 0.05
_LOCAL_HALF_LIFE_DAYS: Final = 28.0
_IN_CATEGORY: Final = POPULARITY_DAYS.index(14.0)


Settings = Mapping[str, Any]


class TablesConfig(BaseModel):
    """How products point to each other; where a setting has several values, the validation period chooses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: dict[str, list[Any]] = {
        "max_distance": [2],
        "normalisation": [0.5],
        "shrinkage": [20.0],
        "window_days": [120.0],
        "half_life_days": [21.0],
    }
    """What follows a product: settings of `SequenceRules.fit`."""
    item_knn: dict[str, list[Any]] = {
        "shrinkage": [20.0],
        "min_count": [3.0],
        "window_days": [120.0],
        "half_life_days": [21.0],
    }
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
        self, lines: Interactions, vocabulary: ProductVocabulary, products: Path | None, timeline: Path | None
    ) -> None:
        """Reads the product table (may be missing) and where purchases were made; a file of interactions knows neither."""
        self._lines, self._vocabulary = lines, vocabulary
        table = _product_table(products, vocabulary.product_ids)
        self.category, self._brand = (_codes(table[name]) for name in (Columns.CATEGORY, Columns.BRAND))
        price = table[Columns.PRICE].to_numpy(np.float64, na_value=np.nan)
        self._log_price = np.concatenate(([np.nan], np.log(np.where(price > 0, price, np.nan)))).astype(np.float32)
        self._stores, self._channels = _places(timeline, vocabulary.product_ids)

    def at(self, now: float, settings: TableSettings) -> Companions:
        """What purchases strictly before `now` (seconds) say."""
        lines, rows = self._lines.before(now), np.concatenate(([0], self._vocabulary.catalogue_rows))
        rules = SequenceRules.fit(lines, now, **settings.rules).rules
        pairs = ItemKnn.fit(lines, now, **settings.item_knn).similarity
        counts = np.stack(
            [np.bincount(lines.item, lines.decay(days, now), lines.n_items + 1)[rows] for days in POPULARITY_DAYS], 1
        )
        popularity = np.log(counts + _SMOOTHING)
        popularity[0] = 0.0
        half_lives = [kind.get("half_life_days", _HALF_LIFE_DAYS) for kind in (settings.rules, settings.item_knn)]
        return Companions(
            popularity=popularity.astype(np.float32),
            rules=_strongest(rules[rows][:, rows], settings.n_neighbors),
            pairs=_strongest(pairs[rows][:, rows], settings.n_neighbors),
            category=self.category,
            brand=self._brand,
            log_price=self._log_price,
            in_category=_share_of_group(self.category, counts[:, _IN_CATEGORY]),
            category_best=_best_of_group(self.category, counts[:, _IN_CATEGORY]),
            stores=_favourites(self._stores, now, len(rows)),
            channels=_favourites(self._channels, now, len(rows)),
            half_life_days=np.array(half_lives, np.float32),
        )


def _product_table(path: Path | None, product_ids: Sequence[str]) -> pd.DataFrame:
    columns = [Columns.CATEGORY, Columns.BRAND, Columns.PRICE]
    if path is None or not path.exists():
        return pd.DataFrame(None, index=list(product_ids), columns=columns)
    table = pq.read_table(path, columns=[Columns.PRODUCT_ID, *columns]).to_pandas()
    return table.drop_duplicates(Columns.PRODUCT_ID).set_index(Columns.PRODUCT_ID).reindex(list(product_ids))


def _codes(words: pd.Series) -> NDArray[np.int32]:
    """Words (V,) as numbers from 1 (V + 1,); 0 for none."""
    found, _ = pd.factorize(words, sort=True)
    return np.concatenate(([0], found + 1)).astype(np.int32)


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


def _share_of_group(group: NDArray[np.int32], count: NDArray[Any]) -> Float32Array:
    """Log of each product's share of its group's purchases; 0 where it has no group."""
    total = np.bincount(group, count)
    share = np.log((count + _SMOOTHING) / (total[group] + _SMOOTHING))
    return np.where(group > 0, share, 0.0).astype(np.float32)


def _best_of_group(group: NDArray[np.int32], count: NDArray[Any]) -> NDArray[np.int32]:
    """The best sellers (K + 1, B) of every group, best first."""
    best = np.zeros((int(group.max(initial=0)) + 1, _N_BEST), np.int32)
    rows = np.flatnonzero(group > 0)
    rows = rows[np.lexsort((rows, -count[rows], group[rows]))]
    starts = np.searchsorted(group[rows], group[rows])
    place = np.arange(len(rows)) - starts
    kept = place < _N_BEST
    best[group[rows][kept], place[kept]] = rows[kept]
    return best


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
