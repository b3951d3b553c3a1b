"""Many customers' states in, one decision each out, by the models or by what needs none, as for each asked alone."""

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
    ) -> None:
        """`suppressions` are the customers who are sent nothing, and why; `offers` what there is to offer, if anything.

        `used` tells how much of volumes, and of what offers may use, is used up; without it they are not looked at.
        """
        self._offers = offers
        self._known, self._rules, self._request, self._now = known, rules, request, now
        self._suppressions = suppressions
        self._used = used
        self._made: dict[tuple[bool, str | None], Crowd] = {}

    @property
    def now_us(self) -> int:
        """When everybody is decided for, in microseconds since the epoch."""
        return int(self._now.timestamp() * 1e6)

    def decide(self, batch: LiveBatch, stop: str | None = None) -> Decided:
        """One decision for each of n customers of whom something is known; `stop` says why none of them is contacted."""
        rows = {answer: np.flatnonzero(batch.may_profile == answer) for answer in (True, False)}
        asked = {answer: own for answer, own in rows.items() if len(own)}
        parts = [self._crowd(may_profile, stop).decide(batch.take(own)) for may_profile, own in asked.items()]
        return Decided(parts, list(asked.values()))

    def _crowd(self, may_profile: bool, stop: str | None) -> Crowd:
        made = self._made.get((may_profile, stop))
        if made is None:
            known, rules = self._known, self._rules
            chosen = known.fallback.choose(
                known.bundle, known=True, may_profile=may_profile, store_id=self._request.store_id
            )
            decider = Decider(
                chosen.bundle,
                known.catalogue,
                rules,
                known.population_hours,
                chosen=chosen,
                offers=self._offers,
                used=self._used,
                stop=stop,
            )
            made = self._made[may_profile, stop] = Crowd(decider, self._request, self._now, self._suppressions)
        return made
