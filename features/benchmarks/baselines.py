"""Events in a DataFrame come in; the decayed features of each customer, as of their last moments, go out: by SQL, by pandas.

What one would write without a fold, and the measure that the fold is held to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays import FloatArray, IntArray
from features.state import layout
from features.state.batch import rows_in_buffers
from features.state.layout import OCCASION_GAP_S, RowBuffers
from features.vocabulary import DAY_S, HALF_LIVES_DAYS, KIND_CODES

_PURCHASE: Final = KIND_CODES["purchase"]
_RETURN: Final = KIND_CODES["return"]


@dataclass(frozen=True)
class PairFeatures:
    """The features that all ways compute."""

    pair_keys: IntArray  # (m, 2) customer and channel * kinds + kind, ascending
    pairs: FloatArray  # (m, PAIR_WIDTH) last time, total, decayed counts, decayed values
    buyers: IntArray  # (b,) customers who purchased, ascending
    occasions: FloatArray  # (b, 2 + half-lives) last occasion, occasions ever, decayed occasions

    @classmethod
    def concat(cls, parts: "Sequence[PairFeatures]") -> "PairFeatures":
        """All features of customers in ascending parts."""
        return cls(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))

    def difference(self, other: "PairFeatures") -> float:
        """The largest relative difference; infinite where the two are not about the same customers and pairs."""
        if not np.array_equal(self.pair_keys, other.pair_keys) or not np.array_equal(self.buyers, other.buyers):
            return float("inf")
        largest = 0.0
        for mine, theirs in ((self.pairs, other.pairs), (self.occasions, other.occasions)):
            # sums that have decayed to nothing differ by nothing that matters
            scale = np.maximum(np.maximum(np.abs(mine), np.abs(theirs)), 1e-9)
            largest = max(largest, float(np.max(np.abs(mine - theirs) / scale, initial=0.0)))
        return largest


def from_rows(rows: RowBuffers, n: int) -> PairFeatures:
    """The same features out of `n` encoded state rows of different customers, ascending."""
    states, customers = rows_in_buffers(rows, n), rows.customer[:n]
    keys = np.column_stack([customers[states.pair_codes.rows()], states.pair_codes.values])
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    bought = ~np.isnan(states.scalar("last_occasion"))
    first = layout.OCCASIONS
    columns = [layout.LAST_OCCASION, layout.N_OCCASIONS, *range(first, first + len(HALF_LIVES_DAYS))]
    return PairFeatures(
        keys[order].astype(np.int64),
        states.pair_stats.values[order],
        customers[bought],
        states.scalars[bought][:, columns],
    )


def without_returned(events: pd.DataFrame) -> pd.DataFrame:
    """The events without purchases that were brought back, or with the share of their value that was kept; by plain Python.

    `events` are sorted by customer and time and have product and quantity; a return takes from the newest purchases.
    """
    left = events["quantity"].fillna(1.0).to_numpy(copy=True)
    units = left.copy()
    stacks: dict[tuple[int, int], list[int]] = {}
    rows = zip(events["customer"], events["kind"], events["product"], strict=True)
    for i, (customer, kind, product) in enumerate(rows):
        if kind == _PURCHASE:
            stacks.setdefault((customer, product), []).append(i)
        elif kind == _RETURN:
            back = left[i]
            bought = stacks.get((customer, product), [])
            while back > 0 and bought:
                taken = min(back, left[bought[-1]])
                left[bought[-1]] -= taken
                back -= taken
                if left[bought[-1]] <= 0:
                    bought.pop()
    is_purchase = (events["kind"] == _PURCHASE).to_numpy()
    kept = np.where(is_purchase, left / units, 1.0)
    return events.assign(value=events["value"] * kept)[kept > 0]


def by_sql(events: pd.DataFrame) -> PairFeatures:
    """DuckDB's window functions, one thread."""
    table = pa.table({name: pa.array(events[name], from_pandas=True) for name in events.columns})

    def decayed(amount: str) -> str:
        return ", ".join(f"sum({amount} * pow(2.0, (time - last) / {days * DAY_S}))" for days in HALF_LIVES_DAYS)

    pairs = f"""
        WITH timed AS (SELECT *, max(time) OVER (PARTITION BY customer, channel, kind) AS last FROM events)
        SELECT customer, channel::BIGINT * {layout.N_KINDS} + kind AS pair, max(time), count(*),
            {decayed("1.0")}, {decayed("coalesce(value, 0.0)")}
        FROM timed GROUP BY customer, pair ORDER BY customer, pair
    """
    occasions = f"""
        WITH purchases AS (
            SELECT customer, time, time - lag(time) OVER (PARTITION BY customer ORDER BY time) AS gap
            FROM events WHERE kind = {_PURCHASE}
        ), occasions AS (
            SELECT customer, time, max(time) OVER (PARTITION BY customer) AS last
            FROM purchases WHERE gap IS NULL OR gap > {OCCASION_GAP_S}
        )
        SELECT customer, max(time), count(*), {decayed("1.0")} FROM occasions GROUP BY customer ORDER BY customer
    """
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("events", table)
        matrices = [_matrix(connection.sql(query).fetchnumpy()) for query in (pairs, occasions)]
    return PairFeatures(
        matrices[0][:, :2].astype(np.int64), matrices[0][:, 2:], matrices[1][:, 0].astype(np.int64), matrices[1][:, 1:]
    )


def by_pandas(events: pd.DataFrame) -> PairFeatures:
    """Pandas' groupby."""
    pair = events["channel"].astype(np.int64) * layout.N_KINDS + events["kind"]
    keys = [events["customer"], pair.rename("pair")]
    last = events.groupby(keys)["time"].transform("max")
    columns = {"last": events["time"], "total": pd.Series(1.0, index=events.index)}
    for name, amount in (("count", 1.0), ("value", events["value"].fillna(0.0))):
        for days in HALF_LIVES_DAYS:
            columns[f"{name}_{days:g}"] = amount * np.exp2((events["time"] - last) / (days * DAY_S))
    how = {name: "max" if name == "last" else "sum" for name in columns}
    pairs = pd.DataFrame(columns).groupby(keys).agg(how)

    bought = events.loc[events["kind"] == _PURCHASE, ["customer", "time"]]
    gap = bought.groupby("customer")["time"].diff()
    starts = bought[gap.isna() | (gap > OCCASION_GAP_S)]
    since = starts["time"] - starts.groupby("customer")["time"].transform("max")
    columns = {"last": starts["time"], "total": pd.Series(1.0, index=starts.index)}
    columns |= {f"count_{days:g}": np.exp2(since / (days * DAY_S)) for days in HALF_LIVES_DAYS}
    how = {name: "max" if name == "last" else "sum" for name in columns}
    occasions = pd.DataFrame(columns).groupby(starts["customer"]).agg(how)
    return PairFeatures(
        pairs.index.to_frame().to_numpy(np.int64),
        pairs.to_numpy(),
        occasions.index.to_numpy(np.int64),
        occasions.to_numpy(),
    )


BASELINES: Final[dict[str, Callable[[pd.DataFrame], PairFeatures]]] = {
    "DuckDB SQL windows": by_sql,
    "pandas groupby": by_pandas,
}


def _matrix(columns: dict[str, Any]) -> FloatArray:
    return np.column_stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
