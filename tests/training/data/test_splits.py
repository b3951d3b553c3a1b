"""Periods of global time: half-open, in order, and no label window reaches into the next period."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest

from features.errors import InputError
from training.data.splits import TimeSplit, shorter

END = datetime(2024, 1, 1, tzinfo=UTC)


def test_periods_are_the_last_horizons() -> None:
    split = TimeSplit.at_end_of(END, 30)
    assert split.valid_end == datetime(2023, 12, 2, tzinfo=UTC)
    assert split.train_end == datetime(2023, 11, 2, tzinfo=UTC)
    assert split.test_end == END


def test_training_windows_end_before_validation_begins() -> None:
    split = TimeSplit.at_end_of(END, 30)
    cutoffs = split.train_cutoffs(datetime(2023, 8, 1, tzinfo=UTC), 30, 7)
    assert cutoffs[-1] == split.train_end - timedelta(days=30)
    assert cutoffs[0] >= datetime(2023, 8, 1, tzinfo=UTC)
    assert cutoffs[0] - timedelta(days=7) < datetime(2023, 8, 1, tzinfo=UTC)
    assert {b - a for a, b in pairwise(cutoffs)} == {timedelta(days=7)}


def test_a_history_too_short_says_so() -> None:
    words = "three horizons of 30 days and a warm-up of 7 days need 97. Pass --set horizon_days=20 --set warmup_days=20"
    with pytest.raises(InputError, match=words):
        TimeSplit.at_end_of(END, 30).train_cutoffs(datetime(2023, 10, 10, tzinfo=UTC), 30, 7, 7)


def test_periods_must_be_in_order() -> None:
    with pytest.raises(InputError, match="not in order"):
        TimeSplit(END, END, END)


@pytest.mark.parametrize(
    ("start", "period"),
    [
        ("2023-10-26T00:00", "train"),  # ends on 11-02, which is outside a half-open window
        ("2023-10-26T00:01", ""),  # reaches into validation
        ("2023-11-02T00:00", "valid"),
        ("2023-11-25T00:01", ""),
        ("2023-12-02T00:00", "test"),
        ("2023-12-25T00:00", "test"),
        ("2023-12-25T00:01", ""),  # not complete at the end of the data
    ],
)
def test_a_window_belongs_to_the_period_that_holds_it_whole(start: str, period: str) -> None:
    split = TimeSplit.at_end_of(END, 30)
    starts = pd.Series(pd.to_datetime([start], utc=True))
    assert split.assign(starts, 7).tolist() == [period]


def test_what_is_told_of_a_short_history_does_not_contradict_itself() -> None:
    split = TimeSplit.at_end_of(END, 28)
    with pytest.raises(InputError) as raised:
        split.train_cutoffs(END - timedelta(days=3), 28, 7, warmup_days=56)
    told = str(raised.value)
    assert "need 140" in told and "Bring a history of 140 days" in told
    assert "4 days are enough only for --set horizon_days=1 --set warmup_days=1." in told
    assert shorter(80, 4, warmup=True, needed_days=140) == "Pass --set horizon_days=20 --set warmup_days=20."
    assert shorter(2, 3) == "Bring a longer history; 3 days are enough only for --set horizon_days=1."
