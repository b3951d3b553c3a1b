"""A wait ends with the first file that is another one, and without any at its time."""

import threading
from pathlib import Path

from serving.products.changed_files import stamp_of, wait_for_change


def test_a_file_that_was_written_ends_the_wait(tmp_path: Path) -> None:
    file = tmp_path / "stock.parquet"
    file.write_text("a")
    wait_for_change(threading.Event(), 600.0, (tmp_path / "none", file), {})
    seen = {file: stamp} if (stamp := stamp_of(file)) else {}
    file.write_text("ab")
    wait_for_change(threading.Event(), 600.0, (file,), seen)


def test_without_a_change_it_waits_its_time_and_for_no_stop(tmp_path: Path) -> None:
    wait_for_change(threading.Event(), 0.0, (tmp_path / "none",), {})
    stopped = threading.Event()
    stopped.set()
    wait_for_change(stopped, 600.0, (tmp_path / "none",), {})
    assert stamp_of(tmp_path / "none") is None
