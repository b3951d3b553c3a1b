"""What a decision or an outcome says of chances in its properties comes in; what is wrong with it, in words, goes out.

A decision's `pscore` is the chance that the policy had of choosing what it chose: whoever learns from the log divides by it,
so it lies in (0, 1]. `chances` (arm -> chance) add up to at most 1, and each of `products` may have a `pscore` of its own.
An outcome has none: it refers to a decision, and takes the chance from there.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from features.vocabulary import EventKind

PSCORE: Final = "pscore"
CHANCES: Final = "chances"
CHANCE_KINDS: Final = (EventKind.DECISION.value, EventKind.OUTCOME.value)
"""Kinds whose properties are looked into for chances."""
_ROUNDING: Final = 1e-6
"""What the sum of chances may be above 1: each was rounded."""


def chance_problem(kind: str, properties: Mapping[str, Any] | None) -> str | None:
    """The first thing that is wrong with the chances of an event of one of CHANCE_KINDS; None where nothing is."""
    if not properties:
        return None
    if kind == EventKind.OUTCOME:
        given = next((name for name in (PSCORE, CHANCES) if name in properties), None)
        return None if given is None else f"holds {given}, which an outcome has not: name its decision in decision_id."
    return (
        _pscore_problem(properties.get(PSCORE), PSCORE)
        or _chances_problem(properties.get(CHANCES))
        or _products_problem(properties.get("products"))
    )


def _pscore_problem(pscore: object, name: str) -> str | None:
    if pscore is None or (_is_number(pscore) and 0 < pscore <= 1):  # type: ignore[operator]
        return None
    return f'holds a {name} that is no chance: it is above 0 and at most 1, like {{"pscore": 0.25}}.'


def _chances_problem(chances: object) -> str | None:
    if chances is None:
        return None
    if not isinstance(chances, Mapping) or not all(
        _is_number(chance) and 0 <= chance <= 1 for chance in chances.values()
    ):
        return (
            'holds chances that are none: write each from 0 to 1, like {"chances": {"email": 0.75, "nothing": 0.25}}.'
        )
    total = math.fsum(chances.values())
    return f"holds chances that add up to {total:.6g}, and not to 1." if total > 1 + _ROUNDING else None


def _products_problem(products: object) -> str | None:
    for product in products if isinstance(products, list) else []:
        problem = _pscore_problem(product.get(PSCORE), "product's pscore") if isinstance(product, Mapping) else None
        if problem:
            return problem
    return None


def _is_number(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value)
    )
