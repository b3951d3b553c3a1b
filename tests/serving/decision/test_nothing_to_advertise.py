"""Everything under [never]: a decision is nothing, with its reason, unless an arm shows no product."""

from dataclasses import replace

import pytest

from features.vocabulary import Channel
from serving.decider import Decider
from serving.decision.never import Never
from serving.decision.refusals import rule_of
from serving.decision.rules import Arm, Rules
from serving.runtime import Runtime
from serving.schemas import DecideRequest, DecisionAnswer

ALL = Never(categories=("dairy", "bakery", "drinks", "household"))
REASON = "nothing may be advertised: [never] in rules.toml rules out all {} products"


def decided(runtime: Runtime, rules: Rules) -> DecisionAnswer:
    known = runtime.knowledge
    found = known.bundle.need_channel()
    arms = (Arm("email", Channel.EMAIL, 0.01), Arm("post", Channel.POST, 0.5))
    channel = replace(found, arms=arms, boosters=(found.boosters[0],) * len(arms))
    live = known.states.get("ada")  # type: ignore[union-attr]
    assert live is not None
    decider = Decider(replace(known.bundle, channel=channel), known.catalogue, rules, known.population_hours)
    return decider.decide(live, DecideRequest(customer_id="ada", when="now"), runtime.clock.now()).answer


def test_it_is_nothing_and_says_why(runtime: Runtime) -> None:
    answer = decided(runtime, Rules(never=ALL, exploration=1.0))
    assert (answer.action, answer.arm, answer.product, answer.pscore) == ("nothing", "nothing", None, 1.0)
    reason = REASON.format(len(runtime.knowledge.bundle.need_product().product_ids))
    assert {row.arm: row.reasons[-1] for row in answer.arms if not row.eligible} == {"email": reason, "post": reason}
    assert f"not post: {reason}" in answer.reasons
    assert rule_of(reason) == "never"


@pytest.mark.parametrize(
    ("never", "excepted", "left"),
    [
        (ALL, ("post",), {"post", "nothing"}),
        (Never(categories=ALL.categories[:3]), (), {"email", "post", "nothing"}),
        (Never(), (), {"email", "post", "nothing"}),
    ],
)
def test_an_arm_that_shows_no_product_goes_on(
    runtime: Runtime, never: Never, excepted: tuple[str, ...], left: set[str]
) -> None:
    answer = decided(runtime, Rules(never=never, arms_without_product=excepted, exploration=1.0))
    assert {row.arm for row in answer.arms if row.eligible} == left
