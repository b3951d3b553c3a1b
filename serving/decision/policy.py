"""Expected values of the allowed arms in, one choice with its exact probability out; pure and reproducible."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """The arm chosen, the chance it had, and the chance of every arm; with offers the chance is of the arm and its offer."""

    arm: str
    pscore: float
    chances: dict[str, float]
    offer: int | None = None
    """The number of the offer that is made."""
    arm_pscore: float | None = None
    """The chance of the arm with whatever offer, where there are any."""


def choose(values: Mapping[str, float], seed: str, *, exploration: float, temperature: float) -> Choice:
    """Choose among `values` (arm -> expected value, allowed arms only), the same for the same `seed` everywhere.

    A share `exploration` is spread evenly, so every allowed arm keeps a chance of at least exploration / n; the rest is
    a softmax at `temperature` (in the unit of the values). Raises ValueError where there is no arm or a value is not finite.
    """
    return draw(choice_chances(values, exploration=exploration, temperature=temperature), seed)


def draw(chances: Mapping[str, float], seed: str) -> Choice:
    """One arm by its chance, the same for the same `seed` everywhere; `chances` sum to 1, in the order of the arms' names."""
    u = uniform(seed)
    cumulative = 0.0
    chosen = ""
    for arm, chance in chances.items():
        if chance <= 0.0:
            continue
        chosen = arm
        cumulative += chance
        if u < cumulative:
            break
    return Choice(chosen, chances[chosen], dict(chances))


def choice_chances(values: Mapping[str, float], *, exploration: float, temperature: float) -> dict[str, float]:
    """The chance of every arm, in the order of its name; they sum to 1."""
    if not values:
        raise ValueError("A policy needs at least one arm: 'nothing' is always one.")
    if not all(math.isfinite(value) for value in values.values()):
        raise ValueError(f"Every arm's value must be finite, got {dict(values)}.")
    best = max(values.values())
    weights = {arm: math.exp((values[arm] - best) / temperature) for arm in sorted(values)}
    total = math.fsum(weights.values())
    floor = exploration / len(weights)
    return {arm: min(1.0, (1.0 - exploration) * weight / total + floor) for arm, weight in weights.items()}


def uniform(seed: str) -> float:
    """A number in [0, 1) that depends on nothing but `seed`."""
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / float(1 << 53)
