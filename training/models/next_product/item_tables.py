"""Purchases and the product table as of a moment in, what ranks products beside the network out (`Companions`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from features.arrays import Float32Array
from features.events.payload import store_code
from features.scoring.item_tables import POPULARITY_DAYS, Companions, Favourites, Neighbours
from features.sql import connect_bounded
from features.vocabulary import CHANNEL_CODES, Columns
from training.data.interactions import SECONDS_PER_DAY, Interactions
from training.models.next_product.data import ProductVocabulary
from training.models.recommenders.baselines import ItemKnn, SequenceRules

_N_TIES: Final = 30
_N_LOCAL: Final = 64
_N_BEST: Final = 8
_SMOOTHING: Final = 0.05
_LOCAL_HALF_LIFE_DAYS: Final = 28.0
_IN_CATEGORY: Final = POPULARITY_DAYS.index(14.0)


class CompanionBuilder:
    """Companions of one vocabulary as of any moment."""

    def __init__(
        self, lines: Interactions, vocabulary: ProductVocabulary, products: Path, timeline: Path, window_days: float
    ) -> None:
        """Reads the product table (may be missing) and where purchases were made; rules come from `window_days`."""
        self._lines, self._vocabulary, self._window_days = lines, vocabulary, window_days
        table = _product_table(products, vocabulary.product_ids)
        self.category, self._brand = (_codes(table[name]) for name in (Columns.CATEGORY, Columns.BRAND))
        price = table[Columns.PRICE].to_numpy(np.float64, na_value=np.nan)
        self._log_price = np.concatenate(([np.nan], np.log(np.where(price > 0, price, np.nan)))).astype(np.float32)
        self._stores, self._channels = _places(timeline, vocabulary.product_ids)

    def at(self, now: float) -> Companions:
        """What purchases strictly before `now` (seconds) say."""
        lines, rows = self._lines.before(now), np.concatenate(([0], self._vocabulary.catalogue_rows))
        rules = SequenceRules.fit(
            lines, now, max_distance=2, normalisation=0.5, shrinkage=20.0, window_days=self._window_days
        )
        pairs = ItemKnn.fit(lines, now, shrinkage=20.0, min_count=3, window_days=self._window_days)
        counts = np.stack(
            [np.bincount(lines.item, lines.decay(days, now), lines.n_items + 1)[rows] for days in POPULARITY_DAYS], 1
        )
        popularity = np.log(counts + _SMOOTHING)
        popularity[0] = 0.0
        return Companions(
            popularity=popularity.astype(np.float32),
            rules=_strongest(rules.rules[rows][:, rows]),
            pairs=_strongest(pairs.similarity[rows][:, rows]),
            category=self.category,
            brand=self._brand,
            log_price=self._log_price,
            in_category=_share_of_group(self.category, counts[:, _IN_CATEGORY]),
            category_best=_best_of_group(self.category, counts[:, _IN_CATEGORY]),
            stores=_favourites(self._stores, now, len(rows)),
            channels=_favourites(self._channels, now, len(rows)),
        )


def _product_table(path: Path, product_ids: Sequence[str]) -> pd.DataFrame:
    columns = [Columns.CATEGORY, Columns.BRAND, Columns.PRICE]
    if not path.exists():
        return pd.DataFrame(None, index=list(product_ids), columns=columns)
    table = pq.read_table(path, columns=[Columns.PRODUCT_ID, *columns]).to_pandas()
    return table.drop_duplicates(Columns.PRODUCT_ID).set_index(Columns.PRODUCT_ID).reindex(list(product_ids))


def _codes(words: pd.Series) -> NDArray[np.int32]:
    """Words (V,) as numbers from 1 (V + 1,); 0 for none."""
    found, _ = pd.factorize(words, sort=True)
    return np.concatenate(([0], found + 1)).astype(np.int32)


def _places(timeline: Path, product_ids: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every purchase of a product of the vocabulary at a store, and on a channel: place, row, time."""
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


def _strongest(ties: sparse.csr_array) -> Neighbours:
    """The `_N_TIES` largest entries of each row."""
    ties = ties.tocsr()
    n = ties.shape[0]
    owner = np.repeat(np.arange(n), np.diff(ties.indptr))
    order = np.lexsort((ties.indices, -ties.data, owner))
    place = np.arange(len(order)) - ties.indptr[owner[order]]
    kept = (place < _N_TIES) & (ties.data[order] > 0) & (owner[order] > 0) & (ties.indices[order] > 0)
    item, weight = np.zeros((n, _N_TIES), np.int32), np.zeros((n, _N_TIES), np.float32)
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
