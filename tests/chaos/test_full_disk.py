"""A home on a disk that is full, or that can only be read: one clear line, nothing acknowledged is lost, and it goes on.

The disk is a small tmpfs, which only root may mount; elsewhere these are skipped, and say so.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chaos.harness import make_home
from chaos.probe import Prober
from chaos.whole_home import clock_start

from features.log.engines import open_log
from features.settings import Settings

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # within MLflow
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk"),
]
ROOMY = "size=256m"
N_ROWS = 20_000


@dataclass
class Disk:
    """A small disk with a copy of a good home on it."""

    good: Path
    place: Path
    prober: Prober

    @property
    def home(self) -> Path:
        """The home on it."""
        return self.place / "home"

    def room(self, free_kib: int) -> None:
        """Leave that much room."""
        used_kib = shutil.disk_usage(self.place).used // 1024
        subprocess.run(["mount", "-o", f"remount,size={used_kib + free_kib}k", str(self.place)], check=True)

    def more_room(self) -> list[str]:
        """What makes room enough."""
        return ["mount", "-o", f"remount,{ROOMY}", str(self.place)]

    def run(self, *command: str) -> tuple[int, str]:
        """Exit code of a command, and all that it says."""
        outcome = self.do("run", command=list(command))
        code, said = outcome["answer"]
        return int(code), str(said)

    def do(self, what: str, **more: Any) -> dict[str, Any]:
        """Have something done with the home."""
        return self.prober.do(what, self.home, self.good.parent, clock_start(self.good), **more)

    def ids(self) -> list[str]:
        """What the log holds."""
        settings = Settings.from_env({"OMNI_HOME": str(self.home)})
        with closing(open_log(settings)) as log:
            return [name for table in log.read(0, 100_000) for name in table["event_id"].to_pylist()]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("disk") / "home"
    make_home(home)
    (home / "rates.csv").write_text("date,currency,rate\n")
    return home


@pytest.fixture
def disk(good: Path, tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", ROOMY, "tmpfs", str(place)], check=True)
    prober = Prober()
    try:
        shutil.copytree(good, place / "home")
        yield Disk(good, place, prober)
    finally:
        prober.close()
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    lines = [f"big-{n},2024-05-01T10:00:{n % 60:02}Z,view,web,c{n % 40},p{n % 20}" for n in range(N_ROWS)]
    path.write_text("\n".join(["event_id,occurred_at,kind,channel,customer_id,product_id", *lines]))
    return path


def is_one_line(said: str) -> bool:
    return "Traceback" not in said and sum(line.startswith("omni: ") for line in said.splitlines()) == 1


def test_an_ingest_on_a_full_disk_is_finished_when_there_is_room(disk: Disk, rows: Path) -> None:
    before = disk.ids()
    disk.room(600)
    code, said = disk.run("ingest", str(rows))
    assert code == 2 and is_one_line(said), said
    assert set(before) <= set(disk.ids())
    subprocess.run(disk.more_room(), check=True)
    assert disk.run("ingest", str(rows))[0] == 0
    after = disk.ids()
    assert len(after) == len(set(after)) == len(before) + N_ROWS


def test_events_over_http_are_refused_while_there_is_no_room_and_kept_when_there_is(disk: Disk) -> None:
    before = disk.ids()
    disk.room(2000)
    outcome = disk.do("flood", make_room=disk.more_room())
    kept, refusals = outcome["answer"]["kept"], outcome["answer"]["refusals"]
    assert {status for status, _ in refusals} == {503}
    assert len(kept) > 50
    after = disk.ids()
    assert len(after) == len(set(after))
    assert set(after) == set(before) | set(kept)


@pytest.mark.parametrize("free_kib", [4, 40, 120, 400])
def test_a_build_on_a_full_disk_leaves_what_was_there(disk: Disk, free_kib: int) -> None:
    before = {path.name: path.read_bytes() for path in (disk.home / "offline").glob("*.parquet")}
    disk.room(free_kib)
    code, said = disk.run("features", "build", "--force")
    assert code == 0 or (code == 2 and is_one_line(said)), said
    assert before.keys() <= {path.name for path in (disk.home / "offline").glob("*.parquet")}
    subprocess.run(disk.more_room(), check=True)
    assert disk.run("features", "build")[0] == 0
    assert disk.run("features", "build", "--force")[0] == 0
    assert disk.run("doctor")[0] == 0


@pytest.mark.parametrize("free_kib", [4, 300, 900])
def test_a_backup_on_a_full_disk_is_not_there(disk: Disk, free_kib: int) -> None:
    disk.room(free_kib)
    code, said = disk.run("backup", str(disk.place / "backup"))
    assert code == 2 and is_one_line(said), said
    assert [path.name for path in disk.place.iterdir()] == ["home"]
    subprocess.run(disk.more_room(), check=True)
    assert disk.run("backup", str(disk.place / "backup"))[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        ("ingest", "ROWS"),
        ("ingest", "ROWS", "--table", "products"),
        ("features", "build", "--force"),
        ("erase", "c5"),
        ("promote", "churn", "--version", "1", "--force"),
        ("backup", "OUT"),
        ("audience", "--where", "churn_probability >= 0", "--out", "OUT"),
        ("decide", "--all", "--out", "OUT"),
        ("features", "check"),
        ("models",),
        ("identity", "report"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_a_home_that_can_only_be_read_is_told_in_one_line(
    disk: Disk, rows: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk.place)], check=True)
    places = {"ROWS": str(rows), "OUT": str(tmp_path / "out.csv")}
    code, said = disk.run(*(places.get(word, word) for word in command))
    subprocess.run(["mount", "-o", "remount,rw", str(disk.place)], check=True)
    assert "Traceback" not in said, said
    assert code in (0, 1) or (code == 2 and is_one_line(said)), said
