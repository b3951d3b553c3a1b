"""Rests: how long a product or campaign is left alone after contacts, on the moment before and the moment after."""

import math

import pytest

from features.state.event_arrays import product_code
from features.vocabulary import Channel
from serving.decision.rests import (
    Exposure,
    ExposureHistory,
    campaign_code,
    campaign_refusal,
    rest_days,
    resting_products,
)
from serving.decision.rules import Rules

TEA = int(product_code(["tea"])[0])
MAIL = Channel.EMAIL


def history(last_days: float, ignored: int, code: int = TEA) -> ExposureHistory:
    return ExposureHistory({code: Exposure(last_days, ignored, MAIL)})


@pytest.mark.parametrize(
    ("ignored", "expected"), [(0, 7), (1, 7), (2, 14), (3, 28), (4, 56), (5, 112), (6, 180), (100_000, 180)]
)
def test_each_contact_in_a_row_without_a_reaction_doubles_the_rest(ignored: int, expected: float) -> None:
    assert rest_days(Exposure(0.0, ignored, MAIL), 7.0, 2.0, 180.0) == expected


def test_a_rest_is_never_shorter_than_the_first_one() -> None:
    assert rest_days(Exposure(0.0, 1, MAIL), 30.0, 2.0, 10.0) == 30.0
    assert rest_days(Exposure(0.0, 9, MAIL), 30.0, 1.0, 180.0) == 30.0


@pytest.mark.parametrize(
    ("last_days", "ignored", "reason"),
    [
        (6.99, 1, "last offered 7 days ago on email: rests for 7 days"),
        (7.0, 1, None),
        (6.0, 0, "last offered 6 days ago on email: rests for 7 days"),
        (55.9, 4, "last offered 56 days ago on email, 4 times in a row without a reaction: rests for 56 days"),
        (56.0, 4, None),
    ],
)
def test_a_product_rests_until_its_time_is_over(last_days: float, ignored: int, reason: str | None) -> None:
    assert resting_products(history(last_days, ignored), Rules()) == ({} if reason is None else {TEA: reason})


def test_a_campaign_rests_by_its_own_rule_and_is_no_product() -> None:
    code = campaign_code("tea")
    sent = history(3.0, 2, code)
    assert resting_products(sent, Rules()) == {}
    assert campaign_refusal(sent, "tea", Rules()) == (
        "campaign tea: last contact 3 days ago on email, 2 times in a row without a reaction: rests for 14 days"
    )
    assert campaign_refusal(sent, "coffee", Rules()) is None
    assert campaign_refusal(sent, None, Rules()) is None
    assert campaign_refusal(sent, "tea", Rules(campaign_rest_days=1, campaign_rest_growth=3)) is None
    assert campaign_refusal(history(3.0, 2), "tea", Rules()) is None


def test_with_no_days_nothing_rests_and_the_log_is_not_asked() -> None:
    def never() -> dict[int, Exposure]:
        raise AssertionError("the log was asked")

    rules = Rules(product_rest_days=0, campaign_rest_days=0)
    forgot = ExposureHistory({TEA: Exposure(0.0, 5, MAIL)}, 0.0, never)
    assert resting_products(forgot, rules) == {}
    assert campaign_refusal(forgot, "tea", rules) is None
    assert resting_products(ExposureHistory({}, 181.0, never), Rules()) == {}
    assert resting_products(ExposureHistory({}, 8.0, never), Rules(product_rest_growth=1)) == {}


def test_what_the_state_forgot_is_asked_for_where_it_may_still_rest() -> None:
    whole = {TEA: Exposure(100.0, 5, MAIL)}
    assert set(resting_products(ExposureHistory({}, 100.0, lambda: whole), Rules())) == {TEA}
    again = ExposureHistory({TEA: Exposure(20.0, 1, MAIL, True)}, 200.0, lambda: {TEA: Exposure(20.0, 3, MAIL)})
    assert set(resting_products(again, Rules())) == {TEA}
    assert set(resting_products(ExposureHistory(whole, math.inf), Rules())) == {TEA}
