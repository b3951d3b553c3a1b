"""Buckets of tokens: what a key may ask at once, how fast it fills again, and that processes count together."""

from pathlib import Path

import pytest

from serving.access.rates import BURST_S, Rates


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_rested_key_has_a_burst_and_then_its_rate(clock: Clock) -> None:
    rates = Rates(clock=clock)
    taken = [rates.take("a", 5.0) for _ in range(int(5 * BURST_S) + 1)]
    assert taken[:-1] == [0.0] * int(5 * BURST_S)
    assert taken[-1] == pytest.approx(0.2)
    clock.now += 0.2
    assert [rates.take("a", 5.0), rates.take("a", 5.0)] == [0.0, pytest.approx(0.2)]
    clock.now += 100.0
    assert sum(rates.take("a", 5.0) == 0.0 for _ in range(50)) == int(5 * BURST_S)


def test_over_a_long_time_as_many_come_through_as_the_rate_says(clock: Clock) -> None:
    rates = Rates(clock=clock)
    through = 0
    for _ in range(10_000):  # 100 requests a second for 100 s
        through += rates.take("a", 20.0) == 0.0
        clock.now += 0.01
    assert through == pytest.approx(20.0 * (100.0 + BURST_S), abs=2)


def test_a_rate_below_one_lets_one_in(clock: Clock) -> None:
    rates = Rates(clock=clock)
    assert rates.take("a", 0.1) == 0.0
    assert rates.take("a", 0.1) == pytest.approx(10.0)


def test_each_name_has_its_own(clock: Clock) -> None:
    rates = Rates(clock=clock)
    assert rates.take("a", 0.5) == 0.0
    assert rates.take("b", 0.5) == 0.0
    assert rates.take("a", 0.5) > 0


def test_who_opens_the_same_file_counts_together(clock: Clock, tmp_path: Path) -> None:
    one, other = Rates(tmp_path / "rates", clock), Rates(tmp_path / "rates", clock)
    taken = [each.take("a", 2.0) for _ in range(3) for each in (one, other)]
    assert [wait == 0.0 for wait in taken] == [True, True, True, True, False, False]


def test_what_a_clock_of_before_the_start_left_keeps_nobody_out_for_long(clock: Clock, tmp_path: Path) -> None:
    clock.now = 1e9
    Rates(tmp_path / "rates", clock).take("a", 5.0)
    clock.now = 10.0
    rates = Rates(tmp_path / "rates", clock)
    assert rates.take("a", 5.0) == pytest.approx(0.2)
    clock.now += 0.2
    assert rates.take("a", 5.0) == 0.0
