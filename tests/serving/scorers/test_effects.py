"""Effects in answers: they replace the response's worth, rank the arms, and say what they rest on."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from features.scoring.effects import EffectScorer, LinearEffects
from features.signals import SIGNAL_NAMES
from features.vocabulary import NOTHING, Channel, Task
from serving.decision.contacts import (
    NOTHING_ARM,
    allowed_values,
    arm_value,
    best_arm_reasons,
    check_arms,
    known_gains,
    score_arms,
)
from serving.decision.policy import choice_chances
from serving.decision.rules import Arm, ContactFacts, Eligibility, Rules
from serving.decision.send_time import best_moment, coming_hours, uniform_hours
from serving.scorers.best_channel import ChannelScorer
from serving.scorers.model_card import ModelCard

EMAIL, POST = Arm("email_news", Channel.EMAIL, 0.01), Arm("post_a", Channel.POST, 0.5)
CHECKED = (Eligibility(EMAIL, True), Eligibility(POST, False, ("no",)))


def scorer(**changes: object) -> EffectScorer:
    known = EffectScorer(
        arms=(NOTHING, "email_news", "post_a"),
        seen=(True, True, False),
        population=np.array([-0.5, 0.0, -9.0]),
        columns=np.array([0]),
        history_prior=3.0,
        slope=0.5,
        centre=np.zeros(3),
        base=1,
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def signals(first: float, occasions: float) -> np.ndarray:
    found = np.zeros((1, len(SIGNAL_NAMES)), np.float32)
    found[0, 0], found[0, SIGNAL_NAMES.index("n_action_occasions")] = first, occasions
    return found


def test_a_customers_own_difference_counts_the_more_the_more_is_known() -> None:
    linear = scorer(model=LinearEffects(np.zeros(1), np.array([[-2.0, 0.0, 1.0]]), np.zeros(3)))
    assert linear.gains(signals(1.0, 0.0))[0, :2].tolist() == [0.0, 0.5]
    # nothing loses slope 0.5 * 2 of which 3 / (3 + 3) counts
    assert linear.gains(signals(1.0, 3.0))[0, 1] == pytest.approx(0.5 + 0.5 * 1.0)
    assert math.isnan(linear.gains(signals(1.0, 3.0))[0, 2])  # the log never took it
    assert not scorer().personal


def test_what_is_not_known_of_an_arm_is_valued_by_its_response() -> None:
    rules = Rules(response_value=5.0)
    assert arm_value(POST, 0.2, rules) == pytest.approx(0.5)
    assert arm_value(POST, 0.2, rules, 1.25) == 1.25
    assert arm_value(NOTHING_ARM, 0.9, rules, 7.0) == 0.0
    channel = ChannelScorer(ModelCard(Task.BEST_CHANNEL, "1", "best_channel_v2"), (EMAIL, POST), (), scorer())
    gains = channel.gains(signals(0.0, 0.0))[0]
    assert gains[0] == 0.5
    assert math.isnan(gains[1])


def test_arms_are_ranked_by_effect_and_only_allowed_ones_have_a_chance() -> None:
    gains, probabilities = np.array([-0.2, 3.0]), np.array([0.9, 0.1])
    values = allowed_values(CHECKED, probabilities, gains, Rules())
    assert values == {"email_news": -0.2, NOTHING: 0.0}
    chances = choice_chances(values, exploration=0.1, temperature=0.1)
    rows = score_arms(CHECKED, probabilities, gains, Rules(), chances)
    assert [row.arm for row in rows] == [NOTHING, "email_news", "post_a"]
    assert [row.effect for row in rows] == [None, -0.2, 3.0]
    assert sum(row.chance or 0.0 for row in rows) == pytest.approx(1.0)
    assert rows[-1].chance == 0.0


def test_the_answer_says_whether_its_value_is_an_effect() -> None:
    probabilities = np.array([0.9, 0.1])
    known = score_arms(CHECKED, probabilities, np.array([2.0, 3.0]), Rules())[0]
    guessed = score_arms(CHECKED, probabilities, np.full(2, np.nan), Rules())[0]
    assert "its effect against sending nothing" in best_arm_reasons(known, 2)[1]
    assert "not on an effect" in best_arm_reasons(guessed, 2)[1]
    assert "(2.00) of 2 allowed ways" in best_arm_reasons(known, 2)[0]
    assert "is everybody's" in best_arm_reasons(known, 2, personal=False)[2]


def test_an_arm_of_the_morning_is_sent_in_the_morning() -> None:
    friday_noon = datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp()
    coming = coming_hours(uniform_hours(), Rules(), friday_noon)
    assert best_moment(coming, Channel.EMAIL, Rules(), (7, 9)) == datetime(2024, 3, 2, 7, tzinfo=UTC).timestamp()
    assert best_moment(coming, Channel.SMS, Rules(), (22, 24)) is None  # quiet hours


def test_an_arm_is_judged_at_its_own_moment_and_refused_where_it_has_none() -> None:
    friday_noon = datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp()
    arms = (Arm("sms_evening", Channel.SMS, hours=(17, 21)), Arm("sms_night", Channel.SMS, hours=(22, 24)))
    facts = ContactFacts(consents={Channel.SMS: True})
    night = friday_noon + 11 * 3600  # 23:00: quiet on sms, but not at five
    checked, moments = check_arms(arms, facts, uniform_hours(), Rules(), night)
    assert [item.eligible for item in checked] == [True, False]
    assert "quiet hours" in checked[1].reasons[0]
    assert moments == [datetime(2024, 3, 2, 17, tzinfo=UTC).timestamp(), None]
    noon, _ = check_arms(arms, facts, uniform_hours(), Rules(), friday_noon)
    assert noon[1].reasons == ("sms is silent in all hours from 22 to 24",)


def test_of_a_channel_that_was_refused_no_effect_is_told() -> None:
    gains = known_gains((EMAIL, POST), np.array([2.0, 3.0]), ContactFacts(consents={Channel.EMAIL: False}))
    assert math.isnan(gains[0])
    assert gains[1] == 3.0
