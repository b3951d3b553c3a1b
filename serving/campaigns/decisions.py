"""Decisions about many customers, out as rows of a table, as events for the log, and as what is settled with these."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from features.arrays import Float32Array, FloatArray, IntArray
from features.events.rows import EventRow, rows_table
from features.events.values import dump_properties
from features.log.reservations import NOTHING_HELD, Decided
from features.offers.offer import Offer as DataOffer
from features.online.many import LiveBatch
from features.vocabulary import NOTHING, Channel, Columns, EventKind, Task
from serving.decider import Decider
from serving.decision.arm_weighing import WeighedArms
from serving.decision.record import Drawn, decision_properties
from serving.decision.refusals import Refusals
from serving.decision.rules import Eligibility, not_personal
from serving.decision.send_time import moment_of
from serving.decision.send_window import SendWindow
from serving.limits.claims import claim_of
from serving.offers.weighing import WeighedOffers
from serving.products.ranking import Offer
from serving.schemas import DecideRequest, Status

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
        ("experiments", pa.string()),
    ]
)
"""One row per customer; `models` is JSON, task to version, and `experiments`, experiment to variant, or null. The columns
win_back_… are null where no such model serves."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
            [json.dumps(dict(self.decider.variants)) if self.decider.variants else None] * n,
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
            variants=self.decider.variants,
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
