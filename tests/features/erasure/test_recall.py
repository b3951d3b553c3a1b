"""A log that is put back by hand brings nobody back who was erased since, and another shop's log loses nobody."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from made_visits import table

from features.checks.doctor import Status, check_erasures
from features.erasure.erase import begin_erasure, finish_erasure, honour_erasures, pending_erasures
from features.erasure.recall import recall_erasures
from features.errors import StoreError
from features.log.carried import erasures_dir, kept_erasures
from features.log.engines import open_log, sqlite_path
from features.settings import Settings
from serving.erasure import Eraser, ErasureWorker, finish_all


class Shop:
    """A home, and what its operator does with files."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings.from_env({"OMNI_HOME": str(home), "OMNI_CLOCK_START": "2024-01-01T00:00:30Z"})
        home.mkdir()
        self.append("ada", "bob", "zoe")

    @property
    def path(self) -> Path:
        path = sqlite_path(self.settings)
        assert path is not None
        return path

    def append(self, *customers: str) -> tuple[int, int]:
        """Appends one event of each; returns how many are new, and how many an erased customer's."""
        rows = [{"event_id": f"{name}-1", "customer_id": name, "at": 1} for name in customers]
        with closing(open_log(self.settings)) as log:
            result = log.append(table(*rows))
            return result.appended, result.erased

    def customers(self) -> list[str]:
        with closing(open_log(self.settings)) as log:
            return [name for batch in log.read() for name in batch["resolved_customer_id"].to_pylist()]

    def erase(self, name: str) -> str:
        with closing(open_log(self.settings)) as log:
            receipt = begin_erasure(self.settings, log, name)
            assert receipt is not None
            return finish_erasure(self.settings, log, receipt, models=list).receipt_id

    def put_back(self, copy: Path) -> None:
        for end in ("", "-wal", "-shm"):
            self.path.with_name(f"{self.path.name}{end}").unlink(missing_ok=True)
        shutil.copyfile(copy, self.path)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "home")


@pytest.mark.parametrize("earlier", [False, True], ids=["first erasure", "one before"])
@pytest.mark.parametrize("by", ["build", "finish", "service"])
def test_who_was_erased_since_the_copy_does_not_come_back(shop: Shop, tmp_path: Path, earlier: bool, by: str) -> None:
    if earlier:
        shop.erase("zoe")
    shutil.copyfile(shop.path, tmp_path / "copy.db")
    receipt_id = shop.erase("ada")
    file = shop.settings.home / "erasures" / f"{receipt_id}.json"
    receipt = file.read_text()
    shop.put_back(tmp_path / "copy.db")
    assert "ada" in shop.customers()
    check = check_erasures(shop.settings)
    assert check.status is Status.FAIL and "older than 1 erasures" in check.found

    with closing(open_log(shop.settings)) as log:
        if by == "build":
            honour_erasures(shop.settings, log)
        elif by == "finish":
            finish_all(shop.settings, log)
        else:
            Eraser(shop.settings, log).finish()
        receipts = [receipt.receipt_id for receipt in log.erasures().receipts()]
        assert receipt_id in receipts and len(receipts) == 2 + earlier
        assert file.read_text() == receipt, "it is written once"
        assert {path.stem for path in erasures_dir(shop.settings).iterdir()} == set(receipts)
        if by != "build":
            assert log.erasures().receipt(receipt_id).model_dump_json(indent=2) == receipt
        assert bool(pending_erasures(log)) == (by == "build"), "a build does not list models"

    assert shop.customers() == (["bob"] if earlier else ["bob", "zoe"])
    assert shop.append("ada") == (0, 1)
    assert check_erasures(shop.settings).status is not Status.FAIL


def test_a_log_that_is_exchanged_under_a_running_service_is_noticed(shop: Shop, tmp_path: Path) -> None:
    shutil.copyfile(shop.path, tmp_path / "copy.db")
    shop.erase("ada")
    with closing(open_log(shop.settings)) as log:
        worker = ErasureWorker(Eraser(shop.settings, log))
        worker.look()
        worker._wanted.clear()
        worker.look()
        assert not worker._wanted.is_set()
        shop.put_back(tmp_path / "copy.db")
        worker.look()
        assert worker._wanted.is_set()


def test_who_came_back_after_an_erasure_that_the_log_knows_of_stays(shop: Shop) -> None:
    shop.erase("ada")
    with closing(open_log(shop.settings)) as log:
        log.append(table({"event_id": "ada-2", "customer_id": "ada", "at": 60}))
        assert recall_erasures(shop.settings, log).carried == 0
    assert "ada" in shop.customers()


def test_records_of_another_log_erase_nobody_and_are_told(shop: Shop) -> None:
    shop.erase("ada")
    shop.path.unlink()
    shop.append("ada", "cyd")  # another shop's ada, in a log of its own
    with closing(open_log(shop.settings)) as log:
        assert recall_erasures(shop.settings, log).carried == 0
    assert shop.customers() == ["ada", "cyd"]
    check = check_erasures(shop.settings)
    assert check.status is Status.WARN and "another event log" in check.found


def test_a_record_that_cannot_be_read_keeps_no_erasure_waiting(shop: Shop, tmp_path: Path) -> None:
    shutil.copyfile(shop.path, tmp_path / "copy.db")
    shop.erase("ada")
    shop.put_back(tmp_path / "copy.db")
    (path,) = erasures_dir(shop.settings).iterdir()
    path.write_text(path.read_text()[:-20])
    with closing(open_log(shop.settings)) as log:
        assert begin_erasure(shop.settings, log, "bob") is not None
        with pytest.raises(StoreError, match="record of an erasure"):
            finish_all(shop.settings, log)
        assert pending_erasures(log) == []
        honour_erasures(shop.settings, log)


def test_a_record_names_its_log(shop: Shop) -> None:
    shop.erase("ada")
    with closing(open_log(shop.settings)) as log:
        (kept,) = kept_erasures(shop.settings)
        assert kept.log_id == log.anchor().log_id
