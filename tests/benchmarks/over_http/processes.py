"""What a service costs the machine: the root of its processes comes in, processor time and memory by process come out."""

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1024 * 1024
QUIET = 0.2
"""The share of one core below which a service counts as done with what it was asked."""
_LOOK_S = 0.5
ROLES = (
    ("features.stream", "stream"),
    ("_bentoml_impl", "worker"),
    ("bentoml", "BentoML's parent"),
    ("omni.py", "supervisor"),
)
"""What a process is by its command line; the first that fits."""


@dataclass(frozen=True)
class Memory:
    """One process: PSS counts a page that n processes share as 1/n of a page, RSS as a page for each."""

    role: str
    pss_mib: float
    rss_mib: float


def tree(root: int) -> list[psutil.Process]:
    """A process and all below it."""
    process = psutil.Process(root)
    return [process, *process.children(recursive=True)]


def cpu_s(root: int) -> float:
    """User and system time of a service's processes since each began, those that ended left out."""
    total = 0.0
    for process in tree(root):
        try:
            total += sum(process.cpu_times()[:2])
        except psutil.Error:  # it ended in between
            continue
    return total


def settle(root: int, at_most_s: float = 10.0) -> None:
    """Wait until a service does no more than it does when nobody asks: what follows an answer belongs to its cost."""
    deadline = time.monotonic() + at_most_s
    before = cpu_s(root)
    while time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        now = cpu_s(root)
        if now - before < QUIET * _LOOK_S:
            return
        before = now


def memory(root: int) -> list[Memory]:
    """Every process of a service by role."""
    found = []
    for process in tree(root):
        try:
            command, lines = " ".join(process.cmdline()), Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except (psutil.Error, OSError):  # it ended in between
            continue
        kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines.splitlines()[1:])}
        role = next((role for part, role in ROLES if part in command), command[:40])
        found.append(Memory(role, kib["Pss"] / 1024, kib["Rss"] / 1024))
    return sorted(found, key=lambda one: one.role)
