"""Two policies on one log: intervals that hold the truth, the same answer for the same policy, and doubts in words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.arrays import FloatArray
from features.errors import InputError
from features.evaluation.off_policy import DecisionLog
from features.evaluation.two_policies import compare_policies, mean_rewards

ARMS = 3


def softly(values: FloatArray, exploration: float, temperature: float) -> FloatArray:
    weights = np.exp(values / temperature)
    return np.asarray(exploration / values.shape[1] + (1 - exploration) * weights / weights.sum(axis=1, keepdims=True))


def world(seed: int, n: int = 600) -> tuple[DecisionLog, FloatArray, FloatArray, float]:
    """A log, the chances of its own policy and of one without arm 2, and what changing over truly brings."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(n, ARMS)) * 0.5
    chance = 1 / (1 + np.exp(1.5 - taste - np.array([0.0, 0.4, 0.8])))
    old = softly(taste, 0.3, 0.5)
    new = softly(np.where(np.arange(ARMS) == 2, -np.inf, taste), 0.3, 0.5)
    new[:, 2] = 0.0
    new /= new.sum(axis=1, keepdims=True)
    action = (rng.random(n)[:, None] > np.cumsum(old, axis=1)).sum(axis=1)
    rows = np.arange(n)
    reward = 5.0 * (rng.random(n) < chance[rows, action]) - 0.1 * action
    expected = 5.0 * chance - 0.1 * np.arange(ARMS)
    truth = float(((new - old) * expected).sum(axis=1).mean())
    return DecisionLog(action, old[rows, action], reward, ARMS), old, new, truth


def test_intervals_of_the_difference_hold_the_truth() -> None:
    held = 0
    for seed in range(60):
        log, old, new, truth = world(seed)
        found = compare_policies(log, old, new, n_bootstrap=200, seed=seed).difference
        held += found.low <= truth <= found.high
    assert held >= 54


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000))
def test_the_same_policy_brings_nothing(seed: int) -> None:
    log, old, _, _ = world(seed, 60)
    found = compare_policies(log, old, old, n_bootstrap=20)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
    assert found.old_support.mean_weight == pytest.approx(1.0)
    assert found.warnings == ()


def test_a_row_is_judged_by_others_only() -> None:
    log = DecisionLog(np.array([0, 0, 1]), np.full(3, 0.5), np.array([1.0, 3.0, 7.0]), 2, np.array(["a", "b", "a"]))
    found = mean_rewards(log, n_folds=2)
    # nobody but customer a was drawn 1, so that their rows have everybody's mean of it: 11 / 3
    assert found.tolist() == [[3.0, 11 / 3], [1.0, 7.0], [3.0, 11 / 3]]


def test_a_policy_that_the_log_never_took_is_refused_in_words() -> None:
    log, old, _, _ = world(1)
    elsewhere = np.zeros((len(log), ARMS + 1))
    elsewhere[:, ARMS] = 1.0
    wider = DecisionLog(log.action, log.pscore, log.reward, ARMS + 1)
    with pytest.raises(InputError, match=r"nothing about the new policy.*no overlap"):
        compare_policies(wider, np.column_stack([old, np.zeros(len(old))]), elsewhere)


def test_thin_overlap_is_told() -> None:
    log, old, _, _ = world(3, 2_000)
    rare = np.where(np.arange(ARMS) == int(np.argmin(np.bincount(log.action))), 1.0, 0.0) * np.ones((len(log), 1))
    keep = np.arange(len(log)) < 2_000
    pscore = np.where(rare[keep, log.action] > 0, 0.02, log.pscore)
    pscore[np.flatnonzero(rare[keep, log.action] > 0)[:-30]] = 1.0
    found = compare_policies(DecisionLog(log.action, pscore, log.reward, ARMS), old, rare, n_bootstrap=20)
    assert any("few of the logged decisions" in text for text in found.warnings)
