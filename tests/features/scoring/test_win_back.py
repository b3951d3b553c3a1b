"""What is kept of a win-back model: its file, who is lapsing, and the advice."""

import numpy as np
import pytest

from features.errors import StoreError
from features.scoring.win_back import CONTACT, LEAVE_ALONE, Lapsing, LinearEffect, WinBackScore
from features.signals import SIGNAL_NAMES

NAMES = ("days_since_action", "actions_app_30d")


def score(proven: bool = True, min_uplift: float = 0.05) -> WinBackScore:
    effects = [LinearEffect(np.array([1.0, 0.0]), np.array([-0.1, 0.2]) * k, 0.01 * k) for k in (1, 2, 3)]
    return WinBackScore(NAMES, effects[0], tuple(effects[1:]), Lapsing(2.0, 30.0), min_uplift, proven, 14.0, 28.0)


def signals(**columns: list[float]) -> np.ndarray:
    found = np.full((len(next(iter(columns.values()))), len(SIGNAL_NAMES)), np.nan, np.float32)
    for name, values in columns.items():
        found[:, SIGNAL_NAMES.index(name)] = values
    return found


def test_lapsing_is_by_the_own_gap_or_by_days_where_there_is_none() -> None:
    rows = signals(overdue_ratio=[1.9, 2.0, np.nan, np.nan, np.nan], days_since_occasion=[90, 1, 29, 30, np.nan])
    assert Lapsing(2.0, 30.0).rows(rows).tolist() == [False, True, False, True, False]


def test_uplift_is_linear_in_the_logarithms_and_missing_ones_are_filled() -> None:
    rows = signals(overdue_ratio=[3.0, 3.0, 0.0], days_since_action=[np.e - 1, np.nan, 5.0], actions_app_30d=[0, 1, 1])
    found = score().uplift(rows)
    np.testing.assert_allclose(found, [0.01 - 0.1, 0.01 - 0.1 + 0.2 * np.log(2), np.nan], rtol=1e-6)
    held = score().held_out_uplift(rows[:2], np.array([0, 1]))
    np.testing.assert_allclose(held, [2 * found[0], 3 * found[1]], rtol=1e-6)


def test_nobody_is_contacted_below_the_least_uplift_nor_where_nothing_is_proven() -> None:
    uplift = np.array([0.06, 0.05, -0.2, np.nan])
    assert score().advice(uplift).tolist() == [CONTACT, LEAVE_ALONE, LEAVE_ALONE, LEAVE_ALONE]
    assert set(score(proven=False).advice(uplift)) == {LEAVE_ALONE}


def test_the_score_survives_its_file_and_a_strange_signal_is_refused() -> None:
    plain = score().to_json()
    again = WinBackScore.from_json(plain, "it")
    rows = signals(overdue_ratio=[3.0], days_since_action=[4.0], actions_app_30d=[2.0])
    np.testing.assert_array_equal(again.uplift(rows), score().uplift(rows))
    assert again.to_json() == plain
    with pytest.raises(StoreError, match="'shoe_size', which this version does not compute"):
        WinBackScore.from_json(plain.replace("days_since_action", "shoe_size"), "Model win-back version 1")
