"""Equal predictions: no metric depends on the order in which rows come, and each has the value that theory gives."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from features.evaluation.off_policy import DecisionLog
from features.scoring.win_back import LinearEffect
from training.evaluation import metrics
from training.evaluation.plots import lift_curve, profit_curve
from training.evaluation.qini import N_POINTS, auuc, qini, qini_curve
from training.evaluation.ranking import top_k
from training.models.win_back.learner import Contacts, Winback
from training.models.win_back.measure import SHARES, measure


def decisions(n: int, seed: int) -> DecisionLog:
    rng = np.random.default_rng(seed)
    action = rng.integers(0, 3, n)
    pscore = np.array([0.5, 0.3, 0.2])[action]
    reward = (rng.random(n) < 0.1 + 0.2 * (action == 1)).astype(float)
    return DecisionLog(action, pscore, reward, 3, np.arange(n).astype(str))


def shuffled(log: DecisionLog, order: np.ndarray) -> DecisionLog:
    return DecisionLog(log.action[order], log.pscore[order], log.reward[order], 3, np.arange(len(order)).astype(str))


@pytest.mark.parametrize("rival", [0, None])
@pytest.mark.parametrize("n", [7, 500, 1001])
def test_a_constant_effect_has_the_straight_line_and_no_qini(n: int, rival: int | None) -> None:
    log = decisions(n, seed=n)
    weights = np.random.default_rng(1).integers(0, 3, n).astype(float)
    for w in (np.ones(n), weights):
        gains = qini_curve(log, np.full(n, 0.2), 1, rival)(w)
        assert gains == pytest.approx(gains[-1] * np.arange(1, N_POINTS + 1) / N_POINTS)
        assert auuc(gains) == pytest.approx(gains[-1] / 2)
        assert qini(log, np.full(n, 0.2), 1, rival)(w) == pytest.approx(0.0, abs=1e-12)


@given(seed=st.integers(0, 1000), n_levels=st.integers(1, 5))
@settings(max_examples=40)
def test_qini_does_not_depend_on_the_order_of_rows(seed: int, n_levels: int) -> None:
    rng = np.random.default_rng(seed)
    log, effect = decisions(120, seed), rng.integers(0, n_levels, 120).astype(float)
    order = rng.permutation(120)
    ours = qini(log, effect, 1, 0)(np.ones(120))
    assert qini(shuffled(log, order), effect[order], 1, 0)(np.ones(120)) == pytest.approx(ours, abs=1e-12)


def test_a_tie_is_the_mean_of_the_orders_that_it_may_have() -> None:
    """Under one arm all weigh the same, so the mean of the curves over all orders of a tie is the curve of the tie."""
    n = 200
    rng = np.random.default_rng(3)
    log = DecisionLog(np.tile([0, 1], n // 2), np.full(n, 0.5), rng.random(n), 2, np.arange(n).astype(str))
    effect = np.repeat([2.0, 1.0], n // 2)
    tied = qini(log, effect, 1, 0)(np.ones(n))
    broken = [qini(log, effect + 1e-6 * rng.permutation(n), 1, 0)(np.ones(n)) for _ in range(2000)]
    assert np.mean(broken) == pytest.approx(tied, abs=4 * np.std(broken) / np.sqrt(2000) + 2e-3)


def win_back(uplift: np.ndarray, risk: np.ndarray, seed: int = 0) -> tuple[Winback, Contacts]:
    n = len(uplift)
    rng = np.random.default_rng(seed)
    treated = (rng.random(n) < 0.5).astype(float)
    kept = (rng.random(n) < 0.3 + 0.2 * treated).astype(float)
    nothing = LinearEffect(np.zeros(1), np.zeros(1), 0.0)
    scores = rng.normal(0.2, 1.0, n)
    contacts = Contacts(np.zeros((n, 1), np.float32), treated, kept, np.full(n, 0.5), np.arange(n).astype(object), True)
    return Winback(uplift, risk, scores, np.arange(n) % 3 // 1, (nothing,) * 3, nothing), contacts


def test_ways_of_aiming_that_cannot_tell_customers_apart_gain_nothing() -> None:
    n = 1000  # folds of 334, 333 and 333
    found, contacts = win_back(np.full(n, 0.1), np.full(n, 0.5))
    report = measure(found, contacts, 0.0, seed=0)
    for table in (report.metrics, report.baselines["risk"]):
        assert table["qini"].value == pytest.approx(0.0, abs=1e-12)
        for share in SHARES:
            assert table[f"kept_per_contact@{share:.0%}"].value == pytest.approx(found.scores.mean())
    order = np.random.default_rng(1).permutation(n)
    again = Winback(found.uplift, found.risk, found.scores[order], found.folds[order], found.effects, found.effect)
    assert again.within_folds(again.uplift).tolist() == [0.5] * n


def test_the_top_share_takes_who_ties_on_its_border_in_part() -> None:
    assert metrics.top_share([3.0, 1.0, 2.0, 2.0], 0.5).tolist() == [1.0, 0.0, 0.5, 0.5]
    assert metrics.top_share([7.0] * 8, 0.25).tolist() == [0.25] * 8
    assert metrics.top_share([1.0, 2.0, 3.0, 4.0], 0.5).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert metrics.top_share([1.0, 2.0], 0.0).tolist() == [0.0, 0.0]


def expected_maximum_profit(labels: np.ndarray, scores: np.ndarray) -> float:
    """By quadrature over the acceptance rate, at each rate the best of all borders between distinct scores."""
    levels = np.unique(scores)[::-1]
    churners = np.array([0.0, *(labels[scores >= level].sum() for level in levels)])
    others = np.array([0.0, *((1 - labels)[scores >= level].sum() for level in levels)])

    def profit(rate: float) -> float:
        gain = (rate * 190.0 - 1.0) * churners - 11.0 * others
        return float(gain.max() / len(labels) * beta.pdf(rate, 6, 14))

    edges = np.linspace(0, 1, 201)
    return float(sum(quad(profit, low, high)[0] for low, high in pairwise(edges)))


@pytest.mark.parametrize(("rate", "n_levels"), [(0.1, 8), (0.1449, 50), (0.3, 3), (0.5, 1000)])
def test_expected_maximum_profit_equals_fine_quadrature(rate: float, n_levels: int) -> None:
    rng = np.random.default_rng(4)
    chance = rng.beta(1, (1 - rate) / rate, 600)
    labels = (rng.random(600) < chance).astype(float)
    scores = np.round(chance * n_levels)
    ours = metrics.max_profit(labels, scores)(np.ones(600))
    assert ours == pytest.approx(expected_maximum_profit(labels, scores), rel=1e-5, abs=1e-8)
    assert ours > 0
    order = rng.permutation(600)
    assert metrics.max_profit(labels[order], scores[order])(np.ones(600)) == pytest.approx(ours)
    weights = rng.integers(0, 3, 600)
    repeated = np.repeat(np.arange(600), weights)
    whole = metrics.max_profit(labels[repeated], scores[repeated])(np.ones(len(repeated)))
    assert metrics.max_profit(labels, scores)(weights.astype(float)) == pytest.approx(whole)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.1, 0.0143710), (0.2, 2.9603767), (0.5, 22.5007912), (0.04, 0.0), (0.0, 0.0)]
)
def test_of_a_constant_score_everybody_or_nobody_is_targeted(share: float, expected: float) -> None:
    """∫ max(0, share (190 γ - 1) - 11 (1 - share)) over Beta(6, 14), by quadrature: at 10 % churners a little, 0.0144."""
    labels = np.repeat([1.0, 0.0], [round(1000 * share), round(1000 * (1 - share))])
    assert metrics.max_profit(labels, np.full(1000, 0.3))(np.ones(1000)) == pytest.approx(expected, abs=1e-6)


@given(seed=st.integers(0, 500), n_levels=st.sampled_from([1, 2, 3, 10]), share=st.sampled_from([0.1, 0.25, 0.5]))
@settings(max_examples=30)
def test_no_metric_of_yes_and_no_depends_on_the_order_of_rows(seed: int, n_levels: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    labels, scores = (rng.random(90) < 0.4).astype(float), rng.integers(0, n_levels, 90) / 10
    order = rng.permutation(90)
    for make in (*metrics.CHURN.values(), lambda y, s: metrics.lift(y, s, share)):
        ours, theirs = make(labels, scores)(np.ones(90)), make(labels[order], scores[order])(np.ones(90))
        assert theirs == pytest.approx(ours, nan_ok=True)
    assert metrics.auc(labels, np.zeros(90))(np.ones(90)) == 0.5
    assert metrics.lift(labels, np.zeros(90), share)(np.ones(90)) == pytest.approx(1.0)
    assert len(np.unique(metrics.probability_bins(np.full(90, 0.3)))) == 1


def test_curves_of_a_constant_are_straight_whatever_comes_first() -> None:
    import pandas as pd

    labels = np.repeat([1.0, 0.0], 50)
    evaluation = pd.DataFrame({"part": "all", "score": 0.3, "label": labels})
    for order in (np.arange(100), np.arange(100)[::-1]):
        line = lift_curve(evaluation.iloc[order]).axes[0].lines[0]
        assert line.get_xydata().tolist() == [[0.0, 0.0], [1.0, 1.0]]
        profit = profit_curve(labels[order], np.full(100, 0.3)).axes[0].lines[0]
        assert profit.get_xydata() == pytest.approx(np.array([[0.0, 0.0], [1.0, 0.5 * 56.0 - 0.5 * 11.0]]))


@given(seed=st.integers(0, 500), n_levels=st.integers(1, 6), k=st.integers(1, 12))
@settings(max_examples=60)
def test_products_that_tie_on_the_border_come_by_their_column(seed: int, n_levels: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, n_levels, (5, 41)).astype(np.float32)
    scores[:, rng.random(41) < 0.2] = -np.inf
    answer = top_k(scores, k)
    for row in range(5):
        columns = [column for column in range(1, 41) if np.isfinite(scores[row, column])]
        best = sorted(columns, key=lambda column: (-scores[row, column], column))[:k]
        assert answer[row].tolist() == best + [0] * (k - len(best))
