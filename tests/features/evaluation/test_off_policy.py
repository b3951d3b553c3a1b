"""Off-policy estimators: against formulas by hand, against a world whose values are known, against obp where it is there."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.evaluation.off_policy import (
    DecisionLog,
    NoOverlapError,
    evaluate,
    scores,
    single_arm,
    statistics,
    support,
    weights,
)


def values(
    log: DecisionLog, chances: np.ndarray, rewards: np.ndarray | None = None, **options: float
) -> dict[str, float]:
    return {name: stat(np.ones(len(log))) for name, stat in statistics(log, chances, rewards, **options).items()}


TINY = DecisionLog(np.array([0, 1, 1, 0]), np.array([0.5, 0.25, 0.5, 0.8]), np.array([1.0, 0.0, 4.0, 2.0]), 2)
PI = np.array([[0.5, 0.5], [0.0, 1.0], [0.2, 0.8], [1.0, 0.0]])
Q = np.array([[1.0, 3.0], [0.0, 1.0], [2.0, 2.0], [1.0, 5.0]])


def test_every_estimator_equals_its_formula_by_hand() -> None:
    w = [1.0, 4.0, 1.6, 1.25]
    assert weights(TINY, PI).tolist() == pytest.approx(w)
    found = values(TINY, PI, Q, max_weight=1.5)
    # w r = 1, 0, 6.4, 2.5; the direct part = 2, 1, 2, 1; r - q(taken) = 0, -1, 2, 1
    assert found["ips"] == pytest.approx(9.9 / 4)
    assert found["snips"] == pytest.approx(9.9 / 7.85)
    assert found["clipped_ips"] == pytest.approx((1 + 0 + 6.0 + 2.5) / 4)
    assert found["dm"] == pytest.approx(6 / 4)
    assert found["dr"] == pytest.approx((6 - 4 + 3.2 + 1.25) / 4)
    assert found["sndr"] == pytest.approx(6 / 4 + (-4 + 3.2 + 1.25) / 7.85)
    assert found["switch_dr"] == pytest.approx((6 + 1.25) / 4)
    assert found["clipped_dr"] == pytest.approx((6 - 1.5 + 3.0 + 1.25) / 4)


def test_the_scores_of_the_arms_average_to_the_doubly_robust_value() -> None:
    score = scores(TINY, Q)
    assert score[1].tolist() == pytest.approx([0.0, 1.0 - 1.0 / 0.25])
    assert (PI * score).sum(axis=1).mean() == pytest.approx(values(TINY, PI, Q)["dr"])


@given(st.integers(0, 10_000))
def test_the_logs_own_policy_is_worth_the_mean_reward(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.ones(3), 50)
    action = (rng.random(50)[:, None] > np.cumsum(chances, axis=1)).sum(axis=1).clip(0, 2)
    log = DecisionLog(action, chances[np.arange(50), action], rng.normal(size=50), 3)
    found = values(log, chances)
    assert found["ips"] == pytest.approx(log.reward.mean())
    assert found["snips"] == pytest.approx(log.reward.mean())


def bandit(n: int, seed: int) -> tuple[DecisionLog, np.ndarray, np.ndarray, np.ndarray]:
    """A log of three arms, a policy, an expected-reward model that is wrong, and the true expected rewards."""
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    truth = np.column_stack([0.2 + 0 * x, 0.1 + 0.4 * x, 0.5 - 0.4 * x])
    logging = 0.2 / 3 + 0.8 * np.column_stack([x, (1 - x) / 2, (1 - x) / 2])
    action = np.minimum((rng.random(n)[:, None] > np.cumsum(logging, axis=1)).sum(axis=1), 2)
    reward = (rng.random(n) < truth[np.arange(n), action]).astype(float)
    policy = single_arm(n, 3, np.where(x > 0.5, 1, 2))
    return DecisionLog(action, logging[np.arange(n), action], reward, 3), policy, np.full((n, 3), 0.25), truth


def test_intervals_hold_the_true_value_at_their_rate() -> None:
    true_value = 0.1 + 0.4 * 0.75  # the mean of 0.1 + 0.4 x over x above one half, and the same below
    held = {"ips": 0, "snips": 0, "dm": 0, "dr": 0, "sndr": 0, "switch_dr": 0, "clipped_dr": 0}
    for seed in range(100):
        log, policy, rewards, _ = bandit(400, seed)
        found = evaluate(log, policy, rewards, n_bootstrap=150, seed=seed).estimates
        for name in held:
            held[name] += found[name].low <= true_value <= found[name].high
    # 95 of 100 with a standard deviation of 2.2
    assert {name: count for name, count in held.items() if not 89 <= count <= 100} == {}


def test_the_interval_of_the_direct_method_knows_that_its_model_may_be_wrong() -> None:
    log, policy, rewards, _ = bandit(400, 0)
    found = evaluate(log, policy, rewards, n_bootstrap=150).estimates
    assert (found["dm"].value, found["dm"].low, found["dm"].high) == (0.25, 0.25, found["dr"].high)
    right = evaluate(log, policy, np.full((400, 3), found["dr"].value), n_bootstrap=150).estimates
    assert (right["dm"].low, right["dm"].high) == (right["dr"].low, right["dr"].high)


def test_weighting_is_unbiased_where_the_model_is_wrong_and_the_direct_method_is_not() -> None:
    found = [values(log, policy, rewards) for log, policy, rewards, _ in (bandit(400, seed) for seed in range(300))]
    mean = {name: np.mean([one[name] for one in found]) for name in found[0]}
    assert mean["ips"] == pytest.approx(0.4, abs=0.006)
    assert mean["dr"] == pytest.approx(0.4, abs=0.006)
    assert mean["dm"] == pytest.approx(0.25)


def test_doubly_robust_with_the_true_rewards_has_the_smaller_error() -> None:
    errors: dict[str, list[float]] = {"ips": [], "dr": []}
    for seed in range(100):
        log, policy, _, truth = bandit(400, seed)
        found = values(log, policy, truth)
        for name in errors:
            errors[name].append(found[name] - 0.4)
    assert np.std(errors["dr"]) < 0.9 * np.std(errors["ips"])


def test_effective_rows_and_the_largest_weight() -> None:
    found = support(TINY, PI)
    assert found.effective_rows == pytest.approx(7.85**2 / (1 + 16 + 2.56 + 1.5625))
    assert found.largest_weight == pytest.approx(4.0)
    assert "effective rows" in found.refusal


def test_what_the_log_cannot_answer_is_refused_with_the_reason() -> None:
    n = 200
    action = np.repeat([0, 1], n // 2)
    sure = DecisionLog(action, np.ones(n), np.ones(n), 2)
    with pytest.raises(NoOverlapError, match="nothing else could have happened"):
        evaluate(sure, single_arm(n, 2, 0))
    log = DecisionLog(action, np.full(n, 0.5), np.ones(n), 3)
    with pytest.raises(NoOverlapError, match="never took"):
        evaluate(log, single_arm(n, 3, 2))
    rarely = DecisionLog(np.r_[np.zeros(n - 3, int), 1, 1, 1], np.full(n, 0.5), np.ones(n), 2)
    with pytest.raises(NoOverlapError, match=r"3\.0 effective rows of 200"):
        evaluate(rarely, single_arm(n, 2, 1))


def test_pscores_that_contradict_the_log_are_warned_of() -> None:
    n = 3_000
    action = np.random.default_rng(0).choice(3, n, p=[0.5, 0.25, 0.25])
    log = DecisionLog(action, np.full(n, 1 / 3), np.ones(n), 3)
    assert "should be 1" in support(log, single_arm(n, 3, 0)).warning
    fair = DecisionLog(action, np.array([0.5, 0.25, 0.25])[action], np.ones(n), 3)
    assert support(fair, single_arm(n, 3, 0)).warning == ""


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("pscore is 0.0 in row 1", lambda: DecisionLog(np.array([0, 0]), np.array([0.5, 0.0]), np.zeros(2), 1)),
        ("pscore is nan", lambda: DecisionLog(np.array([0]), np.array([np.nan]), np.zeros(1), 1)),
        ("reward is nan", lambda: DecisionLog(np.array([0]), np.array([0.5]), np.array([np.nan]), 1)),
        ("action is 2", lambda: DecisionLog(np.array([2]), np.array([0.5]), np.zeros(1), 2)),
    ],
)
def test_bad_rows_are_refused(name: str, log: object) -> None:
    with pytest.raises(InputError, match=name):
        log()  # type: ignore[operator]


def test_a_policy_whose_chances_do_not_sum_to_one_is_refused() -> None:
    with pytest.raises(InputError, match="1 in total"):
        weights(TINY, PI * 0.9)


def test_whole_customers_are_resampled() -> None:
    log, policy, rewards, _ = bandit(200, 1)
    doubled = DecisionLog(
        np.repeat(log.action, 2), np.repeat(log.pscore, 2), np.repeat(log.reward, 2), 3, np.repeat(np.arange(200), 2)
    )
    one = evaluate(log, policy, rewards, seed=3).estimates["dr"]
    two = evaluate(doubled, policy.repeat(2, axis=0), rewards.repeat(2, axis=0), seed=3).estimates["dr"]
    assert (two.value, two.low, two.high) == pytest.approx((one.value, one.low, one.high))


def test_the_estimators_agree_with_obp() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ope = pytest.importorskip("obp.ope", reason="pip install -e '.[obp]'")
    log, policy, _, _ = bandit(500, 7)
    policy = 0.7 * policy + 0.1
    model = np.random.default_rng(0).random((500, 3))
    ours = values(log, policy, model, max_weight=1.5)
    given = {"reward": log.reward, "action": log.action, "pscore": log.pscore, "position": np.zeros(500, int)}
    given |= {"action_dist": policy[:, :, None], "estimated_rewards_by_reg_model": model[:, :, None]}
    theirs = {
        "ips": ope.InverseProbabilityWeighting(),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting(),
        "dm": ope.DirectMethod(),
        "dr": ope.DoublyRobust(),
        "sndr": ope.SelfNormalizedDoublyRobust(),
        "switch_dr": ope.SwitchDoublyRobust(tau=1.5),
    }
    for name, estimator in theirs.items():
        assert ours[name] == pytest.approx(estimator.estimate_policy_value(**given), rel=1e-9), name
