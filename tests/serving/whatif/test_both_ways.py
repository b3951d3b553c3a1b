"""The same customers under two sets of rules: what is counted, who changes, and which rule alone stands in the way."""

from typing import Any

import numpy as np
import pytest

from features.vocabulary import NOTHING, Channel
from serving.decision.arm_weighing import WeighedArms
from serving.decision.rules import Arm, Eligibility, Rules
from serving.whatif.both_ways import BothWays, alone_in_the_way

EMAIL, POST = Arm("email", Channel.EMAIL, 0.1), Arm("post", Channel.POST, 1.0)
CAP, CONSENT = "2 contacts on email in 7 days is the cap", "no consent for email is on record"


def weighed(chances: dict[str, float], refused: dict[str, tuple[str, ...]] | None = None) -> WeighedArms:
    against = refused or {}
    checked = tuple(Eligibility(arm, arm.name not in against, against.get(arm.name, ())) for arm in (EMAIL, POST))
    values = {"email": 2.0, "post": 3.0, NOTHING: 0.0}
    known: dict[str, Any] = {"probabilities": np.zeros(2), "gains": np.zeros(2), "rules": Rules()}
    return WeighedArms(checked, (0.0, 0.0), values=values, chances=chances, **known)


def test_sums_are_of_chances_and_no_luck_is_in_them() -> None:
    both = BothWays()
    half = weighed({"email": 0.5, "post": 0.25, NOTHING: 0.25})
    both.add(["a", "b"], [half, half], [half, weighed({NOTHING: 1.0}, {"email": (CAP,), "post": ("post rests",)})], "s")
    old, new = both.old.side("old"), both.new.side("new")
    assert (old.contacts, old.cost, old.expected_value) == (1.5, pytest.approx(0.6), pytest.approx(3.5))
    assert old.arms == {"email": 1.0, "post": 0.5, NOTHING: 0.5}
    assert (new.contacts, new.without_any_arm, new.refused) == (0.75, 1, {"caps": 1, "others": 1})
    assert new.alone == {"caps": 1, "others": 1}


def test_who_has_the_same_chances_never_changes() -> None:
    both, same = BothWays(), weighed({"email": 0.4, "post": 0.3, NOTHING: 0.3})
    names = [f"c{i}" for i in range(200)]
    both.add(names, [same] * 200, [same] * 200, "seed")
    assert both.moves.told() == []


def test_who_changes_is_counted_with_examples() -> None:
    both = BothWays()
    names = [f"c{i}" for i in range(10)]
    both.add(names, [weighed({"email": 1.0})] * 10, [weighed({NOTHING: 1.0})] * 4 + [weighed({"post": 1.0})] * 6, "s")
    told = [(move.before, move.after, move.customers, move.examples) for move in both.moves.told()]
    assert told == [("email", "post", 6, ["c4", "c5", "c6"]), ("email", NOTHING, 4, ["c0", "c1", "c2"])]


@pytest.mark.parametrize(
    ("email", "post", "alone"),
    [
        ((CAP,), ("not reachable on post: nothing is known",), {"caps", "reachable"}),
        ((CAP, CONSENT), ("not reachable on post: nothing is known",), {"reachable"}),
        ((CAP, CONSENT), (CAP, CONSENT), set()),
        ((CAP,), (), set()),  # the other way is allowed: nothing stands in the way
    ],
)
def test_a_rule_alone_in_the_way(email: tuple[str, ...], post: tuple[str, ...], alone: set[str]) -> None:
    checked = [Eligibility(EMAIL, False, email), Eligibility(POST, not post, post)]
    assert alone_in_the_way(checked) == alone
