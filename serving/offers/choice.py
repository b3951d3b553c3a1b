"""What is known and not known of the values of options in, the exact chance of each out: Thompson sampling that can be logged.

The policy: one of M draws of all offers' lifts is taken by chance; in it each way of contact has the offer that is best there,
and the way is drawn as without offers, softly by its best value, nothing among them, with a share for exploration. The draws
are fixed (see response.py), so that an option's chance is its mean over them, found by counting and not by trying.
"""

from dataclasses import dataclass

import numpy as np

from features.arrays import BoolArray, FloatArray, IntArray
from features.state.jit import compiled, inlined


class Draws:
    """M draws of the lifts of O offers at P places (P, O, M), and their bounds (P, O).

    Raises ValueError for one that is not finite.
    """

    def __init__(self, lifts: FloatArray) -> None:
        if not np.isfinite(lifts).all():
            raise ValueError("Every lift must be finite.")
        self.lifts: FloatArray = np.ascontiguousarray(lifts)
        self.least: FloatArray = lifts.min(axis=2)
        self.most: FloatArray = lifts.max(axis=2)


@dataclass(frozen=True, eq=False)
class OptionChances:
    """The chances of the options (A, O) and of nothing; they sum to 1."""

    options: FloatArray
    nothing: float


def option_chances(
    gross: FloatArray,
    costs: FloatArray,
    draws: Draws,
    place: IntArray,
    allowed: BoolArray,
    *,
    exploration: float,
    temperature: float,
) -> OptionChances:
    """The chance of each option, whose value in a draw is `gross` (A, O) times the lift at its `place`, less `costs` (A, O).

    `place` (A,) says at which of the P places of the draws a way is. Only what is `allowed` (A, O) has a chance; a way of
    which anything is, and nothing, have together at least exploration / n each. Raises ValueError for a value that is not
    finite.
    """
    if not (np.isfinite(gross).all() and np.isfinite(costs).all()):
        raise ValueError("Every option's value must be finite.")
    chances = np.zeros(gross.shape)
    possible = _may_win(gross, costs, draws.least, draws.most, place, allowed)
    nothing = _fill(gross, costs, draws.lifts, place, possible, exploration, temperature, chances)
    return OptionChances(chances, float(nothing))


@compiled
def _may_win(
    gross: FloatArray, costs: FloatArray, least: FloatArray, most: FloatArray, place: IntArray, allowed: BoolArray
) -> BoolArray:
    """Which of the options (A, O) are the best of their way in any draw at all, of lifts from `least` to `most` (P, O).

    Whose value at its best is below another one's at its worst is none: most of many offers need not be looked at again.
    """
    n_arms, n_offers = gross.shape
    possible = np.zeros((n_arms, n_offers), np.bool_)
    highest = np.empty(n_offers)
    for arm in range(n_arms):
        surely = -np.inf
        low, high = least[place[arm]], most[place[arm]]
        for offer in range(n_offers):
            if allowed[arm, offer]:
                one, other = gross[arm, offer] * low[offer], gross[arm, offer] * high[offer]
                highest[offer] = max(one, other) - costs[arm, offer]
                surely = max(surely, min(one, other) - costs[arm, offer])
        for offer in range(n_offers):
            possible[arm, offer] = allowed[arm, offer] and highest[offer] >= surely
    return possible


@compiled
def _fill(
    gross: FloatArray,
    costs: FloatArray,
    lifts: FloatArray,
    place: IntArray,
    allowed: BoolArray,
    exploration: float,
    temperature: float,
    chances: FloatArray,
) -> float:
    """Write the chances of options into `chances` (A, O), and answer that of nothing."""
    n_arms, n_offers = gross.shape
    n_draws = lifts.shape[2]
    best, value = np.full((n_arms, n_draws), -1), np.full((n_arms, n_draws), -np.inf)
    n_ways = 1  # nothing
    for arm in range(n_arms):
        is_way = False
        for offer in range(n_offers):
            if allowed[arm, offer]:
                is_way = True
                _keep_best(offer, gross[arm, offer], costs[arm, offer], lifts[place[arm], offer], best[arm], value[arm])
        n_ways += is_way
    floor = exploration / n_ways
    nothing = 0.0
    shares = np.empty(n_arms)
    for draw in range(n_draws):
        top = 0.0  # what nothing is worth
        for arm in range(n_arms):
            top = max(top, value[arm, draw])
        of_nothing = np.exp(-top / temperature)
        total = of_nothing
        for arm in range(n_arms):
            shares[arm] = np.exp((value[arm, draw] - top) / temperature) if best[arm, draw] >= 0 else 0.0
            total += shares[arm]
        nothing += of_nothing / total
        for arm in range(n_arms):
            if best[arm, draw] >= 0:
                chances[arm, best[arm, draw]] += ((1.0 - exploration) * shares[arm] / total + floor) / n_draws
    kept: float = (1.0 - exploration) * nothing / n_draws + floor
    return kept


@inlined
def _keep_best(offer: int, gross: float, cost: float, lifts: FloatArray, best: IntArray, value: FloatArray) -> None:
    """Put an offer where it is better than the best so far of each draw (M,)."""
    for draw in range(len(lifts)):
        worth = gross * lifts[draw] - cost
        is_better = worth > value[draw]
        value[draw] = worth if is_better else value[draw]
        best[draw] = offer if is_better else best[draw]
