"""Which logged decisions came about: decisions and the events that name them in, those to learn from and counts per arm out.

A decision to send counts where a send, delivery or impression names it, or, where those of its arm do, an answer. Nobody sent
the others: somebody only looked, or the sender dropped them. `nothing` comes about by itself, but just as many of those were
only looked at. So of an asker's `nothing` on a day the same share is kept, by the hash of the decision, as of its decisions to
send: then both sides are thinned alike, and `pscore` is still the chance that each arm had among the decisions that count.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.arrays import BoolArray
from features.outcomes.named import ANSWERED, ARM, ASKER, CONTACTED
from features.vocabulary import NOTHING, Columns


@dataclass(frozen=True)
class ArmDelivery:
    """Of one arm: how many decisions there are, and how many of them came about."""

    decisions: int
    delivered: int

    @property
    def not_delivered(self) -> int:
        """Decisions that nobody sent, as far as the log tells."""
        return self.decisions - self.delivered


@dataclass(frozen=True)
class Delivery:
    """Which of n decisions to learn from, and what was left out."""

    kept: BoolArray
    arms: Mapping[str, ArmDelivery]
    """Per arm that sends."""
    only_answered: tuple[str, ...] = ()
    """Arms of which only answers are logged: who did not answer cannot be told from who was never reached."""

    def counts(self) -> dict[str, int]:
        """What was left out, by `not_delivered/<arm>`; empty where everything was delivered."""
        return {f"not_delivered/{arm}": n for arm, one in self.arms.items() if (n := one.not_delivered)}

    def words(self) -> str:
        """What was left out, in a sentence; empty where nothing was."""
        left = {arm: one for arm, one in self.arms.items() if one.not_delivered}
        if not left:
            return ""
        total = sum(one.decisions for one in self.arms.values())
        missing = sum(one.not_delivered for one in left.values())
        per_arm = ", ".join(f"{arm} {one.not_delivered:,} of {one.decisions:,}" for arm, one in left.items())
        told = (
            f"{missing:,} of {total:,} decisions to send were not delivered and are not learned from ({per_arm}): no send, "
            "deliver or impression names their decision_id."
        )
        if self.only_answered:
            told += f" Of {', '.join(self.only_answered)} only answers are logged: log what was sent, too."
        return told


def delivery(rows: pd.DataFrame, reachable: BoolArray | None = None) -> Delivery:
    """Which of the decisions `rows` (n) to learn from: key, as_of, arm, asker, contacted, answered.

    Where the arm could not reach the customer (`reachable`, n, false) nothing was to be sent: these rows are as `nothing`.
    """
    sends = (rows[ARM] != NOTHING).to_numpy(bool)
    could = sends if reachable is None else sends & reachable
    contacted = rows[CONTACTED].to_numpy(bool)
    logged = rows[ARM].isin(set(rows.loc[could & contacted, ARM])).to_numpy(bool)  # arms of which contacts are logged
    answered = rows[ANSWERED].to_numpy(bool)
    delivered = contacted | (answered & logged)
    share = _share(rows, could, could & logged, delivered)
    kept = np.where(could, delivered, _uniform(rows["key"]) < share)
    arms = {
        str(arm): ArmDelivery(int((mine & could).sum()), int((mine & could & delivered).sum()))
        for arm in sorted(rows.loc[sends, ARM].unique())
        for mine in [(rows[ARM] == arm).to_numpy(bool)]
    }
    unseen = tuple(sorted(set(rows.loc[could & answered & ~logged, ARM].astype(str))))
    return Delivery(np.asarray(kept, dtype=np.bool_), arms, unseen)


def _share(rows: pd.DataFrame, could: BoolArray, judged: BoolArray, delivered: BoolArray) -> np.ndarray:
    """Delivered share (n,) of the asker's decisions to send on the row's day, of those `judged`.

    On a day without any: of all of the asker's; for an asker who never sends: of everybody's; 1 where nobody does.
    """
    table = pd.DataFrame(
        {
            ASKER: rows[ASKER].to_numpy(object),
            "day": rows[Columns.AS_OF].dt.floor("D").to_numpy(),
            "delivered": np.where(judged, delivered.astype(float), np.nan),
            "could": could,
        }
    )
    of_day = table.groupby([ASKER, "day"], dropna=False)["delivered"].transform("mean")
    of_asker = table.groupby(ASKER, dropna=False)["delivered"].transform("mean")
    asks_to_send = table.groupby(ASKER, dropna=False)["could"].transform("any")
    of_asker = of_asker.where(of_asker.notna() | ~asks_to_send, 0.0)  # only arms of which nothing was ever sent
    everybody = float(table["delivered"].mean()) if judged.any() else (0.0 if could.any() else 1.0)
    return np.asarray(of_day.fillna(of_asker).fillna(everybody), dtype=np.float64)


def _uniform(keys: "pd.Series[str]") -> np.ndarray:
    """A number in [0, 1) for each decision, by its hash: the same at every training."""
    hashes = pd.util.hash_pandas_object(keys.astype(str), index=False).to_numpy()
    return np.asarray(hashes / 2.0**64, dtype=np.float64)
