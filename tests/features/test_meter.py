"""Time and memory of steps, and the lines that show them."""

import time

from features.console import emit, step
from features.meter import Meter


def test_steps_are_timed_and_their_memory_is_seen(capsys):
    with Meter() as meter:
        with meter.step("quick"):
            pass
        with meter.step("big") as progress:
            progress("filling")
            block = bytearray(200 * 2**20)
            block[::4096] = b"x" * len(block[::4096])
            time.sleep(0.6)
            del block

    quick, big = meter.costs().steps
    assert (quick.name, big.name) == ("quick", "big")
    assert quick.seconds < 0.5 <= big.seconds < 5
    assert big.peak_mib > quick.peak_mib + 150
    assert meter.costs().peak_mib == big.peak_mib
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "  filling" in shown.err


def test_a_table_of_costs_is_shown(capsys):
    with Meter() as meter, meter.step("one"):
        pass

    emit(meter.costs())

    assert "Where the time went" in capsys.readouterr().out


def test_a_step_that_fails_says_nothing_of_having_ended(capsys):
    try:
        with step("doomed"):
            raise ValueError
    except ValueError:
        pass

    assert capsys.readouterr().err == "doomed …\n"
