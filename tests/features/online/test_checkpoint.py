"""The checkpoint's file: what is noted, and what becomes of a damaged file, which holds nothing that cannot be found again."""

import random
from pathlib import Path

import pytest

from features.online.checkpoint import Checkpoint
from features.settings import Settings


def place_of(settings: Settings) -> Path:
    return settings.feast_dir / "stream.db"


def write_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def scramble(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(8192))


def test_what_was_written_is_read_and_nothing_is_zero(settings: Settings) -> None:
    assert Checkpoint(settings).read() == 0
    Checkpoint(settings).write(7)
    assert (Checkpoint(settings).read(), Checkpoint(settings, of="products").read()) == (7, 0)


@pytest.mark.parametrize("damage", [write_zeros, cut, scramble])
def test_a_damaged_file_counts_for_nothing_and_is_begun_anew(settings: Settings, damage) -> None:
    checkpoint = Checkpoint(settings)
    checkpoint.write(7)
    checkpoint._file._connections.close()
    damage(place_of(settings))
    anew = Checkpoint(settings)
    assert anew.read() == 0
    anew.write(9)
    assert (anew.read(), Checkpoint(settings).read()) == (9, 9)
