"""Caps and budgets of offers: what the ledger knows of them leaves room or none, for one customer and over all."""

from typing import Any

import pytest

from features.log.reservations import Held, Reserved
from features.offers.offer import Offer
from serving.decision.rules import Cap, Rules
from serving.limits.offers import offer_places, offer_refusals

AT_S = 1_709_294_580.0
RULES = Rules(tag_caps={"spring": Cap(max=1, days=7)})


def offer(**fields: Any) -> Offer:
    return Offer.model_validate({"offer_id": "tea", **fields})


def sent(days_ago: float, **fields: Any) -> Reserved:
    at_us = int((AT_S - days_ago * 86_400) * 1e6)
    return Reserved("d-1", "email", at_us, at_us + 1, sent=True, **fields)


@pytest.mark.parametrize(
    ("fields", "reserved", "refused"),
    [
        ({"caps": {"per_customer": {"max": 1, "days": 7}}}, sent(6, offer_id="tea"), True),
        ({"caps": {"per_customer": {"max": 1, "days": 7}}}, sent(8, offer_id="tea"), False),
        ({"caps": {"per_customer": {"max": 1, "days": 7}}}, sent(6, offer_id="other"), False),
        ({"tags": ["spring"]}, sent(6, offer_id="other", tags=("spring",)), True),
        ({"tags": ["autumn"]}, sent(6, offer_id="other", tags=("spring",)), False),
    ],
)
def test_what_one_customer_had(fields: dict[str, Any], reserved: Reserved, refused: bool) -> None:
    found = offer_refusals([offer(**fields)], Held(1, (reserved,)), AT_S, RULES, None)
    assert bool(found) == refused


@pytest.mark.parametrize(("used", "refused"), [(9.0, False), (10.0, True)])
def test_what_all_had(used: float, refused: bool) -> None:
    limited = offer(caps={"total": 10}, budget=100.0, cost=2.0)
    found = offer_refusals([limited], Held(), AT_S, RULES, lambda keys: dict.fromkeys(keys, used))
    assert bool(found) == refused
    places = offer_places(limited, 0.5, AT_S, RULES)
    assert [(place.key, place.amount, place.limit) for place in places] == [
        ("offer:tea:total", 1.0, 10.0),
        ("offer:tea:budget", 2.5, 100.0),
    ]
