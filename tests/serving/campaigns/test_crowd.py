"""Many customers decided at once: the rows and the events that each of them alone is answered, whatever rules and moment."""

from collections import Counter
from dataclasses import replace
from datetime import time, timedelta
from typing import Any

import numpy as np
import pytest

from features.events.rows import event_rows, table_rows
from features.events.schema import events_to_table, parse_events
from features.log.lists.offer_table import KeptOffers
from features.log.sqlite import SqliteEventLog
from features.offers.offer import Offer
from features.online.many import LiveBatch
from features.vocabulary import Channel
from serving.campaigns.crowd import Crowd
from serving.decider import Decider
from serving.decision.never import Never
from serving.decision.reachable import Reachable
from serving.decision.rules import Arm, Cap, ContactFacts, QuietHours, Rules
from serving.offers.in_force import OffersInForce
from serving.offers.response import Counts, Tally
from serving.offers.shelf import OfferShelf
from serving.runtime import Runtime
from serving.schemas import DecideRequest

N_CUSTOMERS = 60
ARMS = (
    Arm("email_news", Channel.EMAIL, 0.01),
    Arm("sms_morning", Channel.SMS, 0.05, (6, 10)),
    Arm("push", Channel.PUSH, 0.0),
    Arm("post", Channel.POST, 0.5),
    Arm("call_at_night", Channel.CALL_CENTER, 0.2, (22, 24)),
)
CHANNELS = ("email", "sms", "push", "post", "call_center")
RULES = {
    "as they come": Rules(),
    "without consents": Rules(opt_in_channels=(), exploration=0.6),
    "with caps": Rules(
        opt_in_channels=(),
        overall_cap=Cap(max=4, days=9),
        channel_caps={Channel.EMAIL: Cap(max=1, days=3), Channel.POST: Cap(max=2, days=20)},
        max_unanswered=2,
        product_rest_days=2,
        exploration=0.9,
    ),
    "another zone, quiet by day": Rules(
        opt_in_channels=(),
        time_zone="Asia/Kathmandu",
        quiet_hours=QuietHours(
            start=time(9, 20), end=time(19, 10), channels=(Channel.EMAIL, Channel.SMS, Channel.CALL_CENTER)
        ),
        exploration=1.0,
    ),
    "by the clocks of stores": Rules(
        opt_in_channels=(),
        store_time_zones={"s1": "America/New_York", "s2": "Pacific/Auckland"},
        quiet_hours=QuietHours(channels=(Channel.EMAIL, Channel.SMS, Channel.PUSH, Channel.CALL_CENTER)),
        exploration=1.0,
    ),
    "nothing may be advertised, but by post": Rules(
        opt_in_channels=(), never=Never(min_price=1_000.0), arms_without_product=("post",), exploration=1.0
    ),
    "by the ways that reach them": Rules(
        opt_in_channels=(),
        reachable=Reachable(
            email=("device", "consent"), sms=("purchase",), push=("phone",), post=("phone", "email activity")
        ),
        exploration=1.0,
    ),
    "with a hold-out, all day": Rules(holdout_share=0.3, bucket_minutes=1440, exploration=0.5, opt_in_channels=()),
}

OFFERS = OffersInForce(
    OfferShelf.of(
        KeptOffers(
            1,
            {
                offer.offer_id: offer
                for offer in (
                    Offer(offer_id="drinks", categories=("drinks",), value=7.0, channels=(Channel.EMAIL, Channel.POST)),
                    Offer(offer_id="dairy", categories=("dairy", "bakery"), value="price", rebuys="due"),
                    Offer(offer_id="leavers", where="churn_probability > 0.3", value=9.0, control_share=0.3),
                    Offer(offer_id="new", products=("soap", "tea"), rebuys="never", store_ids=("S1",), cost=0.2),
                    Offer(offer_id="club", promotes="nothing", value=4.0, tags=("club",)),
                )
            },
        )
    ),
    Counts({("drinks", "email"): Tally(30.0, 12.0), ("club", "push"): Tally(4.0, 9.0)}),
)


@pytest.fixture
def shop(runtime: Runtime, log: SqliteEventLog) -> Runtime:
    rng, items, now = np.random.default_rng(5), [], runtime.clock.now()

    def add(customer: int, kind: str, channel: str, days_ago: float, **fields: Any) -> None:
        at = now - timedelta(days=days_ago)
        item = {"event_id": f"w{len(items)}", "occurred_at": at, "kind": kind, "channel": channel}
        items.append({**item, "customer_id": f"c{customer:02d}", **fields})

    for customer in range(N_CUSTOMERS):
        for channel in CHANNELS:
            if rng.random() < 0.5:
                add(customer, str(rng.choice(["subscribe", "unsubscribe"], p=[0.7, 0.3])), channel, 80)
            for _ in range(int(rng.integers(0, 5)) * (customer % 3)):
                about = {"product_id": str(rng.choice(["milk", "tea"]))} if rng.random() < 0.4 else {}
                add(customer, "send", channel, float(rng.uniform(0.5, 30)), **about, campaign_id="spring")
        for _ in range(int(rng.integers(0, 8))):
            product = str(rng.choice(["milk", "bread", "tea", "soap"]))
            add(
                customer,
                str(rng.choice(["purchase", "view", "add_to_cart", "click"])),
                "web",
                float(rng.uniform(0.1, 60)),
                product_id=product,
            )
        if customer % 9 == 0:
            add(customer, "profile", "web", 70, properties={"profiling": False})
        if customer % 5 == 0:
            add(customer, "profile", "web", 60, properties={"time_zone": ["Asia/Kathmandu", "UTC"][customer % 2]})
        if customer % 7 < 3:
            add(customer, "visit", "store", 5, store_id=f"s{customer % 7}")
        known_by = {"identifiers": {("phone", "device")[customer % 2]: f"n-{customer}"}} if customer % 4 < 2 else {}
        add(
            customer, "visit", "web", [0.0005, 0.2, 3][customer % 3], **known_by
        )  # some of them within the stretch of time
    events, rejected = parse_events(items, now)
    assert not rejected
    log.append(events_to_table(events))
    known = runtime.knowledge
    booster = known.bundle.need_channel().boosters[0]
    channel = replace(known.bundle.need_channel(), arms=ARMS, boosters=(booster,) * len(ARMS))
    runtime.knowledge = replace(known, bundle=replace(known.bundle, channel=channel))
    return runtime


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("when", ["best", "now"])
@pytest.mark.parametrize("offers", [None, OFFERS], ids=["of products", "of offers"])
def test_each_is_decided_for_as_if_alone(shop: Runtime, rules: Rules, when: Any, offers: OffersInForce | None) -> None:
    known, campaign = shop.knowledge, "spring" if when == "now" else None
    decider = Decider(known.bundle, known.catalogue, rules, known.population_hours, offers=offers)
    assert known.states is not None
    lives = [live for i in range(N_CUSTOMERS) if (live := known.states.get(f"c{i:02d}"))]
    assert len(lives) == N_CUSTOMERS
    request = DecideRequest(customer_id="*", when=when, campaign_id=campaign)
    now, seen = shop.clock.now(), set()
    for hours in (0, 9, 17):
        decisions = Crowd(decider, request, now + timedelta(hours=hours)).decide(LiveBatch.of(lives))
        rows, events = decisions.table().to_pylist(), table_rows(decisions.events())
        refused: Counter[str] = Counter()
        for live, row, event in zip(lives, rows, events, strict=True):
            alone = decider.decide(live, request, now + timedelta(hours=hours))
            answer, product = alone.answer, alone.answer.product
            for name in ("decision_id", "as_of", "action", "arm", "channel", "send_at", "pscore", "reasons"):
                assert row[name] == getattr(answer, name), (row["customer_id"], name)
            assert row["churn_probability"] == pytest.approx(answer.churn_probability)
            assert row["product_id"] == (None if product is None else product.product_id)
            assert row["offer_id"] == answer.offer_id
            assert event == event_rows([alone.event])[0]
            refused.update(f"{arm.arm}: {arm.reasons[0]}" for arm in answer.arms if not arm.eligible)
            seen |= {answer.arm, *(" ".join(reason.split()[:4]) for reason in answer.reasons)}
        assert decisions.refused() == refused
    assert len(seen) > 5


def test_all_that_rules_look_at_is_what_customers_are_told_apart_by() -> None:
    # a fact that is added here must become one of the numbers of `what_rules_see`, or some are decided for by another's facts
    assert set(ContactFacts.__dataclass_fields__) == {"consents", "contacts", "unanswered", "reach"}
