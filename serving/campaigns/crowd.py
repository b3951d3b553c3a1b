"""Many customers' states in, one decision each out, as rows of a table and as events: what `Decider` answers to each alone.

What models, hours and rules say is computed for all of them together; the draw, the words and the event of each decision are
made by the functions that `/v1/decide` uses.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from features.arrays import Float32Array, FloatArray, IntArray
from features.events.rows import EventRow, rows_table
from features.events.values import dump_properties
from features.log.reservations import NOTHING_HELD, Decided
from features.offers.offer import Offer as DataOffer
from features.online.many import LiveBatch
from features.signals import compute_signals
from features.vocabulary import NOTHING, Channel, Columns, EventKind, Task
from serving.decider import Decider, Moments
from serving.decision.arm_weighing import WeighedArms
from serving.decision.contacts import exposure_history
from serving.decision.holdout import is_held_out
from serving.decision.many_arms import ManyArms
from serving.decision.record import Drawn, decision_properties, draw_arm, limits_basis, question_of
from serving.decision.refusals import Refusals
from serving.decision.reserved import Limits, Remembered, Used
from serving.decision.rests import campaign_code, campaign_refusal
from serving.decision.rules import Eligibility, not_personal
from serving.decision.send_time import moment_of
from serving.decision.send_window import SendWindow
from serving.fallback.choice import suppressed
from serving.limits.claims import claim_of
from serving.offers.many_weighing import ManyCustomers
from serving.offers.weighing import WeighedOffers
from serving.products.many_offers import ManyOffers, places_of
from serving.products.ranking import Offer
from serving.schemas import DecideRequest, Status
from serving.scorers.churn import statuses_of

_MOMENT: Final = pa.timestamp("us", "UTC")
DECISION_SCHEMA: Final = pa.schema(
    [
        (Columns.CUSTOMER_ID, pa.string()),
        (Columns.DECISION_ID, pa.string()),
        (Columns.AS_OF, _MOMENT),
        ("action", pa.string()),
        ("arm", pa.string()),
        (Columns.CHANNEL, pa.string()),
        (Columns.PRODUCT_ID, pa.string()),
        ("product_name", pa.string()),
        ("send_at", _MOMENT),
        ("pscore", pa.float64()),
        ("response_probability", pa.float64()),
        ("customer_status", pa.string()),
        ("churn_probability", pa.float64()),
        ("win_back_uplift", pa.float64()),
        ("win_back_advice", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("models", pa.string()),
        ("rules_version", pa.string()),
        ("served_by", pa.string()),
        ("offer_id", pa.string()),
    ]
)
"""One row per customer; `models` is JSON, task to version. The columns win_back_… are null where no such model serves."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_OFFER: Final = Offer(None)
NOBODY: Final[Mapping[str, str]] = MappingProxyType({})
"""Nobody is on the suppression list."""


@dataclass(frozen=True, eq=False)
class Made:
    """What was drawn for one customer where offers are in force; of all other options nothing is kept."""

    drawn: Drawn
    weighed: WeighedArms
    offer: Offer
    offered: DataOffer | None
    kept: Mapping[str, Any]
    reasons: Sequence[str]

    @classmethod
    def of(cls, weighed: WeighedOffers, drawn: Drawn, *, explain: bool) -> "Made":
        """Of the options of one customer and the one that was drawn."""
        kept = weighed.kept(drawn.choice, drawn.number)
        return cls(
            drawn,
            replace(weighed.weighed, options=None),
            weighed.product(drawn.choice.offer, explain=explain),
            weighed.offer_of(drawn.choice, drawn.number),
            kept,
            weighed.reasons(drawn.choice, drawn.number) if explain else (),
        )


@dataclass(frozen=True, eq=False)
class Decisions:
    """One decision per customer (n)."""

    request: DecideRequest
    decider: Decider
    batch: LiveBatch
    as_of_s: FloatArray
    signals: Float32Array  # (n, F)
    weighed: Sequence[WeighedArms]
    drawn: Sequence[Drawn]
    offers: Sequence[Offer]
    """Nobody is offered anything to whom nothing is sent."""
    churn: Sequence[float | None]
    statuses: Sequence[Status]
    windows: Sequence[SendWindow | None]
    held_out: Sequence[bool]
    now_s: float
    made: Mapping[int, "Made"] = field(default_factory=dict)
    """By row what offers have a part in, where any is in force."""

    def __len__(self) -> int:
        return len(self.drawn)

    def arms(self) -> Counter[str]:
        """How often each arm was chosen."""
        return Counter(drawn.arm.name for drawn in self.drawn)

    def refused(self) -> Counter[str]:
        """How often which first reason was given against which arm, as "arm: reason"."""
        counts: Counter[str] = Counter()
        for checked, n in self._kinds():
            for item in checked:
                if not item.eligible and item.reasons:
                    counts[f"{item.arm.name}: {item.reasons[0]}"] += n
        return counts

    def refusals(self) -> Refusals:
        """How many customers each rule refused."""
        refusals = Refusals()
        for checked, n in self._kinds():
            refusals.add(checked, n)
        return refusals

    def fallen(self) -> Counter[str]:
        """How many rest on what needs no model, by task and reason, as "task: reason"."""
        return Counter({f"{task}: {why}": len(self) for task, why in self._served.get("fallbacks", {}).items()})

    def table(self) -> pa.Table:
        """As rows of DECISION_SCHEMA."""
        n, bundle = len(self), self.decider.bundle
        models = self.decider.versions()
        uplift, advice = [None] * n, [None] * n
        if bundle.win_back is not None and n:
            gains = bundle.win_back.score.uplift(self.signals)
            advice = bundle.win_back.score.advice(gains).tolist()
            uplift = [None if gain != gain else gain for gain in gains.tolist()]
            models = {**models, Task.WIN_BACK.value: bundle.win_back.card.version}
        products = [offer.product for offer in self.offers]
        columns: list[Sequence[Any]] = [
            self.batch.names,
            [drawn.decision_id for drawn in self.drawn],
            [moment_of(at_s) for at_s in self.as_of_s.tolist()],
            [NOTHING if drawn.number is None else "send" for drawn in self.drawn],
            [drawn.arm.name for drawn in self.drawn],
            [drawn.arm.channel for drawn in self.drawn],
            [None if product is None else product.product_id for product in products],
            [None if product is None else product.name for product in products],
            [None if drawn.send_at_s is None else moment_of(drawn.send_at_s) for drawn in self.drawn],
            [drawn.choice.pscore for drawn in self.drawn],
            [
                None if drawn.number is None else weighed.probabilities.item(drawn.number)
                for drawn, weighed in zip(self.drawn, self.weighed, strict=True)
            ],
            self.statuses,
            self.churn,
            uplift,
            advice,
            [self._reasons(row) for row in range(n)],
            [json.dumps(models)] * n,
            [self.decider.rules.version] * n,
            [self._served.get("served_by", "model")] * n,
            [None if (offered := self._offered(row)) is None else offered.offer_id for row in range(n)],
        ]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, DECISION_SCHEMA, strict=True)]
        return pa.Table.from_arrays(arrays, schema=DECISION_SCHEMA)

    def events(self) -> pa.Table:
        """As events, to be kept in the log."""
        return rows_table([self._event(row) for row in range(len(self))])

    def decided(self) -> list[Decided]:
        """What is settled with each one's event."""
        now = datetime.fromtimestamp(self.now_s, UTC)
        now_us, campaign, rules = int(self.now_s * 1e6), self.request.campaign_id, self.decider.rules
        found = []
        for row, (name, drawn, offer) in enumerate(zip(self.batch.names, self.drawn, self.offers, strict=True)):
            claim = claim_of(drawn, name, offer.product, campaign, rules, now, self._offered(row))
            version = self.batch.held.get(name, NOTHING_HELD).version
            found.append(Decided(drawn.decision_id, name, now_us, version, claim))
        return found

    def take(self, rows: IntArray) -> "Decisions":
        """Those of some customers, in that order."""
        at = rows.tolist()
        return replace(
            self,
            batch=self.batch.take(rows),
            as_of_s=self.as_of_s[rows],
            signals=self.signals[rows],
            weighed=[self.weighed[row] for row in at],
            drawn=[self.drawn[row] for row in at],
            offers=[self.offers[row] for row in at],
            churn=[self.churn[row] for row in at],
            statuses=[self.statuses[row] for row in at],
            windows=[self.windows[row] for row in at],
            held_out=[self.held_out[row] for row in at],
            made={place: self.made[row] for place, row in enumerate(at) if row in self.made},
        )

    def _offered(self, row: int) -> DataOffer | None:
        """The offer that is made to a customer, if any."""
        return self.made[row].offered if row in self.made else None

    def _kinds(self) -> Iterator[tuple[Sequence[Eligibility], int]]:
        """What rules said of the arms, with the number of customers of whom they said it: many share the very same."""
        counts = Counter(id(weighed.checked) for weighed in self.weighed)
        checked = {id(weighed.checked): weighed.checked for weighed in self.weighed}
        return ((checked[key], n) for key, n in counts.items())

    def _reasons(self, row: int) -> list[str]:
        reasons = not_personal(bool(self.batch.may_profile[row]))
        of_offers = list(self.made[row].reasons) if row in self.made and not self.held_out[row] else []
        told = self.decider.reasons(
            self.drawn[row],
            self.weighed[row],
            self.offers[row],
            self.churn[row],
            self.statuses[row],
            self.windows[row],
            held_out=self.held_out[row],
        )
        return reasons + told + of_offers

    def _event(self, row: int) -> EventRow:
        drawn, window, product = self.drawn[row], self.windows[row], self.offers[row].product
        properties = decision_properties(
            self.batch.names[row],
            self.batch.versions[row],
            drawn.choice,
            self.request,
            self.signals[row],
            self.weighed[row].probability_of_arm(),
            status=self.statuses[row],
            churn=self.churn[row],
            models=self._models,
            feature_service=self.decider.bundle.need_channel().card.feature_service,
            when="now" if window is not None and window.at_once else "best",
            send_at=None if drawn.send_at_s is None else moment_of(drawn.send_at_s),
            rules=self.decider.rules,
            served=self._served,
        )
        if row in self.made:
            properties |= self.made[row].kept
        return EventRow(
            drawn.decision_id,
            (moment_of(self.as_of_s.item(row)) - _EPOCH) // timedelta(microseconds=1),
            EventKind.DECISION.value,
            str(drawn.arm.channel or self.request.asked_by or Channel.WEB),
            self.batch.names[row],
            product_id=None if product is None else product.product_id,
            campaign_id=self.request.campaign_id,
            decision_id=drawn.decision_id,
            properties=dump_properties(properties),
        )

    @cached_property
    def _served(self) -> dict[str, Any]:
        return self.decider.chosen.marks(Task.NEXT_PRODUCT, Task.BEST_CHANNEL)

    @cached_property
    def _models(self) -> dict[str, str]:
        return self.decider.versions()


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
        return draw_arm(name, version, as_of_s, self._request, question, models, weighed, window, basis)

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
