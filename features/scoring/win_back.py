"""All signals in, how much likelier a contact makes a lapsing customer's return out, and the advice: contact or leave alone.

Arithmetic that training and serving share; `WinBackScore` is also the form in which a model is kept.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.errors import StoreError
from features.scoring.log_linear import signed_log1p
from features.signals import signal_index, signal_names

CONTACT: Final = "contact"
LEAVE_ALONE: Final = "leave alone"
SCORE_FILE: Final = "win_back.json"
_SINCE, _OVERDUE = signal_index(("days_since_occasion", "overdue_ratio"))


@dataclass(frozen=True)
class LinearEffect:
    """A weighted sum of features (F,); a missing one is put to `fill` (F,)."""

    fill: FloatArray
    weights: FloatArray
    shift: float

    def __call__(self, features: Float32Array) -> FloatArray:
        """Features (n, F) to effects (n,)."""
        return np.asarray(np.where(np.isfinite(features), features, self.fill) @ self.weights + self.shift)

    def to_plain(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        return {"fill": self.fill.tolist(), "weights": self.weights.tolist(), "shift": self.shift}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> "LinearEffect":
        """The inverse of `to_plain`."""
        return cls(np.array(plain["fill"]), np.array(plain["weights"]), float(plain["shift"]))


@dataclass(frozen=True)
class Lapsing:
    """Who counts as lapsing: no purchase for `after` times their usual gap, or for `days` where they have no gap yet."""

    after: float
    days: float

    def rows(self, signals: Float32Array) -> BoolArray:
        """Which of the customers with all signals (n, F) are lapsing (n,); who never bought is not."""
        overdue, since = signals[:, _OVERDUE], signals[:, _SINCE]
        return np.where(np.isfinite(overdue), overdue >= self.after, since >= self.days)


@dataclass(frozen=True)
class WinBackScore:
    """The effect of a contact on a return, from signals; `folds` are the same learned without one part of the customers.

    `proven` says whether the log showed whom contacts bring back: where it did not, everybody is left alone.
    """

    signals: tuple[str, ...]
    effect: LinearEffect
    folds: tuple[LinearEffect, ...]
    lapsing: Lapsing
    min_uplift: float
    proven: bool
    wait_days: float
    horizon_days: float

    def uplift(self, signals: Float32Array) -> FloatArray:
        """Signals (n, F) to the chance of a return with a contact less that without (n,); NaN for who is not lapsing."""
        return np.where(self.lapsing.rows(signals), self.effect(effect_inputs(signals[:, self.columns])), np.nan)

    def advice(self, uplift: FloatArray) -> NDArray[np.str_]:
        """`contact` or `leave alone` for every uplift (n,)."""
        return advice(uplift, self.min_uplift if self.proven else np.inf)

    def held_out_uplift(self, signals: Float32Array, folds: IntArray) -> FloatArray:
        """Effects (n,) by the model that was learned without each row's part `folds` (n,) of the customers."""
        inputs = effect_inputs(signals[:, self.columns])
        each = np.column_stack([effect(inputs) for effect in self.folds])
        return np.asarray(each[np.arange(len(inputs)), folds])

    @cached_property
    def columns(self) -> IntArray:
        """Where `signals` lie among all signals."""
        return signal_index(self.signals)

    def to_json(self) -> str:
        """The content of SCORE_FILE."""
        effects = {"effect": self.effect.to_plain(), "folds": [fold.to_plain() for fold in self.folds]}
        plain = {name: value for name, value in vars(self).items() if name not in (*effects, "columns")}
        return json.dumps({**plain, **effects, "lapsing": asdict(self.lapsing)}, indent=1)

    @classmethod
    def from_json(cls, text: str, where: str) -> "WinBackScore":
        """The inverse of `to_json`; raises StoreError for signals that this version does not compute, naming `where`."""
        plain: dict[str, Any] = json.loads(text)
        _need_known(plain["signals"], where)
        return cls(
            signals=tuple(plain.pop("signals")),
            effect=LinearEffect.of_plain(plain.pop("effect")),
            folds=tuple(LinearEffect.of_plain(fold) for fold in plain.pop("folds")),
            lapsing=Lapsing(**plain.pop("lapsing")),
            **plain,
        )


def effect_inputs(columns: Float32Array) -> Float32Array:
    """Signals (n, k) as effects see them: signed log(1 + |x|), because counts and days are skewed."""
    return signed_log1p(columns).astype(np.float32)


def advice(uplift: FloatArray, min_uplift: float) -> NDArray[np.str_]:
    """`contact` where the uplift (n,) is above `min_uplift`, else `leave alone`; so too where it is not known."""
    return np.where(uplift > min_uplift, CONTACT, LEAVE_ALONE)


def _need_known(names: Sequence[str], where: str) -> None:
    unknown = [name for name in names if name not in signal_names()]
    if unknown:
        raise StoreError(
            f"{where} was trained on the signal {unknown[0]!r}, which this version does not compute.",
            repair="Train the model again, or install the version it was trained with.",
        )
