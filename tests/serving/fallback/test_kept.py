"""What is kept comes back as it was; whatever else lies in its place reads as nothing."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.fallback import kept
from serving.fallback.counting import Counts
from serving.fallback.kept import Basis, Kept, read, turn, write
from serving.fallback.population import PLACE, ChurnRate, Sales

SALES = Sales(
    pa.array(["tea", "mjölk"]), {"": 0, "store:s1": 1}, np.array([0, 1, PLACE + 1]), np.array([2.0, 1.0, 0.5])
)
KEPT = Kept(
    Basis("id:7:1", "id:9:2", 9, 100.5, (17, 4)),
    Counts(100.5, 99.0, SALES, {("email", "send"): 3}),
    ChurnRate(28.0, 10, 4),
    np.arange(168),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "run" / "everybody.arrow"
    write(found, KEPT)
    return found


def test_it_comes_back_as_it_was(path: Path) -> None:
    found = read(path)
    assert found is not None
    assert (found.basis, found.churn, found.hours.tolist()) == (KEPT.basis, KEPT.churn, list(range(168)))
    assert (found.counts.origin_s, found.counts.newest_s) == (100.5, 99.0)
    population = found.population
    assert population.contacts == {("email", "send"): 3}
    assert population.sales.product_ids == ["tea", "mjölk"]
    assert [population.sales.counts(place).tolist() for place in ("", "store:s1", "store:s2")] == [
        [2.0, 1.0],
        [0.0, 0.5],
        [0.0, 0.0],
    ]
    assert population.version == KEPT.population.version


def test_nobody_counted_is_kept_too(path: Path) -> None:
    write(path, Kept(Basis("", "id:0:0", 0, 1.0), Counts(1.0)))
    found = read(path)
    assert found is not None and found.basis.timeline is None and found.counts.newest_s == -np.inf
    assert found.population.sales.counts("").tolist() == []


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_changed_bit_reads_as_nothing(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    path = tmp_path_factory.mktemp("kept") / "everybody.arrow"
    write(path, KEPT)
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)
    assert read(path) is None


@pytest.mark.parametrize("content", [b"", b"half", b"x" * 64, b"x" * 1000])
def test_what_is_no_such_file_reads_as_nothing(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read(path) is None


def test_half_of_it_and_a_folder_and_nothing_at_all_read_as_nothing(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read(path) is None
    path.unlink()
    assert read(path) is None
    path.mkdir()
    assert read(path) is None


def test_another_version_reads_as_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "VERSION", kept.VERSION + 1)
    assert read(path) is None


def test_one_counts_at_a_time(path: Path) -> None:
    with turn(path, wait=False) as mine, turn(path, wait=False) as too:
        assert (mine, too) == (True, False)
    with turn(path, wait=True) as mine:
        assert mine
