"""How long this thread may wait for servers: a budget in seconds comes in, what is left of it goes out.

Only what was spent on waiting counts, as whoever waits notes it, and not what is computed between two answers: on a busy
machine a question takes longer, and its servers are no slower for that.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Budget(threading.local):
    left_s: float | None = None


_budget = _Budget()


@contextmanager
def waiting_at_most(budget_s: float) -> Iterator[None]:
    """Within the block this thread waits for servers no longer than this, all its waits together.

    Within another such block it is the smaller one of both that counts.
    """
    before = _budget.left_s
    own_s = budget_s if before is None else min(budget_s, before)
    _budget.left_s = own_s
    try:
        yield
    finally:
        if before is not None:
            before = max(0.0, before - (own_s - (_budget.left_s or 0.0)))
        _budget.left_s = before


def left_s() -> float | None:
    """Seconds that this thread may still wait; None where nothing limits it."""
    return _budget.left_s


@contextmanager
def at_least(budget_s: float) -> Iterator[None]:
    """Within the block this thread has this much or what is left of its budget, if that is more; it costs nothing of it."""
    before = _budget.left_s
    if before is not None:
        _budget.left_s = max(budget_s, before)
    try:
        yield
    finally:
        _budget.left_s = before


def spend(waited_s: float) -> None:
    """Note that this thread has waited."""
    if _budget.left_s is not None:
        _budget.left_s = max(0.0, _budget.left_s - waited_s)
