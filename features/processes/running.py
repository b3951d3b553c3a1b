"""Which service runs from a folder: a lock that ends with its holder comes in, a note of its processes goes out.

`RunFolder` is OMNI_HOME/run/PORT. Who holds its lock is the service of that home and port, and the system takes the
lock from a process that dies. The note names a random token, which every process of the service carries in its
environment, and the processes with the moments they began: so the next start knows what is left over of a service that
was killed, and ends that and nothing else.
"""

import contextlib
import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from features.atomic import write_text
from features.errors import InputError

logger = logging.getLogger(__name__)

TOKEN: Final = "OMNI_SERVICE"
"""Environment variable by which a process knows, and shows, which service it is part of."""
_NOTE: Final = "service.json"
_LOCK: Final = "service.lock"
_LOOKED_AT_S: Final = 0.5
_SAME_START_S: Final = 2.0
"""How far apart a start time may be read twice: it is reckoned from the time the machine was started."""


@dataclass(frozen=True)
class Noted:
    """A process of a service: what it does, its id, and when it began (seconds since 1970)."""

    role: str
    pid: int
    started_s: float

    @classmethod
    def now(cls, role: str, pid: int) -> "Noted":
        """The process that has this id now."""
        try:
            return cls(role, pid, psutil.Process(pid).create_time())
        except psutil.Error:  # ended meanwhile: no later process began then
            return cls(role, pid, 0.0)


@dataclass(frozen=True)
class Note:
    """What a service says of itself."""

    token: str
    processes: tuple[Noted, ...] = ()


class RunFolder:
    """The folder of one home and port."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = secrets.token_hex(16)
        self._lock: int | None = (
            None  # a bare descriptor: held until this process ends, also where nobody keeps this object
        )

    def take(self) -> None:
        """Become the service of this folder, until `leave` or the end of this process; end what is left of the one before.

        Raises InputError where another one runs.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        if not _locked(lock):
            os.close(lock)
            raise InputError(
                f"A service of this home runs on port {self.path.name} already{self._who()}.",
                repair="Stop it first. Choose another one with --port to have a second.",
            )
        self._lock = lock
        left = self.left_over()
        if left:
            logger.warning("A service that was killed left %s: they are ended", in_words(left))
            end_all(left)

    def note(self, children: Sequence[Noted]) -> None:
        """Write down which processes this service consists of."""
        processes = [Noted.now("supervisor", os.getpid()), *children]
        content = {"token": self.token, "processes": [vars(process) for process in processes]}
        write_text(self.path / _NOTE, json.dumps(content, indent=1))

    def leave(self) -> None:
        """Let another service have the folder; may be called again."""
        if self._lock is None:
            return
        with contextlib.suppress(IsADirectoryError):  # not ours: the next start says so
            (self.path / _NOTE).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None

    def is_held(self) -> bool:
        """Whether a service runs from here, this one or another process's."""
        if self._lock is not None:
            return True
        try:
            with (self.path / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def read(self) -> Note | None:
        """What the service of this folder, or the last one, wrote down; None where there is nothing to be read."""
        try:
            content = json.loads((self.path / _NOTE).read_text(encoding="utf-8"))
            processes = tuple(Noted(str(p["role"]), int(p["pid"]), float(p["started_s"])) for p in content["processes"])
            return Note(str(content["token"]), processes)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def left_over(self) -> list[psutil.Process]:
        """Processes of the service that was noted last and is no more."""
        note = self.read()
        return [] if note is None else carriers(note.token, note.processes)

    def _who(self) -> str:
        note = self.read()
        return f" (process {note.processes[0].pid})" if note and note.processes else ""


def carriers(token: str, noted: Iterable[Noted] = ()) -> list[psutil.Process]:
    """Processes that run and carry `token` in their environment, without this one.

    Where the system does not show an environment, those count that were `noted` and began at that moment.
    """
    began = {process.pid: process.started_s for process in noted}
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _carries(process, token, began.get(process.pid, 0.0))
    ]


def end_all(processes: Sequence[psutil.Process], wait_s: float = 5.0) -> None:
    """Have processes end in order, or by force where they have not after `wait_s`; returns once they are gone."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=wait_s)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=wait_s)


def end_carriers(token: str, wait_s: float = 5.0) -> None:
    """End every process that carries `token`, those too that another one starts meanwhile."""
    deadline = time.monotonic() + 4 * wait_s
    while (left := carriers(token)) and time.monotonic() < deadline:
        end_all(left, wait_s)


def listeners(port: int) -> list[psutil.Process]:
    """Who listens on a TCP port of this machine, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):  # macOS tells only root
        return []
    pids = {c.pid for c in connections if c.pid and c.status == psutil.CONN_LISTEN and c.laddr.port == port}
    found = []
    for pid in sorted(pids):
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return found


def in_words(processes: Sequence[psutil.Process]) -> str:
    """Processes as a person looks for them: by id and program. A whole command line may hold a password."""
    words = []
    for process in processes:
        try:
            words.append(f"process {process.pid} ({process.name()})")
        except psutil.Error:
            words.append(f"process {process.pid}")
    return ", ".join(words)


def _locked(file: int) -> bool:
    """Whether the lock could be had; for as long as somebody may only look whether it is held, it is tried again."""
    deadline = time.monotonic() + _LOOKED_AT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)


def _carries(process: psutil.Process, token: str, began_s: float) -> bool:
    try:
        return bool(process.environ().get(TOKEN) == token)
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return False
    except (psutil.Error, OSError):
        return _began(process, began_s)


def _began(process: psutil.Process, at_s: float) -> bool:
    """Whether it is this user's process and began at that moment: its id may be another process's by now."""
    try:
        return bool(process.uids().real == os.getuid() and abs(process.create_time() - at_s) <= _SAME_START_S)
    except (psutil.Error, OSError):
        return False
