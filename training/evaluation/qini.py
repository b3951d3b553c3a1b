"""The Qini curve: effects predicted for one arm and a decision log in; curve, area and Qini coefficient out.

Stated once: rows are ordered by the predicted effect of the arm against its rival, highest first. For the top share
phi, g(phi) = phi * (mean reward under the arm - mean reward under the rival), both means over the rows of the top share
with self-normalised inverse-chance weights. The curve is g over phi from 0 to 1; AUUC is the area under it; the Qini
coefficient is that area less the area g(1) / 2 under the straight line of random order (Radcliffe 2007, per decision
instead of in total). Unit: reward per decision.
"""

from collections.abc import Callable

import numpy as np

from features.arrays import FloatArray
from training.evaluation.metrics import Statistic
from training.evaluation.off_policy import DecisionLog

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
    """Row weights (n,) to g at the shares 1 / N_POINTS, …, 1. Equal effects keep the order of the rows' hash."""
    tie = np.random.default_rng(0).permutation(len(log))
    order = np.lexsort((tie, -effect))
    w_arm = (np.where(log.action == arm, 1.0, 0.0) / log.pscore)[order]
    other = log.action != arm if rival is None else log.action == rival
    w_rival = (np.where(other, 1.0, 0.0) / log.pscore)[order]
    reward = log.reward[order]
    shares = np.arange(1, N_POINTS + 1) / N_POINTS

    def curve(counts: FloatArray) -> FloatArray:
        c = counts[order]
        reached = np.cumsum(c)
        ends = np.minimum(np.searchsorted(reached, shares * reached[-1] * (1 - 1e-12)), len(c) - 1)
        sums = [np.cumsum(c * part)[ends] for part in (w_arm, w_arm * reward, w_rival, w_rival * reward)]
        ours = np.divide(sums[1], sums[0], out=np.zeros(N_POINTS), where=sums[0] > 0)
        theirs = np.divide(sums[3], sums[2], out=np.zeros(N_POINTS), where=sums[2] > 0)
        return np.asarray(shares * (ours - theirs))

    return curve
