"""A reader of files of logged decisions: features, log and arm names out, ready for learning and evaluating policies.

Columns: `action` (any value), `pscore`, `reward`, features `x_*` (numbers, booleans, categories, moments), and where
there `timestamp` (adds the hour and the day of the week), `customer_id` (rows of one customer stay together) and
`eligible_<action>` (true where the customer could be reached so: consent, stock; learned policies choose among those) and
`delivered` (false where nobody sent it: such a row is left out, and the arm that does nothing thinned alike; see delivery.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.errors import InputError
from features.evaluation.off_policy import DecisionLog
from features.outcomes.delivery import Delivery, delivery
from features.outcomes.named import ANSWERED, ARM, ASKER, CONTACTED
from features.vocabulary import NOTHING, Columns
from training.data.frames import customers_or_rows, moments, numbers, read_frame

ACTION: Final = "action"
PSCORE: Final = "pscore"
REWARD: Final = "reward"
TIMESTAMP: Final = "timestamp"
FEATURE_PREFIX: Final = "x_"
ELIGIBLE_PREFIX: Final = "eligible_"
DELIVERED: Final = "delivered"
MAX_LEVELS: Final = 12
"""A category's most frequent values get a column each; the others share the zeros."""
REFERENCE_WORDS: Final = ("nothing", "none", "no", "control", "holdout", "hold_out", "placebo")
"""Names, or beginnings of names before a space, dash or underscore, of the arm that does nothing."""


@dataclass(frozen=True)
class Decisions:
    """n logged decisions with their features (n, F) and the names of the arms."""

    x: Float32Array
    names: tuple[str, ...]
    log: DecisionLog
    arms: tuple[str, ...]
    hours: IntArray | None = None
    """Hour of the week of every decision, 0 to 167, where the file has a timestamp."""
    eligible: BoolArray | None = None
    """(n, arms), where the file says it of any arm; arms that it says nothing of always are."""
    not_delivered: Mapping[str, int] = field(default_factory=dict)
    """Rows that were left out because nobody sent them, by arm."""

    def reference_arm(self) -> int | None:
        """The arm that does nothing, told by its name."""
        return reference_arm(self.arms)


def read_decisions(path: Path) -> Decisions:
    """The decisions of a Parquet or CSV file. Raises InputError for a file or column that cannot be used."""
    return as_decisions(read_frame(path), str(path))


def as_decisions(table: pd.DataFrame, where: str = "the table") -> Decisions:
    """The same from a frame; `where` names it in errors."""
    missing = [name for name in (ACTION, PSCORE, REWARD) if name not in table.columns]
    if missing:
        raise InputError(
            f"{where} has no column {missing[0]!r}.",
            repair="Columns: action, pscore (the chance the action had), reward, features x_*.",
        )
    if not len(table):
        raise InputError(f"{where} holds no decision.", repair="Give a file with rows.")
    if table[ACTION].isna().any():
        raise InputError(f"{where}: action is missing in {int(table[ACTION].isna().sum())} rows.", repair="Fill it.")
    text = table[ACTION].map(_arm_name)
    left_out: Mapping[str, int] = {}
    if DELIVERED in table.columns:
        came = _came_about(table, text, where)
        left_out = {arm: n for arm, one in came.arms.items() if (n := one.not_delivered)}
        table, text = table[came.kept].reset_index(drop=True), text[came.kept].reset_index(drop=True)
        if not len(table):
            raise InputError(f"{where} holds no decision that was delivered.", repair="Give a file of what was sent.")
    arms = tuple(sorted(text.unique(), key=_natural))
    if len(arms) < 2:
        raise InputError(
            f"{where} holds the one action {arms[0]!r}: there is nothing to choose between.",
            repair="Log decisions that explore at least two actions.",
        )
    codes = text.map({name: code for code, name in enumerate(arms)}).to_numpy(np.int64)
    groups = customers_or_rows(table[Columns.CUSTOMER_ID]).to_numpy() if Columns.CUSTOMER_ID in table.columns else None
    log = DecisionLog(codes, _numbers(table, PSCORE, where), _numbers(table, REWARD, where), len(arms), groups)
    x, names = encode(table[[name for name in table.columns if str(name).startswith(FEATURE_PREFIX)]])
    hours = None
    if TIMESTAMP in table.columns:
        hours = _hours_of_week(table[TIMESTAMP], where)
        x = np.column_stack([x, hours % 24, hours // 24]).astype(np.float32)
        names = (*names, "hour of day", "day of week")
    return Decisions(x, names, log, arms, hours, _eligible(table, arms), left_out)


def encode(table: pd.DataFrame) -> tuple[Float32Array, tuple[str, ...]]:
    """Columns of any kind as numbers (n, F) and their names: categories become one column per frequent value."""
    columns: list[FloatArray] = []
    names: list[str] = []
    for name in table.columns:
        column = table[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            moments = pd.to_datetime(column, utc=True)
            days = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
            columns.append(np.asarray(days, dtype=np.float64))
            names.append(name)
        elif pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            values = np.asarray(column.astype("Float64").to_numpy(np.float64, na_value=np.nan))
            columns.append(np.where(np.isfinite(values), values, np.nan))
            names.append(name)
        else:
            text = column.astype("string")
            for level in text.value_counts().index[:MAX_LEVELS]:
                columns.append((text == level).fillna(False).to_numpy(np.float64))
                names.append(f"{name}={level}")
    if not columns:
        return np.zeros((len(table), 0), np.float32), ()
    return np.column_stack(columns).astype(np.float32), tuple(names)


def reference_arm(arms: Sequence[str]) -> int | None:
    """The first arm whose name, or its beginning, is a word for doing nothing; None where none is."""
    for i, name in enumerate(arms):
        plain = name.strip().lower()
        first = plain.replace("-", " ").replace("_", " ").split(" ")[0] if plain else ""
        if plain in REFERENCE_WORDS or first in REFERENCE_WORDS:
            return i
    return None


def _came_about(table: pd.DataFrame, actions: "pd.Series[str]", where: str) -> Delivery:
    """Which rows to learn from, where the file says of each whether it was delivered."""
    said = _numbers(table, DELIVERED, where)
    if not np.isin(said, (0.0, 1.0)).all():
        raise InputError(
            f"{where}: {DELIVERED} is neither true nor false in some rows.", repair="Write one of the two."
        )
    names = sorted(actions.unique(), key=_natural)
    nothing = reference_arm(names)
    reference = None if nothing is None else names[nothing]
    can = [f"{ELIGIBLE_PREFIX}{arm}" for arm in names]
    reachable = np.ones(len(table), bool)
    for arm, column in zip(names, can, strict=True):
        if column in table.columns:
            reachable &= (actions != arm).to_numpy(bool) | table[column].fillna(False).to_numpy(bool)
    days = (
        moments(table[TIMESTAMP], f"{where}: {TIMESTAMP}") if TIMESTAMP in table.columns else pd.Timestamp(0, tz="UTC")
    )
    rows = pd.DataFrame(
        {
            "key": table.index.astype(str),
            Columns.AS_OF: days,
            ARM: actions.where(actions != reference, NOTHING).to_numpy(object),
            ASKER: "",
            CONTACTED: said == 1.0,
            ANSWERED: False,
        }
    )
    return delivery(rows, reachable)


def _eligible(table: pd.DataFrame, arms: Sequence[str]) -> BoolArray | None:
    named = [f"{ELIGIBLE_PREFIX}{arm}" in table.columns for arm in arms]
    if not any(named):
        return None
    every = np.ones(len(table), bool)
    columns = [
        table[f"{ELIGIBLE_PREFIX}{arm}"].fillna(False).to_numpy(bool) if told else every
        for arm, told in zip(arms, named, strict=True)
    ]
    return np.column_stack(columns)


def _arm_name(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _natural(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def _numbers(table: pd.DataFrame, name: str, where: str) -> FloatArray:
    column = table[name]
    if column.dtype == object and column.dropna().map(lambda value: isinstance(value, bool)).all():
        column = column.astype("boolean")
    return numbers(column, f"{where}: {name}").to_numpy(np.float64)


def _hours_of_week(column: pd.Series, where: str) -> IntArray:
    if column.isna().any():
        raise InputError(f"{where}: timestamp is missing in {int(column.isna().sum())} rows.", repair="Fill it.")
    when = moments(column, f"{where}: timestamp")
    return np.asarray(when.dt.dayofweek * 24 + when.dt.hour, dtype=np.int64)
