"""Where a journey begins: cases by eye, and any touches against the definition written out customer by customer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.journey_cut import cut_journeys

SILENCE = 30
Touch = tuple[int, str]
"""Moment and c (contact), a (the customer did something) or b (bought)."""


def cut(*customers: list[Touch]) -> list[list[int]]:
    """The journeys of every customer, numbered from 0 within each."""
    touches = [touch for one in customers for touch in one]
    starts = [i == 0 for one in customers for i in range(len(one))]
    kinds = np.array([kind for _, kind in touches])
    moments = np.array([moment for moment, _ in touches], dtype=np.int64)
    found = cut_journeys(np.array(starts, bool), moments, kinds != "c", kinds == "b", SILENCE)
    parts = np.split(found, np.cumsum([len(one) for one in customers])[:-1])
    return [(part - part[0]).tolist() for part in parts]


@pytest.mark.parametrize(
    ("touches", "journeys"),
    [
        ([(0, "a"), (29, "a"), (58, "b")], [0, 0, 0]),
        ([(0, "a"), (30, "a")], [0, 1]),  # thirty days of silence end it
        ([(0, "b"), (0, "a"), (1, "b")], [0, 1, 1]),  # so does a purchase
        (
            [(0, "a"), (20, "c"), (40, "c"), (69, "a")],
            [0, 0, 1, 1],
        ),  # contacts do not keep it alive; the last one leads on
        ([(0, "c"), (29, "a")], [0, 0]),
        ([(0, "c"), (30, "a")], [0, 1]),
        ([(0, "c"), (7, "c"), (29, "c"), (31, "c"), (60, "c")], [0, 0, 0, 1, 2]),  # ignored: at most thirty days each
        ([(0, "b"), (1, "c"), (40, "c"), (45, "a")], [0, 1, 2, 2]),
        ([(0, "a"), (29, "c"), (31, "a")], [0, 1, 1]),  # what reached them before they acted again leads there
    ],
)
def test_a_journey_ends_with_a_purchase_or_the_customers_silence(touches: list[Touch], journeys: list[int]) -> None:
    assert cut(touches) == [journeys]


def test_nobody_has_no_journey() -> None:
    assert (
        cut_journeys(np.zeros(0, bool), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, bool), 30).tolist() == []
    )


def by_definition(touches: list[Touch]) -> list[int]:
    """The same in words: what each touch goes on with is looked for from scratch."""
    numbers: list[int] = []
    begun_by_contact: int | None = None  # when the present run of ignored contacts began
    leading = False
    for i, (moment, _) in enumerate(touches):
        earlier = [t for t in touches[:i] if t[1] != "c"]
        coming = next((t for t in touches[i:] if t[1] != "c"), None)
        last = earlier[-1] if earlier else None
        if i and touches[i - 1][1] != "c":
            begun_by_contact, leading = None, False
        awake = last is not None and last[1] != "b"
        if awake and last is not None and coming is not None and coming[0] - last[0] < SILENCE:
            new = False
        elif coming is not None and coming[0] - moment < SILENCE:
            new, leading = not leading, True
        elif awake and last is not None and moment - last[0] < SILENCE:
            new = False
        elif begun_by_contact is None:
            new, begun_by_contact = True, moment
        else:
            new = (moment - begun_by_contact) // SILENCE > (touches[i - 1][0] - begun_by_contact) // SILENCE
        numbers.append((numbers[-1] if numbers else -1) + new)
    return numbers


one_customer = st.lists(st.tuples(st.integers(0, 200), st.sampled_from("cab")), min_size=1, max_size=12).map(
    lambda touches: sorted(touches, key=lambda touch: touch[0])
)


@given(st.lists(one_customer, min_size=1, max_size=4))
def test_any_touches_are_cut_by_the_definition(customers: list[list[Touch]]) -> None:
    assert cut(*customers) == [by_definition(touches) for touches in customers]
