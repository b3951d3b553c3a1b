"""Files appear whole or not at all, and are on the disk before they have their name."""

import errno
import os
from pathlib import Path

import pytest

from features import atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_there_whole_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "note.json"

    with atomic.replacing(path) as part:
        part.write_text("one")
        assert part.parent == path.parent and part.suffix == ".part"
        assert not path.exists()

    assert path.read_text() == "one"
    atomic.write_text(path, "zwei — 二")
    assert path.read_text(encoding="utf-8") == "zwei — 二"
    assert names(path.parent) == ["note.json"]


def test_after_an_error_everything_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    path.write_text("old")

    with pytest.raises(ZeroDivisionError), atomic.replacing(path) as part:
        part.write_text("half")
        raise ZeroDivisionError

    assert path.read_text() == "old"
    assert names(tmp_path) == ["note.json"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "note.json"

    with atomic.replacing(path) as mine:
        atomic.write_text(path, "theirs")
        mine.write_text("mine")

    assert path.read_text() == "mine"


def test_content_is_on_the_disk_before_the_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done = tmp_path / "folder", []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        real_sync(descriptor)

    def replace(part: Path, target: Path) -> None:
        done.append(f"to {target.name}")
        real_replace(part, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    part = atomic.part_of(path)
    part.mkdir()
    for name in ("b", "a"):
        (part / name).write_text(name)
    atomic.put_in_place(part, path)

    assert done == ["a", "b", part.name, "to folder", tmp_path.name]


@pytest.mark.parametrize(("code", "raised"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_wait_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, raised: bool
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(os, "fsync", fail)
    path = tmp_path / "note.json"
    if raised:
        with pytest.raises(OSError, match="no"):
            atomic.write_text(path, "text")
    else:
        atomic.write_text(path, "text")
    assert path.exists() is not raised
    assert len(names(tmp_path)) == int(not raised)
