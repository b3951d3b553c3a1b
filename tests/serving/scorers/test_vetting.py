"""Vetting: tried once per home, in quarantine until its files change, copies looked at, the last good one answers."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from made_models import write_model

from features.errors import MissingError, ModelError, StoreError
from features.scoring.model_digests import digest_files, digest_of, write_digests
from features.scoring.quarantine import Quarantine
from features.scoring.trial import Verdict
from features.views import feature_service_name
from features.vocabulary import Task
from serving.scorers.bundle import Bundle
from serving.scorers.kept_models import KeptModels
from serving.scorers.model_card import ModelCard
from serving.scorers.registry import next_bundle
from serving.scorers.vetting import Vetting

TASK = Task.WIN_BACK


def card_of(folder: Path, version: str = "1", *, recorded: bool = True, task: Task = TASK) -> ModelCard:
    digest = digest_of(digest_files(folder, "It")) if recorded else ""
    return ModelCard(task, version, feature_service_name(task), f"run{version}", "2024-03-01", digest)


@dataclass
class Trial:
    """A trial that says what it is told to, and counts."""

    verdict: Verdict = field(default_factory=Verdict)
    versions: list[str] = field(default_factory=list)

    def __call__(self, task: Task, version: str, folder: Path) -> Verdict:
        self.versions.append(version)
        return self.verdict


@dataclass
class Home:
    """A home, the models that its registry holds, and a worker in it."""

    path: Path
    models: Path
    trial: Trial = field(default_factory=Trial)
    downloads: list[str] = field(default_factory=list)

    def worker(self, look_again_s: float = 0.0) -> Vetting:
        return Vetting(self.path, self.trial, look_again_s)

    def model(self, version: str = "1", task: Task = TASK) -> Path:
        folder = write_model(task, self.models / version)
        write_digests(folder, digest_files(folder, "It"))
        return folder

    def download(self, version: str) -> Callable[[Path], Path]:
        def bring(folder: Path) -> Path:
            self.downloads.append(version)
            return shutil.copytree(self.models / version, folder, dirs_exist_ok=True)

        return bring

    def ask(self, vetting: Vetting, card: ModelCard, tmp: Path) -> Path:
        shutil.rmtree(tmp / "into", ignore_errors=True)
        (tmp / "into").mkdir()
        return vetting.files(card, self.download(card.version), tmp / "into")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", tmp_path / "registry")


def cut(folder: Path) -> None:
    path = max((path for path in folder.rglob("*.json")), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:50])


def test_a_good_version_is_tried_and_brought_once_for_all_workers(home: Home, tmp_path: Path) -> None:
    card = card_of(home.model())
    for _ in range(3):
        files = home.ask(home.worker(), card, tmp_path)
        assert files == home.path / "models" / "win-back" / "1" / "files"
    assert (home.trial.versions, home.downloads) == (["1"], ["1"])


def test_damaged_files_are_never_tried_and_stay_in_quarantine_until_they_are_others(home: Home, tmp_path: Path) -> None:
    card = card_of(home.model())
    good = shutil.copytree(home.models / "1", tmp_path / "backup")
    cut(home.models / "1")
    worker = home.worker()
    with pytest.raises(ModelError, match=r"win_back\.json has 50 bytes instead of"):
        home.ask(worker, card, tmp_path)
    (entry,) = Quarantine(home.path).entries()
    assert (entry.task, entry.version, entry.run_id, entry.uncertain) == ("win-back", "1", "run1", False)
    assert "win_back.json has 50 bytes" in entry.reason
    for each in (worker, home.worker()):
        with pytest.raises(ModelError, match=r"win_back\.json has 50 bytes .* It is in quarantine since"):
            home.ask(each, card, tmp_path)
    assert home.trial.versions == []
    shutil.rmtree(home.models / "1")
    shutil.copytree(good, home.models / "1")
    assert home.ask(worker, card, tmp_path).is_dir()
    assert (home.trial.versions, Quarantine(home.path).entries()) == (["1"], [])


def test_what_failed_is_not_tried_again_by_anybody(home: Home, tmp_path: Path) -> None:
    card = card_of(home.model(), recorded=False)
    home.trial.verdict = Verdict("Loading or asking it ended the process (SIGSEGV).")
    worker = home.worker()
    for each in (worker, worker, home.worker(), home.worker()):
        with pytest.raises(ModelError, match=r"win-back version 1 is not loaded.*SIGSEGV"):
            home.ask(each, card, tmp_path)
    assert home.trial.versions == ["1"]
    Quarantine(home.path).lift(TASK, "1")  # as `omni promote` does
    home.trial.verdict = Verdict()
    assert home.ask(worker, card, tmp_path).is_dir()


def test_a_bad_version_is_not_downloaded_again_every_few_seconds(home: Home, tmp_path: Path) -> None:
    card = card_of(home.model(), recorded=False)
    home.trial.verdict = Verdict("It is bad.")
    worker = home.worker(look_again_s=3600.0)
    for _ in range(5):
        with pytest.raises(ModelError, match="It is bad"):
            home.ask(worker, card, tmp_path)
    assert home.downloads == ["1"]


def test_a_trial_that_was_cut_short_is_held_again_after_a_while(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = card_of(home.model())
    home.trial.verdict = Verdict("It was not loaded and asked within 180 s.", uncertain=True)
    for _ in range(2):
        with pytest.raises(ModelError, match="within 180 s"):
            home.ask(home.worker(), card, tmp_path)
    assert home.trial.versions == ["1"]
    (file,) = (home.path / "quarantine").iterdir()
    entry = json.loads(file.read_text())
    file.write_text(json.dumps({**entry, "at": "2024-01-01T00:00:00+00:00"}))
    home.trial.verdict = Verdict()
    assert home.ask(home.worker(), card, tmp_path).is_dir()


def test_a_version_of_a_registry_made_anew_is_another_one(home: Home, tmp_path: Path) -> None:
    card = card_of(home.model(), recorded=False)
    home.trial.verdict = Verdict("It is bad.")
    with pytest.raises(ModelError):
        home.ask(home.worker(), card, tmp_path)
    home.trial.verdict = Verdict()
    assert home.ask(home.worker(), replace(card, run_id="another"), tmp_path).is_dir()
    assert home.trial.versions == ["1", "1"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"task": "churn"}', "[" * 100_000])
def test_an_entry_or_a_note_that_cannot_be_read_counts_for_nothing(home: Home, tmp_path: Path, text: str) -> None:
    card = card_of(home.model())
    (home.path / "quarantine").mkdir(parents=True)
    (home.path / "quarantine" / "win-back-1.json").write_text(text)
    files = home.ask(home.worker(), card, tmp_path)
    (files.parent / "kept.json").write_text(text)
    for name in ("last_good.json", "passed.json"):
        (home.path / "models" / "win-back" / name).write_text(text)
    assert list(home.worker().last_good(TASK)) == []
    assert home.ask(home.worker(), card, tmp_path) == files
    assert home.trial.versions == ["1", "1"]


def test_a_copy_that_was_damaged_is_brought_anew(home: Home, tmp_path: Path) -> None:
    card = card_of(home.model())
    cut(home.ask(home.worker(), card, tmp_path))
    files = home.ask(home.worker(), card, tmp_path)
    assert digest_of(digest_files(files, "It")) == card.files_digest
    assert home.downloads == ["1", "1"]


def test_a_copy_is_good_for_the_libraries_that_it_was_tried_with(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = card_of(home.model())
    home.ask(home.worker(), card, tmp_path)
    monkeypatch.setattr("features.scoring.passed.version", lambda name: "9.9")
    home.ask(home.worker(), card, tmp_path)
    assert home.trial.versions == ["1", "1"]


def test_customers_signals_are_not_copied(home: Home, tmp_path: Path) -> None:
    folder = home.model()
    for name in ("input_example.json", "serving_input_example.json"):
        (folder / name).write_text('{"days_since_occasion": 3}')
    files = home.ask(home.worker(), card_of(folder), tmp_path)
    assert sorted(path.name for path in files.rglob("*") if path.is_file()) == ["MLmodel", "win_back.json"]


def test_a_disk_that_is_full_costs_the_copy_and_not_the_model(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(KeptModels, "keep", full)
    monkeypatch.setattr(KeptModels, "only_one_tries", full)
    assert home.ask(home.worker(), card_of(home.model()), tmp_path) == tmp_path / "into"


def test_the_newest_copies_stay_and_the_one_that_answered_last(home: Home, tmp_path: Path) -> None:
    worker = home.worker()
    for version in ("1", "2", "3", "4"):
        card = card_of(home.model(version), version)
        home.ask(worker, card, tmp_path)
        worker.champion(card)
    worker.champion(card_of(home.models / "2", "2"))  # rolled back
    assert [card.version for card, _ in worker.last_good(TASK)] == ["2", "4", "3"]
    assert not (home.path / "models" / "win-back" / "1").exists()


class Registry:
    """Its champion, or what is wrong with it."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.card: ModelCard | None = None
        self.problem = ""

    def bundle(self, current: Bundle, worker: Vetting) -> Bundle:
        def fetch(task: Task) -> tuple[ModelCard, Callable[[Path], Path]] | None:
            if task is not TASK:
                return None
            if self.problem:
                raise StoreError(self.problem)
            card = self.card
            assert card is not None

            def bring(folder: Path) -> Path:
                files = worker.files(card, self.home.download(card.version), folder)
                worker.champion(card)
                return files

            return card, bring

        return next_bundle(current, fetch, worker.last_good)


def problem_of(bundle: Bundle) -> str:
    (info,) = (info for info in bundle.infos() if info.task == TASK)
    return info.problem or ""


@pytest.fixture
def registry(home: Home) -> Registry:
    found = Registry(home)
    found.card = card_of(home.model("1"), "1")
    return found


def test_with_a_bad_champion_the_last_good_one_answers_also_after_a_restart(home: Home, registry: Registry) -> None:
    worker = home.worker()
    first = registry.bundle(Bundle(), worker)
    registry.card = card_of(home.model("2"), "2")
    cut(home.models / "2")
    second = registry.bundle(first, worker)
    assert second.need_win_back() is first.win_back
    restarted = registry.bundle(Bundle(), home.worker())
    assert restarted.need_win_back().card.version == "1"
    for bundle in (second, restarted):
        assert "version 2" in problem_of(bundle) and problem_of(bundle).endswith("Version 1 answers.")
    worker = home.worker()
    settled = registry.bundle(restarted, worker)
    assert registry.bundle(settled, worker) is settled  # told once, loaded once
    registry.card = card_of(home.model("3"), "3")
    mended = registry.bundle(settled, worker)
    assert (mended.need_win_back().card.version, problem_of(mended)) == ("3", "")


def test_without_a_registry_the_copy_answers(home: Home, registry: Registry) -> None:
    registry.bundle(Bundle(), home.worker())
    registry.problem = "The model registry cannot be read: database is locked."
    restarted = registry.bundle(Bundle(), home.worker())
    assert restarted.need_win_back().card.version == "1"
    assert problem_of(restarted) == "The model registry cannot be read: database is locked. Version 1 answers."
    registry.problem = ""
    again = registry.bundle(restarted, home.worker())
    assert again.win_back is restarted.win_back and problem_of(again) == ""


def test_a_copy_that_is_damaged_is_passed_over_for_the_next_one(home: Home, registry: Registry) -> None:
    registry.bundle(Bundle(), home.worker())
    registry.card = card_of(home.model("2"), "2")
    registry.bundle(Bundle(), home.worker())
    cut(home.path / "models" / "win-back" / "2" / "files")
    registry.problem = "The model registry cannot be read."
    assert registry.bundle(Bundle(), home.worker()).need_win_back().card.version == "1"
    shutil.rmtree(home.path / "models")
    with pytest.raises(MissingError, match="The model registry cannot be read"):
        registry.bundle(Bundle(), home.worker()).need_win_back()


def test_a_champion_that_is_withdrawn_is_not_replaced_by_its_copy(home: Home, registry: Registry) -> None:
    worker = home.worker()
    bundle = registry.bundle(Bundle(), worker)
    gone = next_bundle(bundle, lambda task: None, worker.last_good)
    assert gone.win_back is None
