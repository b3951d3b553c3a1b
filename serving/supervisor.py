"""Settings in, a running service out: the BentoML server and the applier as children, started and stopped together."""

import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from features.errors import InputError, OmniError
from features.processes.lifeline import Lifeline
from features.processes.running import TOKEN, Noted, RunFolder, end_carriers, in_words, listeners
from features.settings import ATTRIBUTES_FILE, IDENTITY_FILE, PARENT, SETTINGS_FILE, STARTED_WITH, Settings
from serving.access.listening import RATES_FILE, access_on
from serving.preparation import prepare_apart
from serving.timing.profiling import PROFILE_DIR

logger = logging.getLogger(__name__)

STOP_S: Final = 20.0
"""How long a child has to end by itself."""
RESTART_S: Final = 2.0
PORT_FREE_S: Final = 5.0
"""How long a port may stay taken after whoever had it ended."""
_TEMPORARY: Final = "tmp"
"""Where the children keep temporary files, in the service's folder."""
_MEMORY: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**22),
}
"""The children give back what they read a file with: left alone, Arrow and glibc keep 50 MiB of it for every worker."""
_STREAM: Final = [sys.executable, "-m", "features.stream"]


class StartError(OmniError):
    """The service did not come up."""


def child_environment(settings: Settings, port: int, workers: int, mark: Mapping[str, str]) -> dict[str, str]:
    """The environment of the children: ours, with every setting spelled out, nothing phoned home, and our `mark`."""
    env = {**_MEMORY, **os.environ}
    env |= {
        "OMNI_HOME": str(settings.home),
        "OMNI_EVENT_LOG": settings.event_log_url,
        "OMNI_ONLINE_STORE": settings.online_store,
        "OMNI_TASKS": ",".join(settings.tasks),
        "OMNI_REDIS": settings.redis_url,
        "OMNI_TIMEOUT_MS": str(settings.timeout_ms),
        "OMNI_DEADLINE_MS": str(settings.deadline_ms),
        "OMNI_DECISION_DURABILITY": settings.decision_durability,
        "OMNI_WORKERS": str(workers),
        "OMNI_ACCESS": settings.access,
        "OMNI_LOG_FORMAT": settings.log_format,
        RATES_FILE: str(_run_dir(settings, port) / "rates"),
        PARENT: str(os.getpid()),
        **mark,
        "OMNI_DRAIN_FILE": str(_run_dir(settings, port) / "draining"),
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "BENTOML_HOME": str(_run_dir(settings, port) / "bentoml"),  # two servers on one home break each other
        "BENTOML_DO_NOT_TRACK": "True",
        "TMPDIR": str(
            _run_dir(settings, port) / "tmp"
        ),  # so that the next start finds what a killed process leaves there
    }
    if settings.clock_start is not None:
        env["OMNI_CLOCK_START"] = settings.clock_start.isoformat()
    return env


@dataclass
class Service:
    """A running service; `stop` ends what `start_service` started, by its process ids and nothing else."""

    url: str
    env: dict[str, str]
    server: "subprocess.Popen[bytes]"
    applier: "subprocess.Popen[bytes] | None"
    drain_file: Path
    folder: RunFolder
    lifeline: Lifeline
    log_file: Path | None = None
    _applier_died_at: float = field(default=0.0, repr=False)

    def wait_ready(self, timeout_s: float = 90.0, progress: Callable[[str], None] = logger.info) -> None:
        """Wait until everything can be answered. Raises StartError with what it was waiting for."""
        deadline = time.monotonic() + timeout_s
        said = ""
        while time.monotonic() < deadline:
            if self.server.poll() is not None:
                raise StartError(f"The server ended with status {self.server.returncode}.", repair=self._see_log())
            ready, why = _is_ready(self.url)
            if ready:
                return
            if why != said:
                progress(why)
                said = why
            time.sleep(0.1)
        raise StartError(
            f"The service at {self.url} is not ready after {timeout_s:.0f} s: {said}", repair=self._see_log()
        )

    def tend(self) -> int | None:
        """Look after the children: the server's exit status when it has ended; an applier that died is started again."""
        if self.applier is not None and self.applier.poll() is not None:
            now = time.monotonic()
            if not self._applier_died_at:
                self._applier_died_at = now
                logger.warning("The applier ended with status %s; it is started again", self.applier.returncode)
            elif now - self._applier_died_at >= RESTART_S:
                self.applier = _start(_STREAM, self.env, self.lifeline, self.log_file)
                self._applier_died_at = 0.0
                self.note()
        return self.server.poll()

    def stop(self, drain_s: float = 0.0) -> None:
        """Say "not ready", let traffic go elsewhere for `drain_s`, answer what is in flight, end both children and theirs."""
        if self.server.poll() is None and drain_s > 0:
            with contextlib.suppress(OSError):  # a full disk must not keep the children from being ended
                self.drain_file.touch()
            time.sleep(drain_s)
        _end(self.server)
        if self.applier is not None:
            _end(self.applier)
        self.lifeline.let_go()
        end_carriers(self.folder.token)  # the workers of a server that was killed
        self.drain_file.unlink(missing_ok=True)
        shutil.rmtree(self.env[STARTED_WITH], ignore_errors=True)
        shutil.rmtree(self.folder.path / _TEMPORARY, ignore_errors=True)
        self.folder.leave()

    def note(self) -> None:
        """Write down which processes this service consists of, for the next start to know what is left over of it.

        Where the disk is full the note before it stays: its token tells them all the same.
        """
        children = {"server": self.server, "stream": self.applier}
        try:
            self.folder.note([Noted.now(role, child.pid) for role, child in children.items() if child is not None])
        except OSError as error:
            logger.warning("The processes of this service could not be written down: %s", error)

    def _see_log(self) -> str:
        return f"See {self.log_file}." if self.log_file else "See its messages above."


def start_service(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    workers: int = 1,
    with_applier: bool = True,
    log_file: Path | None = None,
    profile: bool = False,
) -> Service:
    """Start the server (port 0: any free one) and the applier; answers at once, use `wait_ready`.

    What a service of the same home and port left behind that was killed is ended first. Raises InputError where keys are
    demanded, as they are beyond this machine, and there is none; where such a service runs, the port is taken or OMNI_HOME
    cannot be written to, and OmniError where the event log, the rules or the keys cannot be used. Messages of the children
    go to `log_file`, or to our stderr. With `profile` each worker writes where its time went into the service's folder when
    it stops.
    """
    settings = replace(settings, access=access_on(settings, host))
    port = port or _free_port(host, port)
    folder = RunFolder(_run_dir(settings, port))
    try:
        folder.take()
        _free_port(host, port)
        env, lifeline = _prepare(settings, folder, port, workers)
        if profile:
            env[PROFILE_DIR] = str(folder.path / "profile")
    except OSError as error:
        folder.leave()
        raise InputError(
            f"The folder {settings.home} cannot be written to: {error.strerror}.",
            repair="Give it to the user who serves, or set OMNI_HOME to another one.",
        ) from error
    except BaseException:
        folder.leave()
        raise
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Omni", "--host", host, "--port", str(port)]
    server = _start(command, env, lifeline, log_file)
    applier = _start(_STREAM, env, lifeline, log_file) if with_applier else None
    drain_file = Path(env["OMNI_DRAIN_FILE"])
    service = Service(f"http://{reachable}:{port}", env, server, applier, drain_file, folder, lifeline, log_file)
    service.note()
    return service


def run_until_stopped(service: Service, drain_s: float) -> int:
    """Stay until SIGTERM, SIGINT or the server's own end; then stop everything. Answers the exit status."""
    asked: list[int] = []
    before = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while not asked:
            status = service.tend()
            if status is not None:
                logger.error("The server ended with status %s: the service ends. Start it again.", status)
                return status or 1
            time.sleep(0.2)
        return 0
    finally:
        service.stop(drain_s if asked else 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _prepare(settings: Settings, folder: RunFolder, port: int, workers: int) -> tuple[dict[str, str], Lifeline]:
    """Make what the children work with, and try what they could not start without."""
    started_with = folder.path / "started-with"
    _copy_files(settings.home, started_with)
    lifeline = Lifeline()
    mark = {TOKEN: folder.token, STARTED_WITH: str(started_with), **lifeline.environment()}
    env = child_environment(settings, port, workers, mark)
    try:
        Settings.from_env(env)
        Path(env["BENTOML_HOME"]).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(env["TMPDIR"], ignore_errors=True)
        Path(env["TMPDIR"]).mkdir(mode=0o700)
        for old in (env["OMNI_DRAIN_FILE"], env[RATES_FILE]):
            Path(old).unlink(missing_ok=True)
        folder.note([])  # the token first: a process that nobody knows could not be found again
        prepare_apart(settings, started_with, env)
    except BaseException:
        lifeline.let_go()
        raise
    return env, lifeline


def _copy_files(home: Path, copies: Path) -> None:
    """Copy what is read once: a worker that is started anew must do as the others do, and as it did before it crashed."""
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir(mode=0o700)
    for name in (SETTINGS_FILE, IDENTITY_FILE, ATTRIBUTES_FILE):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(home / name, copies / name)  # with its mode: it may hold a key


def _run_dir(settings: Settings, port: int) -> Path:
    return settings.home / "run" / str(port)


def _free_port(host: str, port: int) -> int:
    deadline = time.monotonic() + PORT_FREE_S
    while True:
        try:
            return _bind(host, port)
        except OSError as error:
            is_taken = bool(port) and error.errno == errno.EADDRINUSE
            users = listeners(port) if is_taken else []
            if is_taken and not users and time.monotonic() < deadline:
                time.sleep(0.1)  # whoever had it is gone, or about to go
                continue
            by = f" (by {in_words(users)})" if users else ""
            raise InputError(
                f"Port {port} on {host} cannot be used: {error.strerror}{by}.",
                repair="Choose another one with --port.",
            ) from error


def _bind(host: str, port: int) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def _start(
    command: list[str], env: dict[str, str], lifeline: Lifeline, log_file: Path | None
) -> "subprocess.Popen[bytes]":
    """A child in a session of its own, so that Ctrl-C reaches only us and we can let it finish its work."""
    with contextlib.ExitStack() as stack:
        out = sys.stderr.fileno() if log_file is None else stack.enter_context(log_file.open("ab"))
        return subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            pass_fds=(lifeline.reading,),
        )


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        logger.warning("Process %d did not end in %.0f s and is killed", child.pid, STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _is_ready(url: str) -> tuple[bool, str]:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as response:
            return response.status == 200, ""
    except urllib.error.HTTPError as error:
        with error:
            return False, _reason(error.read())
    except OSError:
        return False, "the server is starting"


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "the server answers with an error"


def is_alive(pid: int) -> bool:
    """Whether the process is there, whosever it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # there, and another user's
        pass
    return True
