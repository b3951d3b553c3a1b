"""A file of user-item interactions in, histories with their last baskets held out: the published protocols' split.

Per user the last basket is the test target and the one before it the validation target; leave-one-out is the case of one
item per basket. Time counts baskets back from each user's end, so that what lies last is equally recent for all.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from features.arrays import BoolArray, FloatArray, IntArray
from features.errors import InputError
from features.ids import numbering
from features.vocabulary import Columns
from training.data.frames import called, customer_names, moments, names, read_frame
from training.data.interactions import SECONDS_PER_DAY, Interactions, Side
from training.evaluation.ranking import Targets

LEAVE_ONE_OUT: Final = "leave-one-out"
NEXT_BASKET: Final = "next-basket"
PROTOCOLS: Final = (LEAVE_ONE_OUT, NEXT_BASKET)
_N_ASKED: Final = 4
"""Moments, counted from the end, that anybody is asked about or learned from at."""
_OTHER_NAMES: Final = {
    Columns.CUSTOMER_ID: "user_id",
    Columns.PRODUCT_ID: "item_id",
    Columns.OCCURRED_AT: "timestamp",
}
"""The event schema's names, where a file has those."""
_ORDERS: Final = ("position", "timestamp", "basket_position", "basket position", "basket", "basket_id")


@dataclass(frozen=True)
class HeldOut:
    """`left` (n,) says how many baskets of the same user follow each line; `users` are those with at least three.

    A day of `lines.time` is one basket. `clock` (n,) is the time of each line in the file's own units, NaN without one.
    """

    lines: Interactions
    left: IntArray
    users: IntArray
    clock: FloatArray

    @property
    def now(self) -> float:
        """The moment after everything, in the time of `lines`."""
        return float(self.lines.time.max()) + SECONDS_PER_DAY

    def at(self, n_left: int) -> float:
        """The moment of the baskets with `n_left` after them, in the time of `lines`: all that lies before is known then."""
        return float(self.lines.time.max()) - n_left * SECONDS_PER_DAY

    def known(self, n_held_out: int) -> Interactions:
        """Everything but the last `n_held_out` baskets of each user that is asked about."""
        return self.lines.select(self._known(n_held_out))

    def dated(self, n_held_out: int) -> tuple[Interactions, float]:
        """The same with the file's own clock (where it has one) scaled to a span of 1,000 days, and its end."""
        mask = self._known(n_held_out)
        data = self.lines.select(mask)
        clock = self.clock[mask]
        if not np.isfinite(clock).all():
            return data, self.now
        span = max(float(clock.max() - clock.min()), 1e-9)
        days = (clock - clock.min()) / span * 1000.0
        dated = Interactions(
            data.customer, data.item, data.basket, days * SECONDS_PER_DAY, data.n_customers, data.n_items
        )
        return dated, 1000.0 * SECONDS_PER_DAY

    def targets(self, n_left: int) -> tuple[IntArray, Targets]:
        """The users who have a history before it, and what the basket with `n_left` after it held."""
        asked = np.zeros(self.lines.n_customers, bool)
        asked[self.users] = True
        asked &= np.bincount(self.lines.customer, self.left > n_left, minlength=len(asked)) > 0
        users = np.flatnonzero(asked)
        number = np.cumsum(asked) - 1
        rows = np.flatnonzero((self.left == n_left) & asked[self.lines.customer])
        return users, Targets.from_pairs(number[self.lines.customer[rows]], self.lines.item[rows], len(users))

    def _known(self, n_held_out: int) -> BoolArray:
        asked = np.zeros(self.lines.n_customers, bool)
        asked[self.users] = True
        return (self.left >= n_held_out) | ~asked[self.lines.customer]


def read_held_out(path: Path, protocol: str) -> HeldOut:
    """Read a CSV or Parquet with user_id, item_id, and position or timestamp (next-basket: the number of the basket).

    What the columns kind and channel say, where there are any, become the lines' `sides`. Ties keep the file's
    order. Raises InputError for another protocol or a file that cannot be used.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"The protocol {protocol!r} is not available.", repair=f"Use one of {', '.join(PROTOCOLS)}.")
    table = called(read_frame(path), _OTHER_NAMES)
    order = next((name for name in _ORDERS if name in table.columns), None)
    if order is None or not {"user_id", "item_id"} <= set(table.columns):
        raise InputError(
            f"{path} has the columns {', '.join(map(str, table.columns))}.",
            repair="It needs user_id, item_id, and position or timestamp.",
        )
    table = table.assign(user_id=customer_names(table["user_id"]), item_id=names(table["item_id"]))
    empty = table[["user_id", "item_id", order]].isna().any(axis=1)
    if empty.any():
        raise InputError(
            f"{path}: row {int(np.flatnonzero(empty)[0]) + 1} has no user_id, item_id or {order}.",
            repair="Leave such rows out.",
        )
    held_out = _numbered(table, order, protocol == NEXT_BASKET)
    if not len(held_out.users):
        unit = "baskets" if protocol == NEXT_BASKET else "interactions"
        raise InputError(f"{path} has no user with three {unit}.", repair="Give longer histories.")
    return held_out


def _numbered(table: pd.DataFrame, order: str, by_basket: bool) -> HeldOut:
    user, _ = numbering(table["user_id"])
    item, items = numbering(table["item_id"])
    clock = _clock(table)
    moment, _ = pd.factorize(clock if order == "timestamp" else _number(table[order]), sort=True)
    rows = np.lexsort((moment, user))
    user, item, moment, clock = user[rows].astype(np.int64), item[rows].astype(np.int64) + 1, moment[rows], clock[rows]
    sides = _sides(table.iloc[rows])
    new = np.ones(len(user), bool)
    if by_basket:
        new[1:] = (user[1:] != user[:-1]) | (moment[1:] != moment[:-1])
    basket = np.cumsum(new) - 1
    if by_basket:
        kept = np.sort(np.unique(basket * (len(items) + 1) + item, return_index=True)[1])
        user, item, basket, clock = user[kept], item[kept], basket[kept], clock[kept]
        sides = {name: Side(side.code[kept], side.n_codes) for name, side in sides.items()}
    n_users = int(user.max()) + 1
    last = np.zeros(n_users, np.int64)
    np.maximum.at(last, user, basket)
    left = last[user] - basket
    first = np.full(n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, user, basket)
    asked = last - first >= 2
    # Those who are never asked about are known whole at every moment that is.
    back = np.where(asked[user], left, left + _N_ASKED)
    time = (int(back.max()) - back) * SECONDS_PER_DAY
    lines = Interactions(user, item, basket, time.astype(np.float64), n_users, len(items), sides)
    return HeldOut(lines, left, np.flatnonzero(asked), clock)


def _sides(table: pd.DataFrame) -> dict[str, Side]:
    """Kind and channel of each line, where the file names them."""
    found = {}
    for name in (Columns.KIND, Columns.CHANNEL):
        if name in table.columns:
            code, words = pd.factorize(table[name].astype("string"), sort=True)
            found[name] = Side(code.astype(np.int64) + 1, len(words) + 1)
    return found


def _number(column: pd.Series) -> pd.Series:
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError) as error:
        raise InputError(f"{column.name}: {error}.", repair=f"Write every {column.name} as a number.") from error


def _clock(table: pd.DataFrame) -> FloatArray:
    if "timestamp" not in table.columns:
        return np.full(len(table), np.nan)
    column = table["timestamp"]
    if not pd.api.types.is_numeric_dtype(column):
        return moments(column, "timestamp").dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64) / 1e6
    return column.to_numpy(np.float64)
