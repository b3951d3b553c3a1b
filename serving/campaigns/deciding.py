"""Many customers' states in, one decision each out, by the models or by what needs none, as for each asked alone.

Customers who are decided by the same go together: who may be profiled or not, in each variant of experiments.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from features.arrays import IntArray
from features.online.many import LiveBatch
from serving.answers import Knowledge
from serving.campaigns.crowd import NOBODY, Crowd
from serving.campaigns.decisions import Decisions
from serving.decider import Decider
from serving.decision.reserved import Used
from serving.decision.rules import Rules
from serving.experiments.in_force import NO_EXPERIMENTS, Assigned, Experiments
from serving.offers.in_force import OffersInForce
from serving.schemas import DecideRequest


@dataclass(frozen=True)
class Decided:
    """The decisions of a batch, in parts that are answered alike, and where each part's customers stand in the batch."""

    parts: Sequence[Decisions]
    rows: Sequence[IntArray]

    def table(self) -> pa.Table:
        """All of them as rows of DECISION_SCHEMA, in the batch's order."""
        if len(self.parts) == 1:
            return self.parts[0].table()
        return pa.concat_tables([part.table() for part in self.parts]).take(np.argsort(np.concatenate(self.rows)))

    def left(self, refused: Mapping[str, object]) -> "Decided":
        """Those of customers who are not among the `refused`."""
        parts = []
        rows = []
        for part, own in zip(self.parts, self.rows, strict=True):
            kept = np.flatnonzero([name not in refused for name in part.batch.names])
            parts.append(part.take(kept))
            rows.append(own[kept])
        return Decided(parts, rows)


class Crowds:
    """Decides one question for any customers: no model is asked about those who refused profiling."""

    def __init__(
        self,
        known: Knowledge,
        rules: Rules,
        request: DecideRequest,
        now: datetime,
        suppressions: Mapping[str, str] = NOBODY,
        offers: OffersInForce | None = None,
        used: Used | None = None,
        experiments: Experiments = NO_EXPERIMENTS,
    ) -> None:
        """`suppressions` are the customers who are sent nothing, and why; `offers` what there is to offer, if anything.

        `used` tells how much of volumes, and of what offers may use, is used up; without it they are not looked at.
        `experiments` are as of now, for all of them.
        """
        self._offers = offers
        self._known, self._rules, self._request, self._now = known, rules, request, now
        self._suppressions = suppressions
        self._used = used
        self._experiments, self._now_s = experiments, time.time()
        self._made: dict[tuple[bool, tuple[str, ...], str | None], Crowd] = {}

    @property
    def now_us(self) -> int:
        """When everybody is decided for, in microseconds since the epoch."""
        return int(self._now.timestamp() * 1e6)

    def decide(self, batch: LiveBatch, stop: str | None = None) -> Decided:
        """One decision for each of n customers of whom something is known; `stop` says why none of them is contacted."""
        assigned = self._experiments.assign_all(batch.names, self._rules, self._now_s)
        alike: dict[tuple[bool, tuple[str, ...]], list[int]] = defaultdict(list)
        for row, (may_profile, of_one) in enumerate(zip(batch.may_profile.tolist(), assigned, strict=True)):
            alike[may_profile, of_one.key].append(row)
        rows = [np.array(own) for own in alike.values()]
        parts = [
            self._crowd(may_profile, assigned[own[0]], stop).decide(batch.take(own))
            for (may_profile, _), own in zip(alike, rows, strict=True)
        ]
        return Decided(parts, rows)

    def _crowd(self, may_profile: bool, assigned: Assigned, stop: str | None) -> Crowd:
        key = may_profile, assigned.key, stop
        if key not in self._made:
            known = self._known
            chosen = known.fallback.choose(
                assigned.bundle(known.bundle), known=True, may_profile=may_profile, store_id=self._request.store_id
            )
            decider = Decider(
                chosen.bundle,
                known.catalogue,
                assigned.rules,
                known.population_hours,
                chosen=chosen,
                offers=self._offers,
                used=self._used,
                stop=stop,
                variants=assigned.variants,
            )
            self._made[key] = Crowd(decider, self._request, self._now, self._suppressions)
        return self._made[key]
