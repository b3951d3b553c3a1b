"""Which rule refused how many: every rule's words are known, and who is refused by nearly nothing is not told of."""

from collections import Counter
from typing import Any

import pytest

from features.vocabulary import Channel
from serving.decision.holdout import holdout_reason
from serving.decision.reachable import Reach
from serving.decision.refusals import RecentRefusals, Refusals, rule_of
from serving.decision.rules import Arm, Cap, ContactFacts, Eligibility, Rules, check_arm

NOON, MIDNIGHT = 1709294400.0, 1709337600.0
EMAIL, SMS = Arm("news", Channel.EMAIL), Arm("text", Channel.SMS)
YES = {Channel.EMAIL: True, Channel.SMS: True}
TWICE = tuple((Channel.EMAIL, NOON - hours * 3600) for hours in (1, 2))


@pytest.mark.parametrize(
    ("rule", "arm", "facts", "rules", "at_s"),
    [
        ("consent", EMAIL, {}, {}, NOON),
        ("refused", EMAIL, {"consents": {Channel.EMAIL: False}}, {}, NOON),
        ("reachable", EMAIL, {"consents": YES, "reach": Reach()}, {}, NOON),
        ("caps", EMAIL, {"consents": YES, "contacts": TWICE}, {"overall_cap": Cap(max=2, days=1)}, NOON),
        ("caps", EMAIL, {"consents": YES, "contacts": TWICE}, {"channel_caps": {"email": Cap(max=2, days=1)}}, NOON),
        (
            "fatigue",
            EMAIL,
            {"consents": YES, "contacts": TWICE, "unanswered": {Channel.EMAIL: 9}},
            {"max_unanswered": 3},
            NOON,
        ),
        ("quiet hours", SMS, {"consents": YES}, {}, MIDNIGHT),
    ],
)
def test_what_each_rule_says_is_counted_as_its_own(
    rule: str, arm: Arm, facts: dict[str, Any], rules: dict[str, Any], at_s: float
) -> None:
    (reason,) = check_arm(arm, ContactFacts(**facts), Rules(**rules), at_s).reasons
    assert rule_of(reason) == rule


def test_a_hold_out_and_a_campaign_have_their_names() -> None:
    assert rule_of(holdout_reason(Rules(holdout_share=0.25))) == "hold-out"
    assert rule_of("campaign spring: last contact 3 days ago on post: rests for 7 days") == "campaign"
    assert rule_of("it rains") == "others"


def judged(**reasons: tuple[str, ...]) -> list[Eligibility]:
    return [Eligibility(Arm(name, Channel.EMAIL), not why, why) for name, why in reasons.items()]


NO = ("no consent for email is on record",)


def test_a_rule_that_refuses_nearly_everybody_is_told_with_count_and_cure() -> None:
    refusals = Refusals()
    refusals.add(judged(news=NO, offers=NO), 2_857)
    assert (refusals.by_rule, refusals.without_any_arm) == ({"consent": 2_857}, 2_857)
    first, second = refusals.warnings()
    assert first == "No way of contact is allowed for 2,857 of 2,857 customers (100%)."
    assert second.startswith(
        "The rule 'consent' refuses news, offers to 2,857 of 2,857 customers (100%): ingest consents"
    )


@pytest.mark.parametrize(("n_refused", "told"), [(89, 0), (90, 2), (100, 2)])
def test_it_is_told_from_nine_in_ten_on(n_refused: int, told: int) -> None:
    refusals, more = Refusals(), Refusals()
    refusals.add(judged(news=NO), n_refused)
    more.add(judged(news=()), 100 - n_refused)
    refusals.merge(more)
    assert refusals.customers == 100
    assert len(refusals.warnings()) == told
    assert Refusals().warnings() == []


def test_who_is_left_one_way_is_not_without_any() -> None:
    refusals = Refusals()
    refusals.add(judged(news=NO, letter=()), 10)
    (warning,) = refusals.warnings()
    assert refusals.without_any_arm == 0
    assert warning.startswith("The rule 'consent' refuses news to 10 of 10 customers")


def test_a_service_counts_live_decisions_and_warns_of_its_newest_thousand() -> None:
    counts: Counter[str] = Counter()
    recent = RecentRefusals(lambda rule, n: counts.update({rule: n}))
    for _ in range(99):
        recent.note(judged(news=NO, offers=NO))
    assert recent.warnings() == [] and counts == {"consent": 99}  # too few to say anything
    recent.note(judged(news=(), offers=()))
    assert [told.partition(":")[0] for told in recent.warnings()] == [
        "No way of contact is allowed for 99 of 100 decisions (99%).",
        "The rule 'consent' refuses news, offers to 99 of 100 decisions (99%)",
    ]
    for _ in range(1_000):
        recent.note(judged(news=(), offers=()))
    assert recent.warnings() == [] and counts == {"consent": 99}
