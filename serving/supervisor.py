"""Settings in, a running service out: the BentoML server and the applier as children, started and stopped together."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from features.errors import InputError, OmniError
from features.log.engines import open_log
from features.settings import PARENT, Settings
from serving.decision.rules import house_rules

logger = logging.getLogger(__name__)

STOP_S: Final = 20.0
"""How long a child has to end by itself."""
RESTART_S: Final = 2.0


class StartError(OmniError):
    """The service did not come up."""


def child_environment(settings: Settings, port: int, workers: int) -> dict[str, str]:
    """The environment of the children: ours, with every setting spelled out and nothing phoned home."""
    env = dict(os.environ)
    env |= {
        "OMNI_HOME": str(settings.home),
        "OMNI_EVENT_LOG": settings.event_log_url,
        "OMNI_ONLINE_STORE": settings.online_store,
        "OMNI_TASKS": ",".join(settings.tasks),
        "OMNI_REDIS": settings.redis_url,
        "OMNI_TIMEOUT_MS": str(settings.timeout_ms),
        "OMNI_WORKERS": str(workers),
        PARENT: str(os.getpid()),
        "OMNI_DRAIN_FILE": str(_run_dir(settings, port) / "draining"),
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "BENTOML_HOME": str(_run_dir(settings, port) / "bentoml"),  # two servers on one home break each other
        "BENTOML_DO_NOT_TRACK": "True",
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
                self.applier = _start([sys.executable, "-m", "features.stream"], self.env, self.log_file)
                self._applier_died_at = 0.0
        return self.server.poll()

    def stop(self, drain_s: float = 0.0) -> None:
        """Say "not ready", let traffic go elsewhere for `drain_s`, answer what is in flight, end both children."""
        if self.server.poll() is None and drain_s > 0:
            self.drain_file.touch()
            time.sleep(drain_s)
        _end(self.server)
        if self.applier is not None:
            _end(self.applier)
        self.drain_file.unlink(missing_ok=True)

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
) -> Service:
    """Start the server (port 0: any free one) and the applier; answers at once, use `wait_ready`.

    Raises InputError where the port is taken or OMNI_HOME cannot be written to, and OmniError where the event log or the
    rules cannot be used. Messages of the children go to `log_file`, or to our stderr.
    """
    port = _free_port(host, port)
    env = child_environment(settings, port, workers)
    drain_file = Path(env["OMNI_DRAIN_FILE"])
    try:
        Path(env["BENTOML_HOME"]).mkdir(parents=True, exist_ok=True)
        drain_file.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {settings.home} cannot be written to: {error.strerror}.",
            repair="Give it to the user who serves, or set OMNI_HOME to another one.",
        ) from error
    _try_what_workers_need(settings)
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Omni", "--host", host, "--port", str(port)]
    server = _start(command, env, log_file)
    applier = _start([sys.executable, "-m", "features.stream"], env, log_file) if with_applier else None
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return Service(f"http://{reachable}:{port}", env, server, applier, drain_file, log_file)


def run_until_stopped(service: Service, drain_s: float) -> int:
    """Stay until SIGTERM, SIGINT or the server's own end; then stop everything. Answers the exit status."""
    asked: list[int] = []
    before = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while not asked:
            status = service.tend()
            if status is not None:
                return status or 1
            time.sleep(0.2)
        return 0
    finally:
        service.stop(drain_s if asked else 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)


def end_without(parent: int, server: int, check_s: float = 1.0) -> threading.Thread:
    """Have `server` ended, from within one of its workers, once the process `parent` is no more.

    Otherwise a supervisor that was killed would leave a server behind that holds the port, and nobody to look after it.
    """

    def watch() -> None:
        while is_alive(parent):
            time.sleep(check_s)
        logger.warning("Process %d, which looked after this service, is gone: the service ends", parent)
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGTERM)

    thread = threading.Thread(target=watch, name="omni-parent-watch", daemon=True)
    thread.start()
    return thread


def _try_what_workers_need(settings: Settings) -> None:
    """A worker that cannot start is started again and again; what is wrong is rather said here, once."""
    house_rules(settings)
    open_log(settings).close()


def _run_dir(settings: Settings, port: int) -> Path:
    return settings.home / "run" / str(port)


def _free_port(host: str, port: int) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"Port {port} on {host} cannot be used: {error.strerror}.", repair="Choose another one with --port."
            ) from error
        return int(probe.getsockname()[1])


def _start(command: list[str], env: dict[str, str], log_file: Path | None) -> "subprocess.Popen[bytes]":
    """A child in a session of its own, so that Ctrl-C reaches only us and we can let it finish its work."""
    with contextlib.ExitStack() as stack:
        out = sys.stderr.fileno() if log_file is None else stack.enter_context(log_file.open("ab"))
        return subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
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
