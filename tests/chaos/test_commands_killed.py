"""`kill -9` of commands at a random moment, then the same command again: what it came to is what it comes to undisturbed.

The plain run does one round of each command; `make chaos` does ten, or as many as OMNI_CHAOS_COMMAND_ROUNDS says.
"""

import json
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from chaos.harness import made_event
from chaos.probe import Prober
from chaos.whole_home import clock_start, make_whole_home

from features.backup.manifest import read_manifest
from features.backup.manifest import verify as verify_backup
from features.clock import Clock
from features.events.schema import parse_table
from features.log.engines import open_log
from features.scoring.mlflow_home import CHAMPION, mlflow_at
from features.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # within MLflow
LEAVING = "somebody-who-leaves"
LATER = "after-the-backup"
COMMANDS = {
    "build": ["features", "build", "--force"],
    "erase": ["erase", LEAVING],
    "backup": ["backup", "BACKUP"],
    "restore": ["restore", "OLD", "--log-only", "--discard"],
    "promote": ["promote", "churn", "--version", "2", "--force"],
}
DONE_ALREADY = {"erase": ("is not known",), "backup": ("is there already",), "promote": ("champion already",)}
"""What is told where the command was done before it was killed."""


@dataclass
class Bench:
    """A good home, what each command comes to in it, and who runs commands in copies of it."""

    home: Path
    beside: Path
    scratch: Path
    prober: Prober
    undisturbed: dict[str, Any] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)

    def copy(self) -> Path:
        """The home anew, in a place that is always the same."""
        for left in self.scratch.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        return Path(shutil.copytree(self.home, self.scratch / "home"))

    def run(self, name: str, kill_after_s: float | None = None) -> dict[str, Any]:
        """Run a command in the copy, or kill it."""
        places = {"BACKUP": self.scratch / "new", "OLD": self.beside / "backup"}
        command = [str(places.get(word, word)) for word in COMMANDS[name]]
        more = {"command": command, "kill_after_s": kill_after_s}
        return self.prober.do("run", self.scratch / "home", self.scratch, clock_start(self.home), **more)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("killed")
    home, scratch = folder / "home", folder / "scratch"
    scratch.mkdir()
    settings = make_whole_home(home, folder / "beside")
    rng = random.Random(3)
    _append(settings, [made_event(f"x{n}", rng, 5) | {"customer_id": LEAVING} for n in range(20)])
    _append(settings, [made_event(LATER, rng, 5)])
    _second_version(settings)
    bench = Bench(home, folder / "beside", scratch, Prober())
    try:
        for name in COMMANDS:
            copy = bench.copy()
            outcome = bench.run(name)
            assert outcome["answer"][0] == 0, outcome
            bench.took_s[name] = outcome["took_s"]
            bench.undisturbed[name] = FACTS[name](copy, scratch)
        yield bench
    finally:
        bench.prober.close()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_was_killed_is_run_again(bench: Bench, name: str) -> None:
    assert rounds(bench, name, 1, seed=1)["wrong"] == 0


@pytest.mark.chaos
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_are_killed_over_and_over(bench: Bench, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = rounds(bench, name, int(os.environ.get("OMNI_CHAOS_COMMAND_ROUNDS", "10")), seed=2)
    with capsys.disabled():
        print(json.dumps(report))  # noqa: T201  (what `make chaos` is run for)
    assert report["wrong"] == 0, report


def rounds(bench: Bench, name: str, n_rounds: int, seed: int) -> dict[str, Any]:
    """Kill a command `n_rounds` times and run it again; what came of it."""
    rng, counts, wrong = random.Random(f"{name}{seed}"), Counter[str](), []
    for _ in range(n_rounds):
        copy = bench.copy()
        first = bench.run(name, kill_after_s=rng.uniform(0, bench.took_s[name]))
        counts["killed" if "died" in first else "done before"] += 1
        halves = _halves(bench, name, copy)
        again = bench.run(name)
        problem = halves or _again(bench, name, copy, again)
        if problem:
            wrong.append(f"{first.get('died')}: {problem}")
    return {"command": name, "rounds": n_rounds, **counts, "wrong": len(wrong), "problems": wrong[:3]}


def _again(bench: Bench, name: str, copy: Path, again: dict[str, Any]) -> str:
    code, said = again.get("answer", (1, str(again)))
    if code != 0 and not (code == 2 and any(word in said for word in DONE_ALREADY.get(name, ()))):
        return f"again: {code} {said[-500:]}"
    if name == "erase":
        bench.prober.do("run", copy, bench.scratch, clock_start(bench.home), command=["erase", "--finish"])
    facts = FACTS[name](copy, bench.scratch)
    return "" if facts == bench.undisturbed[name] else f"{facts} is not {bench.undisturbed[name]}"


def _build_facts(home: Path, _: Path) -> Any:
    """Every row of the offline and the online store, but when it was written."""
    tables = {}
    for name in ("timeline", "customer_state", "customer_products", "product_sales"):
        tables[name] = sorted(map(repr, pq.read_table(home / "offline" / f"{name}.parquet").to_pylist()))
    with closing(sqlite3.connect(home / "feast" / "online.db")) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
        ]
        for name in names:
            rows = connection.execute(f"SELECT entity_key, feature_name, value, event_ts FROM {name}")
            tables[name] = sorted(map(repr, rows))
    return {name: (len(rows), hash(tuple(rows))) for name, rows in tables.items()}


def _erase_facts(home: Path, _: Path) -> Any:
    """Where the customer's name still stands, and what the receipts say."""
    named = [path.name for path in home.rglob("*") if path.is_file() and LEAVING.encode() in path.read_bytes()]
    named += [
        path.name
        for path in home.rglob("*.parquet")
        if path.is_file() and any(LEAVING in str(column) for column in pq.read_table(path).to_pydict().values())
    ]
    receipts = [json.loads(path.read_text()) for path in sorted((home / "erasures").glob("*.json"))]
    return {
        "named": named,
        "pending": [receipt["pending"] for receipt in receipts],
        "events": sorted(receipt["removed"]["log: events"] for receipt in receipts),
    }


def _backup_facts(_: Path, scratch: Path) -> Any:
    """The files of the backup, each as its manifest says."""
    manifest = read_manifest(scratch / "new")
    verify_backup(scratch / "new", manifest, lambda _: None)
    return sorted(file.path for file in manifest.files)


def _restore_facts(home: Path, _: Path) -> Any:
    """The events of the log."""
    return _ids(home)


def _promote_facts(home: Path, _: Path) -> Any:
    """Which version is champion."""
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as connection:  # MLflow keeps the copy before open
        found = connection.execute("SELECT alias, version FROM registered_model_aliases WHERE name = 'churn'")
        return {alias: int(version) for alias, version in found if alias == CHAMPION}


def _halves(bench: Bench, name: str, copy: Path) -> str:
    """What must not be, also before the command is run again."""
    if name == "backup" and (bench.scratch / "new").exists():
        _backup_facts(copy, bench.scratch)
    if name == "restore" and _ids(copy) not in (_ids(bench.home), bench.undisturbed[name]):
        return f"half a log of {len(_ids(copy))} events"
    if name == "promote" and _promote_facts(copy, bench.scratch).get(CHAMPION) not in (1, 2):
        return "no champion"
    return ""


FACTS: dict[str, Callable[[Path, Path], Any]] = {
    "build": _build_facts,
    "erase": _erase_facts,
    "backup": _backup_facts,
    "restore": _restore_facts,
    "promote": _promote_facts,
}
"""By command what it is there for, as it is afterwards: the copy of the home and the folder around it come in."""


def _ids(home: Path) -> list[str]:
    settings = Settings.from_env({"OMNI_HOME": str(home)})
    with closing(open_log(settings)) as log:
        return sorted(name for table in log.read(0, 100_000) for name in table["event_id"].to_pylist())


def _append(settings: Settings, items: list[dict[str, Any]]) -> None:
    with closing(open_log(settings)) as log:
        table, rejected = parse_table(items, Clock.from_settings(settings).now())
        assert not rejected
        log.append(table)


def _second_version(settings: Settings) -> None:
    """The same files as another version, for a promotion."""
    client = mlflow_at(settings.mlflow_tracking_uri).MlflowClient(settings.mlflow_tracking_uri)
    first = client.get_model_version("churn", "1")
    client.create_model_version("churn", first.source, first.run_id, tags=dict(first.tags))
