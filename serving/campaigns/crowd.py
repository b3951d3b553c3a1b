"""Many customers' states in, one decision each out, as rows of a table and as events: what `Decider` answers to each alone.

What models, hours and rules say is computed for all of them together; the draw, the words and the event of each decision are
made by the functions that `/v1/decide` uses.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Final

import numpy as np

from features.arrays import Float32Array, FloatArray
from features.log.reservations import NOTHING_HELD
from features.online.many import LiveBatch
from features.signals import compute_signals
from serving.campaigns.decisions import Decisions, Made
from serving.decider import Decider, Moments
from serving.decision.arm_weighing import WeighedArms
from serving.decision.contacts import exposure_history
from serving.decision.holdout import is_held_out
from serving.decision.many_arms import ManyArms
from serving.decision.record import Drawn, draw_arm, limits_basis, question_of
from serving.decision.reserved import Limits, Remembered, Used
from serving.decision.rests import campaign_code, campaign_refusal
from serving.decision.send_window import SendWindow
from serving.fallback.choice import suppressed
from serving.offers.many_weighing import ManyCustomers
from serving.products.many_offers import ManyOffers, places_of
from serving.products.ranking import Offer
from serving.schemas import DecideRequest
from serving.scorers.churn import statuses_of

_NO_OFFER: Final = Offer(None)
NOBODY: Final[Mapping[str, str]] = MappingProxyType({})
"""Nobody is on the suppression list."""


class Crowd:
    """Decides one question for any customers."""

    def __init__(
        self, decider: Decider, request: DecideRequest, now: datetime, suppressions: Mapping[str, str] = NOBODY
    ) -> None:
        """Of a question that waits for the best hour, or is to be sent at once, for any product and by any channel.

        `suppressions` are the customers who are sent nothing, and why. Raises MissingError where a model is missing.
        """
        assert request.when is not None and request.not_before is None and request.not_after is None
        assert request.channels is None
        self._decider, self._request, self._now_s = decider, request, now.timestamp()
        self._suppressions = suppressions
        channel, rules = decider.bundle.need_channel(), decider.rules
        self._arms = ManyArms(channel.arms, decider.population_hours, rules, decider.unadvertised())
        self._offers = ManyOffers(decider.bundle.need_product(), request, decider.catalogue, rules)

    def decide(self, batch: LiveBatch) -> Decisions:
        """One decision for each of n customers."""
        decider, bundle, rules = self._decider, self._decider.bundle, self._decider.rules
        bucket_s = rules.bucket_minutes * 60.0
        as_of_s = np.maximum(self._now_s // bucket_s * bucket_s, batch.last_event_s)
        moments = [Moments.of(self._now_s, at_s, bucket_s) for at_s in as_of_s.tolist()]
        windows = [self._window(moment) for moment in moments]
        signals = compute_signals(batch.scored, as_of_s)
        channel = bundle.need_channel()
        limits = Limits(rules, self._request.campaign_id, None if decider.used is None else Remembered(decider.used))
        held_out = [rules.holdout_share > 0 and is_held_out(name, rules) for name in batch.names]
        weighed = self._arms.weigh(
            batch.states,
            batch.scored,
            as_of_s,
            channel.probabilities(signals),
            channel.gains(signals),
            names=batch.names,
            held_out=held_out,
            refusals=self._refusals(batch, as_of_s),
            not_before_s=np.array([moment.earliest_s for moment in moments]),
            windows=windows,
            limits=limits,
            batch=batch,
        )
        bases = [
            limits_basis(batch.held.get(name, NOTHING_HELD), of_arms, limits)
            for name, of_arms in zip(batch.names, weighed, strict=True)
        ]
        chances = np.full(len(batch), np.nan) if bundle.churn is None else bundle.churn.chances(signals)
        churn = [None if chance != chance else chance for chance in chances.tolist()]
        made = self._with_offers(batch, as_of_s, signals, churn, weighed, windows, bases, limits.used)
        drawn = [
            made[row].drawn
            if row in made
            else self._draw(batch, row, as_of_s.item(row), of_arms, windows[row], bases[row])
            for row, of_arms in enumerate(weighed)
        ]
        weighed = [made[row].weighed if row in made else of_arms for row, of_arms in enumerate(weighed)]
        offers = [made[row].offer if row in made else _NO_OFFER for row in range(len(batch))]
        sent = np.array([row for row, one in enumerate(drawn) if one.number is not None and row not in made], np.int64)
        for row, offer in zip(sent.tolist(), self._offers.of(batch.take(sent), as_of_s[sent]), strict=True):
            offers[row] = offer
        return Decisions(
            self._request,
            decider,
            batch,
            as_of_s,
            signals,
            weighed,
            drawn,
            offers,
            churn,
            statuses_of(batch.states),
            windows,
            held_out,
            self._now_s,
            made,
        )

    def _draw(
        self,
        batch: LiveBatch,
        row: int,
        as_of_s: float,
        weighed: WeighedArms,
        window: SendWindow | None,
        basis: Sequence[str] = (),
    ) -> Drawn:
        question, models = self._asked
        basis = [*self._decider.chosen.basis, *basis]
        name, version = batch.names[row], batch.versions[row]
        of_whom, variants = (name, version, as_of_s), self._decider.variants
        return draw_arm(*of_whom, self._request, question, models, weighed, window, basis, variants)

    @cached_property
    def _asked(self) -> tuple[str, dict[str, str]]:
        return question_of(self._request), self._decider.versions()

    def _with_offers(
        self,
        batch: LiveBatch,
        as_of_s: FloatArray,
        signals: Float32Array,
        churn: Sequence[float | None],
        weighed: Sequence[WeighedArms],
        windows: Sequence[SendWindow | None],
        bases: Sequence[Sequence[str]],
        used: Used | None,
    ) -> dict[int, Made]:
        """What was drawn for each, by row, where any offer is in force."""
        decider, explain = self._decider, self._request.explain
        if decider.offers is None:
            return {}
        arms = decider.bundle.need_channel().arms
        many = ManyCustomers(
            batch, as_of_s, signals, churn, self._request, decider.bundle, decider.catalogue, decider.rules
        )
        made, full = {}, decider.offers.full_by(decider.rules, used)
        for row, of_row, without_room in many.weigh(decider.offers, weighed, arms, full):
            at_s, window = as_of_s.item(row), windows[row]
            basis = [*bases[row], of_row.options.version, *sorted(without_room)]
            drawn = self._draw(batch, row, at_s, of_row.weighed, window, basis)
            made[row] = Made.of(of_row, drawn, explain=explain)
        return made

    def _window(self, moments: Moments) -> SendWindow | None:
        """What `send_window` answers to such a question."""
        return SendWindow(moments.now_s, at_once=True, why="as asked") if self._request.when == "now" else None

    def _refusals(self, batch: LiveBatch, as_of_s: FloatArray) -> list[str | None]:
        """Why each may not be contacted now: for the campaign, of whom was, or may have been, or at all."""
        campaign = self._request.campaign_id
        refusals: list[str | None] = [self._decider.stop] * len(batch)
        if campaign is not None:
            codes = np.full(len(batch), campaign_code(campaign))
            known = places_of(batch.states.exposure_code, codes) >= 0
            forgotten = ~np.isnan(batch.states.scalar("exposures_until"))
            reserving = np.array([name in batch.reserving for name in batch.names], np.bool_)
            for row in np.flatnonzero(known | forgotten | reserving).tolist():
                history = exposure_history(batch.live(row), as_of_s.item(row))
                refusals[row] = refusals[row] or campaign_refusal(history, campaign, self._decider.rules)
        for row, name in enumerate(batch.names) if self._suppressions else ():
            if name in self._suppressions:
                refusals[row] = suppressed(self._suppressions[name])
        return refusals
