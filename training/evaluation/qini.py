"""The Qini curve: effects predicted for one arm and a decision log in; curve, area and Qini coefficient out.

Stated once: rows are ordered by the predicted effect of the arm against its rival, highest first. For the top share
phi, g(phi) = phi * (mean reward under the arm - mean reward under the rival), both means over the rows of the top share
with self-normalised inverse-chance weights. The curve is g over phi from 0 to 1; AUUC is the area under it; the Qini
coefficient is that area less the area g(1) / 2 under the straight line of random order (Radcliffe 2007, per decision
instead of in total). Unit: reward per decision. Of equal effects no row comes before another: along them the sums grow
evenly, so that a constant has the straight line of random order and a coefficient of 0.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from features.arrays import FloatArray, IntArray
from features.evaluation.off_policy import DecisionLog
from features.evaluation.resampling import Statistic

N_POINTS = 100
"""Shares at which the curve is read."""


def qini(log: DecisionLog, effect: FloatArray, arm: int, rival: int | None) -> Statistic:
    """The Qini coefficient as a function of row weights; `rival` None stands for the other arms in equal parts."""
    curve = qini_curve(log, effect, arm, rival)

    def statistic(counts: FloatArray) -> float:
        gains = curve(counts)
        return auuc(gains) - float(gains[-1]) / 2

    return statistic


def auuc(gains: FloatArray) -> float:
    """Area under a curve read at 1 / N, 2 / N, …, 1, which starts in 0."""
    return float((gains[:-1].sum() + gains[-1] / 2) / len(gains))


def qini_curve(log: DecisionLog, effect: FloatArray, arm: int, rival: int | None) -> Callable[[FloatArray], FloatArray]:
    """Row weights (n,) to g at the shares 1 / N_POINTS, …, 1; rows of equal effects are taken in equal parts."""
    _, rank = np.unique(-effect, return_inverse=True)
    n_ranks = int(rank.max(initial=-1)) + 1
    w_arm = np.where(log.action == arm, 1.0, 0.0) / log.pscore
    other = log.action != arm if rival is None else log.action == rival
    w_rival = np.where(other, 1.0, 0.0) / log.pscore
    parts = (w_arm, w_arm * log.reward, w_rival, w_rival * log.reward)
    shares = np.arange(1, N_POINTS + 1) / N_POINTS

    def curve(counts: FloatArray) -> FloatArray:
        reached = np.cumsum(np.bincount(rank, counts, n_ranks), dtype=np.float64)
        ends = shares * reached[-1]
        sums = [_taken(ends, reached, np.cumsum(np.bincount(rank, counts * part, n_ranks))) for part in parts]
        ours = np.divide(sums[1], sums[0], out=np.zeros(N_POINTS), where=sums[0] > 0)
        theirs = np.divide(sums[3], sums[2], out=np.zeros(N_POINTS), where=sums[2] > 0)
        return np.asarray(shares * (ours - theirs))

    return curve


def rank_within(order: FloatArray, folds: IntArray) -> FloatArray:
    """Where each row lies among its fold's, (n,) in (0, 1), equal ones in their middle: the levels of models that saw
    different rows are not compared, and rows that all are equal lie at one half whatever the fold.
    """
    ranks = np.empty(len(order))
    for fold in np.unique(folds):
        mine = folds == fold
        ranks[mine] = (rankdata(order[mine]) - 0.5) / mine.sum()
    return ranks


def _taken(ends: FloatArray, reached: FloatArray, total: FloatArray) -> FloatArray:
    return np.interp(ends, np.concatenate(([0.0], reached)), np.concatenate(([0.0], total)))
