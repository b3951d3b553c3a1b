"""What `omni doctor` looks at: settings come in, a list of findings goes out, each with what to do about it."""

import importlib
import importlib.metadata
import json
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from features.errors import OmniError
from features.scoring.mlflow_home import CHAMPION, emptied_registry, has_registry, look_at_tracking
from features.scoring.model_digests import DIGEST_TAG
from features.scoring.quarantine import Quarantine
from features.settings import Settings
from features.vocabulary import Task

MIN_FREE_GIB = 2.0
SERVICE_PORT = 3000
CONSTRAINTS = Path(__file__).parent.parent.parent / "constraints.txt"
NATIVE_MODULES = ("lightgbm", "onnxruntime", "numba", "duckdb")
"""Modules with compiled parts, which can be installed and still not load."""


class Status(StrEnum):
    """How a check came out: `warn` is a step still to be done, `fail` is something broken."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do where that is not `ok`."""

    name: str
    status: Status
    found: str
    repair: str = ""


@dataclass(frozen=True)
class Examination:
    """All that was looked at; `failed` is true where at least one check came out as `fail`."""

    checks: tuple[Check, ...]
    failed: bool

    @classmethod
    def of(cls, checks: Iterable[Check]) -> "Examination":
        """The examination made of these checks."""
        kept = tuple(checks)
        return cls(kept, any(check.status is Status.FAIL for check in kept))

    def __rich__(self) -> Any:
        """One line per check, for a person."""
        from rich.markup import escape
        from rich.table import Table

        colors = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}
        table = Table(show_header=False, box=None, pad_edge=False)
        for check in self.checks:
            words = f"{check.found} {check.repair}".strip()
            table.add_row(f"[{colors[check.status]}]{check.status}[/]", f"[bold]{escape(check.name)}[/]", escape(words))
        return table


def examine(settings: Settings, port: int = SERVICE_PORT) -> Examination:
    """Look at the installation, the state and the models; never changes anything but makes `OMNI_HOME`."""
    looks: list[tuple[str, Callable[[], Check]]] = [
        ("python", check_python),
        ("packages", check_packages),
        *((module, _loader(module)) for module in NATIVE_MODULES),
        ("torch", check_torch),
        ("home", lambda: check_home(settings)),
        ("files", lambda: check_files(settings)),
        *_feature_looks(settings),
        *((f"model {task}", _champion(settings, task)) for task in Task),
        ("service", lambda: check_service(settings)),
        ("port", lambda: check_port(port)),
    ]
    return Examination.of(_look(name, look) for name, look in looks)


def check_features(settings: Settings) -> Examination:
    """Are the event log and the feature stores there, and do they hold the same history?"""
    return Examination.of(_look(name, look) for name, look in _feature_looks(settings))


def check_python() -> Check:
    """Python 3.11 or 3.12."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Check("python", Status.OK, version)
    return Check("python", Status.FAIL, version, "Omni needs 3.11 or 3.12: make distclean install PYTHON=python3.11")


def check_packages(constraints: Path = CONSTRAINTS) -> Check:
    """The installed versions against the pins that were tested together."""
    if not constraints.exists():
        return Check("packages", Status.OK, "no constraints.txt beside the packages, so versions are not compared.")
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", constraints.read_text(encoding="utf-8"), flags=re.M))
    missing, different = [], []
    for name in _requirements():
        if name not in pins:
            continue
        try:
            version = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if version != pins[name]:
            different.append(f"{name} {version} (tested: {pins[name]})")
    if missing:
        return Check("packages", Status.FAIL, f"not installed: {', '.join(missing)}.", "Run make install.")
    if different:
        return Check("packages", Status.WARN, f"{', '.join(different)}.", "Run make install to get the tested ones.")
    return Check("packages", Status.OK, "every dependency is at its tested version.")


def check_torch() -> Check:
    """Which torch this is, and whether it can use a graphics card."""
    import torch

    if torch.cuda.is_available():
        return Check("torch", Status.OK, f"{torch.__version__}, on {torch.cuda.get_device_name()}.")
    return Check("torch", Status.OK, f"{torch.__version__}, on {torch.get_num_threads()} processor threads.")


def check_home(settings: Settings) -> Check:
    """The folder of all local state can be written and has room."""
    repair = "Name another folder: OMNI_HOME=/path omni …"
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        return Check("home", Status.FAIL, f"{settings.home} cannot be written ({error.strerror}).", repair)
    free_gib = shutil.disk_usage(settings.home).free / 2**30
    room = f"{settings.home}, {free_gib:.1f} GiB free."
    if free_gib < MIN_FREE_GIB:
        return Check("home", Status.WARN, room, f"The demo needs about {MIN_FREE_GIB:.0f} GiB. {repair}")
    return Check("home", Status.OK, room)


def check_files(settings: Settings) -> Check:
    """No file under OMNI_HOME is damaged, as far as that can be seen."""
    from features.checks.files import damaged_files

    damaged = list(damaged_files(settings))
    if not damaged:
        return Check("files", Status.OK, "each can be read.")
    others = f" So are {len(damaged) - 1} more: run it again then." if damaged[1:] else ""
    return Check("files", Status.FAIL, str(damaged[0]), f"{damaged[0].repair}{others}")


def check_log(settings: Settings) -> Check:
    """The event log opens and holds something."""
    from features.log.engines import has_log, open_log, sqlite_path

    if not has_log(settings):
        missing = f"{sqlite_path(settings)} is not there yet."
        return Check("event log", Status.WARN, missing, "Run omni ingest FILE, or omni sample for an invented shop.")
    place = "PostgreSQL" if settings.event_log_url.startswith("postgres") else "SQLite"
    log = open_log(settings)
    try:
        rows = log.count()
    finally:
        log.close()
    if rows == 0:
        return Check(
            "event log", Status.WARN, f"{place}: empty.", "Run omni ingest FILE, or omni sample for an invented shop."
        )
    return Check("event log", Status.OK, f"{place}: {rows:,} events.")


def check_online(settings: Settings) -> Check:
    """The online store answers, and holds something once the features are built."""
    from features.offline.build_note import read_note
    from features.online.reach import REDIS_KEY
    from features.online.sqlite import look_at_online

    if settings.online_store != "redis":
        if settings.online_db_path.exists():
            look_at_online(settings)
            return _store_of_log(settings, f"SQLite, {settings.online_db_path}.")
        return Check("online store", Status.WARN, "SQLite, not there yet.", "Run omni features build.")
    from features.online.redis import connect, saying_where

    with saying_where(settings), connect(settings) as client:
        version = client.info("server")["redis_version"]
        n_keys = client.dbsize() - client.exists(REDIS_KEY)
    place = f"Redis {version} at {settings.redis_place}, {n_keys:,} keys."
    if n_keys == 0 and read_note(settings) is not None:
        return Check(
            "online store", Status.FAIL, f"{place} What was built is gone.", "Run omni features build --force."
        )
    return _store_of_log(settings, place) if n_keys else Check("online store", Status.OK, place)


def check_built(settings: Settings) -> Check:
    """The feature stores are there and hold what the log holds."""
    from features.log.engines import open_log
    from features.offline.build_note import NOT_OF_THE_LOG, events_since_build, is_of_log, read_note

    repair = "Run omni features build."
    note = read_note(settings)
    if note is not None:
        with closing(open_log(settings)) as log:
            if not is_of_log(note, log):
                return Check("features", Status.FAIL, f"they {NOT_OF_THE_LOG}.", repair)
    lag = events_since_build(settings)
    if lag is None:
        other = "built from another log, or by another version of the fold."
        reason = "not built from this log yet." if note is None else other
        return Check("features", Status.WARN, reason, repair)
    if lag > 0:
        behind = f"{lag:,} events came after the build; the service counts them, training does not yet."
        return Check("features", Status.WARN, behind, repair)
    missing = [path.name for path in _built_files(settings) if not path.exists()]
    if missing:
        return Check("features", Status.FAIL, f"{', '.join(missing)} is gone.", "Run omni features build --force.")
    return Check("features", Status.OK, "built, and level with the log.")


def check_erasures(settings: Settings) -> Check:
    """No erasure that was begun waits to be finished, and the log knows of all that are recorded beside it."""
    from features.log.carried import is_of_log, unknown_erasures
    from features.log.engines import open_log

    name, place = "erasures under way", settings.event_log_url
    if place.startswith("sqlite:///") and not Path(place.removeprefix("sqlite:///")).exists():
        return Check(name, Status.OK, "none.")
    with closing(open_log(settings)) as log:
        pending = log.erasures().pending()
        unknown = unknown_erasures(settings, log)
        n_forgotten = sum(is_of_log(erasure, log) for erasure in unknown)
    if n_forgotten:
        words = f"the event log is older than {n_forgotten:,} erasures: whoever they erased may be in it again."
        return Check(name, Status.FAIL, words, "A running service erases them again; else run: omni erase --finish")
    if unknown:
        words = f"{len(unknown):,} erasures are recorded that were done in another event log than this one."
        return Check(
            name, Status.WARN, words, "If this one is an older copy of it, erase them again: omni erase CUSTOMER"
        )
    if not pending:
        return Check(name, Status.OK, "none.")
    since = min(receipt.erased_at for receipt in pending)
    words = f"{len(pending):,} pending since {since.isoformat(timespec='seconds')}."
    return Check(name, Status.WARN, words, "A running service goes on with them; else run: omni erase --finish")


def check_champion(settings: Settings, task: Task) -> Check:
    """A model of this task is registered and serves, or is none that this shop needs."""
    name, repair = f"model {task}", f"Run omni train {task}, then omni promote {task}."
    needed = task in settings.tasks
    emptied = emptied_registry(settings)
    if emptied is not None:
        return Check(
            name, Status.FAIL, f"{emptied} is empty: the registry is lost.", "Restore a backup, or delete it. " + repair
        )
    if not has_registry(settings):
        return Check(name, Status.WARN if needed else Status.OK, "no registry yet.", repair if needed else "")
    look_at_tracking(settings)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from features.fingerprint import FEATURE_CODE_TAG, feature_code

    uri = settings.mlflow_tracking_uri
    try:
        version = MlflowClient(tracking_uri=uri, registry_uri=uri).get_model_version_by_alias(task.value, CHAMPION)
    except MlflowException:
        if not needed:
            return Check(name, Status.OK, "no champion; this shop does not need one (OMNI_TASKS).")
        return Check(name, Status.WARN, "no champion yet.", repair)
    entry = Quarantine(settings.home).entry(task, str(version.version), version.run_id or "")
    if entry is not None:
        bad = f"version {version.version} is champion and must not serve: {entry}"
        return Check(name, Status.FAIL, bad, f"Run omni train {task}, or omni rollback {task}.")
    if version.tags.get(FEATURE_CODE_TAG, feature_code()) != feature_code():
        stale = f"version {version.version} is champion, but learned from signals of other code than answers now."
        return Check(name, Status.WARN, stale, repair)
    if not version.tags.get(DIGEST_TAG):
        old = f"version {version.version} is champion; its files have no digests, which training keeps by now."
        return Check(name, Status.OK, old)
    return Check(name, Status.OK, f"version {version.version} is champion.")


def check_port(port: int) -> Check:
    """Nothing else listens where the service wants to."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    if taken:
        return Check("port", Status.WARN, f"{port} is in use.", "If that is not Omni: omni serve --port N.")
    return Check("port", Status.OK, f"{port} is free.")


def check_service(settings: Settings) -> Check:
    """Which services run from this home, what is left of one that was killed, and whether its rules are as they should be."""
    from features.processes.running import RunFolder, in_words

    folders = [RunFolder(path) for path in sorted((settings.home / "run").glob("[0-9]*/"))]
    ports = [folder.path.name for folder in folders if folder.is_held()]
    for folder in folders:
        left = [] if folder.path.name in ports else folder.left_over()
        if left:
            repair = f"omni serve --port {folder.path.name} ends it first."
            return Check("service", Status.WARN, f"a service that was killed left {in_words(left)}.", repair)
    problem = _rules_problem(settings.home / "run" / "rules.json") if ports else ""
    if problem:
        return Check("service", Status.WARN, f"{problem} The rules before it stay in force.")
    return Check("service", Status.OK, f"running on port {', '.join(ports)}." if ports else "none is running.")


def _rules_problem(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["problem"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _look(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except OmniError as error:
        return Check(name, Status.FAIL, error.message, error.repair)
    except Exception as error:  # noqa: BLE001  (of whatever a library meets in a damaged file: the other checks go on)
        return Check(name, Status.FAIL, f"{type(error).__name__}: {error}".splitlines()[0])


def _feature_looks(settings: Settings) -> list[tuple[str, Callable[[], Check]]]:
    return [
        ("event log", lambda: check_log(settings)),
        ("online store", lambda: check_online(settings)),
        ("features", lambda: check_built(settings)),
        ("erasures under way", lambda: check_erasures(settings)),
    ]


def _store_of_log(settings: Settings, place: str) -> Check:
    """Whether the store's rows are folds of the log as it is; one that nothing was written to yet is as good."""
    from features.log.engines import has_log, open_log
    from features.online.reach import Reach
    from features.online.trust import store_problem

    reach = Reach(settings)
    if not reach.is_noted() and not has_log(settings):
        return Check("online store", Status.OK, place)
    with closing(open_log(settings)) as log:
        problem = store_problem(reach, log)
    if not problem:
        return Check("online store", Status.OK, place)
    return Check("online store", Status.FAIL if reach.is_noted() else Status.WARN, place, problem)


def _built_files(settings: Settings) -> list[Path]:
    files = [settings.timeline_path, settings.customer_state_path, settings.customer_products_path]
    return [*files, settings.online_db_path] if settings.online_store == "sqlite" else files


def _loader(module: str) -> Callable[[], Check]:
    def load() -> Check:
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            repair = "Run make install."
            if "libgomp" in str(error):
                repair = "The OpenMP library is missing; on Debian or Ubuntu: apt install libgomp1."
            return Check(module, Status.FAIL, f"does not load: {error}.".splitlines()[0], repair)
        return Check(module, Status.OK, f"{importlib.metadata.version(module)} loads.")

    return load


def _champion(settings: Settings, task: Task) -> Callable[[], Check]:
    return lambda: check_champion(settings, task)


def _requirements() -> list[str]:
    """Names of the dependencies that an installation without extras needs."""
    try:
        lines = importlib.metadata.requires("omni") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    plain = (line for line in lines if "extra ==" not in line)
    return [match.group() for line in plain if (match := re.match(r"[A-Za-z0-9._-]+", line))]
