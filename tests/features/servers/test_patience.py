"""Budgets of waiting: what is spent counts, what is computed does not, and threads keep apart."""

import threading
import time

import pytest

from features.servers.patience import at_least, left_s, spend, waiting_at_most


def test_only_waiting_counts() -> None:
    with waiting_at_most(1.0):
        time.sleep(0.02)  # computing
        assert left_s() == 1.0
        spend(0.25)
        assert left_s() == 0.75
        spend(2.0)
        assert left_s() == 0.0
    assert left_s() is None
    spend(1.0)
    assert left_s() is None


def test_the_smaller_budget_counts_and_the_outer_one_pays() -> None:
    with waiting_at_most(1.0):
        with waiting_at_most(5.0):
            assert left_s() == 1.0
        with waiting_at_most(0.5):
            spend(0.125)
            assert left_s() == 0.375
        assert left_s() == 0.875
        with waiting_at_most(0.5):
            spend(9.0)
        assert left_s() == 0.375


def test_a_connection_has_time_of_its_own() -> None:
    with waiting_at_most(0.25):
        with at_least(0.5):
            assert left_s() == 0.5
            spend(0.5)
        assert left_s() == 0.25
        with at_least(0.125):
            assert left_s() == 0.25
    with at_least(0.5):
        assert left_s() is None


def test_budgets_belong_to_threads() -> None:
    seen: list[float | None] = []
    with waiting_at_most(1.0):
        other = threading.Thread(target=lambda: seen.append(left_s()))
        other.start()
        other.join()
    assert seen == [None]


def test_it_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), waiting_at_most(1.0):
        raise ZeroDivisionError
    assert left_s() is None
