"""On whose clock hours are: the customer's own, else their store's, else the rules'."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from features.events.schema import EVENT_SCHEMA
from features.online.live import LiveState
from features.state.batch import StateBatch
from features.state.fold import fold_customer
from features.vocabulary import Channel
from serving.decision.arm_weighing import weigh_arms
from serving.decision.rules import Arm, QuietHours, Rules
from serving.decision.send_time import uniform_hours
from serving.decision.send_window import SendWindow
from serving.decision.zones import by_zone, rules_of

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
RULES = Rules(
    time_zone="Europe/Berlin",
    store_time_zones={"ny": "America/New_York"},
    opt_in_channels=(),
    quiet_hours=QuietHours(channels=(Channel.EMAIL,)),
)


def customer(store: str | None = None, **properties: Any) -> StateBatch:
    rows = [
        {"event_id": "1", "kind": "purchase", "product_id": "p", "store_id": store, "customer_id": "c"},
        {"event_id": "2", "kind": "profile", "properties": json.dumps(properties), "customer_id": "c"},
    ]
    at = {"occurred_at": NOON - timedelta(days=3), "channel": "store"}
    return fold_customer(pa.Table.from_pylist([{**at, **row} for row in rows], schema=EVENT_SCHEMA))


STATES = {
    "Europe/Berlin": customer("elsewhere"),
    "America/New_York": customer("ny"),
    "Asia/Tokyo": customer("ny", time_zone="Asia/Tokyo"),
}


def test_the_customers_own_zone_counts_before_the_stores() -> None:
    assert [rules_of(state, RULES).time_zone for state in STATES.values()] == list(STATES)
    assert rules_of(customer("ny", time_zone=None), RULES).time_zone == "America/New_York"
    assert rules_of(customer("ny", time_zone="Nowhere/Land"), RULES).time_zone == "America/New_York"
    assert rules_of(customer(profiling=False, time_zone="Asia/Tokyo"), RULES).time_zone == "Asia/Tokyo"


def test_of_many_it_is_the_same_and_nothing_is_split_where_all_have_the_rules_own() -> None:
    states = StateBatch.concat([*STATES.values(), STATES["America/New_York"]])
    zones = by_zone(states, RULES)
    assert zones is not None
    assert {rules.time_zone: rows.tolist() for rules, rows in zones} == {
        "America/New_York": [1, 3],
        "Asia/Tokyo": [2],
        "Europe/Berlin": [0],
    }
    assert by_zone(STATES["Europe/Berlin"], RULES) is None
    assert by_zone(states.take(states.last_seq[:0]), Rules()) is None


def test_rules_by_another_clock_are_the_same_rules() -> None:
    tokyo = RULES.in_zone("Asia/Tokyo")
    assert (tokyo.version, tokyo.local(0.0).hour) == (RULES.version, 9)
    assert tokyo is RULES.in_zone("Asia/Tokyo")
    assert RULES.in_zone("Europe/Berlin") is RULES
    assert RULES.model_copy(update={"max_unanswered": 2}).in_zone("Asia/Tokyo").max_unanswered == 2


def test_nobody_is_written_to_in_their_own_night() -> None:
    refused = {}
    for zone, state in STATES.items():
        live = LiveState("c", state, None, 0, "v")
        at_s = NOON.timestamp()
        weighed = weigh_arms(
            live,
            at_s,
            [Arm("email", Channel.EMAIL)],
            uniform_hours()[:1],
            uniform_hours()[:1],
            uniform_hours(),
            RULES.model_copy(update={"reachable": RULES.reachable.model_copy(update={"email": ("purchase",)})}),
            window=SendWindow(at_s, at_once=True),
        )
        refused[zone] = [reason for reason in weighed.checked[0].reasons if reason.startswith("quiet hours")]
    assert refused == {
        "Europe/Berlin": [],
        "America/New_York": ["quiet hours on email from 21:00 to 08:00 (America/New_York)"],
        "Asia/Tokyo": ["quiet hours on email from 21:00 to 08:00 (Asia/Tokyo)"],
    }


def test_a_store_in_no_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="no IANA time zone"):
        Rules(store_time_zones={"ny": "New York"})
