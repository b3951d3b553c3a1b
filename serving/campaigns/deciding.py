"""Many customers' states in, one decision each out, by the models or by what needs none, as for each asked alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from features.arrays import IntArray
from features.online.many import LiveBatch
from serving.answers import Knowledge
from serving.campaigns.crowd import NOBODY, Crowd, Decisions
from serving.decider import Decider
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
    ) -> None:
        """`suppressions` are the customers who are sent nothing, and why; `offers` what there is to offer, if anything."""
        self._offers = offers
        self._known, self._rules, self._request, self._now = known, rules, request, now
        self._suppressions = suppressions
        self._made: dict[bool, Crowd] = {}

    def decide(self, batch: LiveBatch) -> Decided:
        """One decision for each of n customers of whom something is known."""
        rows = {answer: np.flatnonzero(batch.may_profile == answer) for answer in (True, False)}
        asked = {answer: own for answer, own in rows.items() if len(own)}
        parts = [self._crowd(may_profile).decide(batch.take(own)) for may_profile, own in asked.items()]
        return Decided(parts, list(asked.values()))

    def _crowd(self, may_profile: bool) -> Crowd:
        if may_profile not in self._made:
            known = self._known
            chosen = known.fallback.choose(
                known.bundle, known=True, may_profile=may_profile, store_id=self._request.store_id
            )
            decider = Decider(
                chosen.bundle,
                known.catalogue,
                self._rules,
                known.population_hours,
                chosen=chosen,
                offers=self._offers,
            )
            self._made[may_profile] = Crowd(decider, self._request, self._now, self._suppressions)
        return self._made[may_profile]
