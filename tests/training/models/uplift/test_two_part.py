"""The two-part model on made logs whose chances and amounts are known: what arms share, who differs, and who does not."""

import json

import numpy as np
import pytest
from scipy.special import expit

from features.evaluation.off_policy import DecisionLog
from features.scoring.two_part import TwoPart
from training.models.uplift.cross_fitting import fold_numbers
from training.models.uplift.two_part import Parts, fit_two_part, usual_rewards
from training.models.uplift.two_part_fit import cross_two_part, final_two_part

ARMS = ("nothing", "mail_early", "mail_late", "text")
COST = np.array([0.0, 0.1, 0.1, 0.5])
PARTS = Parts.of(ARMS, 0)


def made(n: int, differ: float, seed: int = 0) -> tuple[np.ndarray, DecisionLog]:
    """Each arm answered with its own chance, mail by the first feature as `differ` says; an answer is worth 10 + the second."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    action = rng.integers(0, 4, n)
    mail = np.isin(action, [1, 2])
    logit = np.array([-2.0, -1.0, -1.0, -1.5])[action] + 0.5 * x[:, 2] + differ * mail * x[:, 0]
    reward = (rng.random(n) < expit(logit)) * (10.0 + x[:, 1]) - COST[action]
    return x, DecisionLog(action, np.full(n, 0.25), reward, 4)


def test_arms_share_the_words_of_their_names() -> None:
    assert PARTS.weights.tolist()[0] == [0.0] * 5  # nothing has no part in anything
    early, late = PARTS.weights[1], PARTS.weights[2]
    assert early @ late == 2  # something is sent, and it is mail
    assert early @ PARTS.weights[3] == 1
    assert Parts.of(("a", "b"), None).weights.shape == (2, 2)


def test_the_usual_reward_is_what_comes_without_an_answer() -> None:
    _, log = made(2_000, 0.0)
    assert usual_rewards(log) == pytest.approx(-COST)
    spread = DecisionLog(log.action, log.pscore, np.random.default_rng(0).normal(size=2_000), 4)
    assert usual_rewards(spread) is None


def test_chances_and_amounts_are_found() -> None:
    x, log = made(20_000, 1.0)
    model = fit_two_part(x, log, PARTS, spread=5.0)
    asked = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 2.0, 0.0]], np.float32)
    logit = np.array([-2.0, -1.0, -1.0, -1.5]) + np.array([[0.0], [1.0], [-1.0]]) * np.array([0.0, 1.0, 1.0, 0.0])
    truth = expit(logit) * (10.0 + asked[:, [1]]) - COST
    assert model(asked) == pytest.approx(truth, abs=0.5)
    again = TwoPart.of(json.loads(json.dumps(model.described())))
    assert np.array_equal(again(asked), model(asked))


def test_without_spread_customers_differ_in_what_they_are_but_not_by_arm() -> None:
    x, log = made(5_000, 1.0)
    model = fit_two_part(x, log, PARTS, spread=0.0)
    assert model.response_weights is not None
    assert np.ptp(model.response_weights, axis=1).max() < 1e-9
    assert model.response_weights[2, 0] > 0.2


def test_decisions_that_did_not_reach_anybody_say_nothing_of_the_arm() -> None:
    x, log = made(3_000, 0.0)
    eligible = np.random.default_rng(1).random((3_000, 4)) < 0.7
    reached = eligible[log.taken()]
    absurd = DecisionLog(log.action, log.pscore, np.where(reached, log.reward, 1e6), 4)
    found, plain = (fit_two_part(x, one, PARTS, eligible=eligible)(x[:5]) for one in (absurd, log))
    assert found == pytest.approx(plain)


def test_missing_features_stand_at_the_mean() -> None:
    x, log = made(2_000, 0.5)
    x[::3, 0] = np.nan
    model = fit_two_part(x, log, PARTS)
    blank = np.full((1, 3), np.nan, np.float32)
    assert model.standardised(blank) == pytest.approx(np.zeros((1, 3)), abs=1e-6)
    assert np.isfinite(model(blank)).all()


@pytest.mark.parametrize("binary", [True, False])
def test_differences_are_proven_where_there_are_some_and_nowhere_else(binary: bool) -> None:
    z = {}
    for differ in (0.0, 0.8):
        x, log = made(3_000, differ)
        if not binary:
            noisy = log.reward + np.random.default_rng(2).normal(size=3_000)
            log = DecisionLog(log.action, log.pscore, noisy, 4)
        folds = fold_numbers(log.members(), 3, 0)
        found = cross_two_part(x, log, PARTS, folds, None, 0)
        z[differ] = found.slope_z
        assert found.found.shape == (3_000, 4)
    assert z[0.8] > 4
    assert abs(z[0.0]) < 2.4


def test_a_slope_of_zero_gives_everybody_the_same_order_of_arms() -> None:
    x, log = made(3_000, 1.0)
    model = final_two_part(x, log, PARTS, None, 0, 0.0)
    assert model.response_weights is not None
    assert np.ptp(model.response_weights, axis=1).max() < 1e-9
