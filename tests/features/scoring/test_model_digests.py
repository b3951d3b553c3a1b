"""Digests of a model's files: every file of every task, damaged in every way, is refused before anything reads it."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_models import write_model

from features.errors import ModelError
from features.scoring.model_digests import (
    DIGESTS_FILE,
    check_files,
    digest_files,
    digest_of,
    need_plain_files,
    write_digests,
)
from features.scoring.model_files import find_file, find_optional
from features.vocabulary import Task

Harm = Callable[[Path, Path], None]
"""What is done to a file; the second one is of another model."""


def half(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    place = random.Random(file.name).randrange(len(content))
    content[place] ^= 1 << place % 8
    file.write_bytes(content)


def to_folder(file: Path, _: Path) -> None:
    file.unlink()
    file.mkdir()


def to_link(file: Path, other: Path) -> None:
    file.unlink()
    file.symlink_to(other)


def to_pipe(file: Path, _: Path) -> None:
    file.unlink()
    os.mkfifo(file)


HARMS: dict[str, Harm] = {
    "half": half,
    "emptied": lambda file, _: file.write_bytes(b"") and None,
    "flipped": flip,
    "another's": lambda file, other: shutil.copyfile(other, file) and None,
    "missing": lambda file, _: file.unlink(),
    "a folder": to_folder,
    "a link": to_link,
    "a pipe": to_pipe,
    "renamed": lambda file, _: file.rename(file.with_name(f"other_{file.name}")) and None,
    "one more": lambda file, other: shutil.copyfile(other, file.with_name("a_" + file.name)) and None,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Path]:
    root = tmp_path_factory.mktemp("models")
    return {task: write_model(task, root / task.value) for task in Task}


def files_of(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("task", Task)
def test_every_file_that_is_not_as_it_was_is_refused_by_name(
    models: dict[Task, Path], tmp_path: Path, task: Task, harm: str
) -> None:
    another = models[next(each for each in Task if each is not task)]
    other = next(path for path in files_of(another) if path.name != "MLmodel")
    names = [path.relative_to(models[task]) for path in files_of(models[task])]
    assert len(names) >= 2
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(models[task], folder)
        digests = digest_files(folder, "The model")
        write_digests(folder, digests)
        assert check_files(folder, digest_of(digests), "The model") == digests
        HARMS[harm](folder / name, other)
        with pytest.raises(ModelError) as refusal:
            check_files(folder, digest_of(digests), "The model")
        assert name.name in str(refusal.value)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_other_bytes_have_another_digest(tmp_path_factory: pytest.TempPathFactory, ours: bytes, theirs: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "a").write_bytes(ours)
    before = digest_of(digest_files(folder, "It"))
    (folder / "a").write_bytes(theirs)
    assert (digest_of(digest_files(folder, "It")) == before) == (ours == theirs)


def test_the_list_itself_may_be_damaged_and_the_tag_still_decides(models: dict[Task, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models[Task.CHURN], tmp_path / "model")
    recorded = digest_of(digest_files(folder, "It"))
    for text in ("", "[]", "{}", '{"MLmodel": 3}', "[" * 100_000):
        (folder / DIGESTS_FILE).write_text(text)
        assert digest_of(check_files(folder, recorded, "It")) == recorded
    half(folder / "MLmodel", folder)
    with pytest.raises(ModelError, match=r"It is damaged: its files have another digest than was recorded"):
        check_files(folder, recorded, "It")


def test_what_mlflow_and_python_leave_beside_a_model_is_not_of_it(models: dict[Task, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models[Task.CHURN], tmp_path / "model")
    recorded = digest_of(digest_files(folder, "It"))
    (folder / "registered_model_meta").write_text("model_name: churn\n")
    (folder / "__pycache__").mkdir()
    shutil.copyfile(folder / "MLmodel", folder / "__pycache__" / "model.lgb")
    check_files(folder, recorded, "It")
    assert find_file(folder, "model.lgb", "It") == folder / "artifacts" / "churn" / "model.lgb"


@pytest.mark.parametrize("name", ["python_model.pkl", "code/model.PICKLE", "calibrator.joblib", "net.pt"])
def test_a_pickle_is_refused_with_the_reason(models: dict[Task, Path], tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(models[Task.CHURN], tmp_path / "model")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ModelError, match=rf"{Path(name).name} is a pickle, which may run anything"):
        check_files(folder, "", "It")


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "a/b.txt", "..", "", "a\\b", "a\0b"])
def test_no_file_of_a_model_leads_to_another_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("tree")
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelError, match="no name of a file beside it"):
        find_optional(tmp_path / "model", name)


def test_a_folder_is_looked_at_before_it_is_copied(models: dict[Task, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models[Task.WIN_BACK], tmp_path / "model")
    need_plain_files(folder.as_uri(), "It")
    need_plain_files("http://127.0.0.1:1/api/artifacts", "It")  # of another machine: looked at once it is here
    (folder / "endless").symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="endless is a link"):
        need_plain_files(folder.as_uri(), "It")
    with pytest.raises(ModelError, match="has no folder"):
        need_plain_files((tmp_path / "nothing").as_uri(), "It")
    (tmp_path / "way").symlink_to(models[Task.WIN_BACK])
    with pytest.raises(ModelError, match="has no folder"):
        need_plain_files(str(tmp_path / "way"), "It")
