"""A profile of a worker: every answer's stages in the table, its busiest stacks in the form of flame graphs."""

import time
from pathlib import Path

from serving.metrics import TIMED_EVERY, Metrics
from serving.timing.stages import UNTIMED, Laps


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(100))


def test_the_table_tells_stages_and_where_threads_were_seen(tmp_path: Path) -> None:
    metrics = Metrics()
    profile = metrics.profile_into(tmp_path / "profile")
    for _ in range(3):
        timer = metrics.time_this()
        spin(0.03)
        timer.lap("scores")
        time.sleep(0.02)
        timer.lap("append")
        metrics.note_stages(timer)
    table = profile.stop()
    rows = {line.split()[0]: line.split() for line in table.read_text(encoding="utf-8").splitlines() if line.strip()}
    assert rows["scores"][1] == rows["append"][1] == "3"
    assert 30_000 <= float(rows["scores"][2]) < 300_000
    assert rows["append"][3] == "waits"
    assert "state" not in rows  # no answer went through it
    stacks = table.with_suffix(".collapsed").read_text(encoding="utf-8")
    assert "MainThread;" in stacks
    assert "test_profiling.py:spin" in stacks


def test_of_some_answers_one_has_its_stages_timed() -> None:
    metrics = Metrics()
    timed = [isinstance(metrics.time_this(), Laps) for _ in range(3 * TIMED_EVERY)]
    assert timed == [i % TIMED_EVERY == 0 for i in range(3 * TIMED_EVERY)]
    metrics.note_stages(UNTIMED)
    assert 'omni_stage_seconds_count{stage="state"} 0.0' in metrics.render().decode()
