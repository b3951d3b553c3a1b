"""Where a long job's time and memory go: named steps come in, seconds and peak memory of each go out."""

import ctypes
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil
import pyarrow as pa

from features.console import Progress, step

SAMPLE_EVERY_S = 0.25


@dataclass(frozen=True)
class StepCost:
    """What one step cost; `peak_mib` is the largest resident memory of this process and its children during it."""

    name: str
    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Costs:
    """What a whole job cost, step by step."""

    steps: tuple[StepCost, ...]
    seconds: float
    peak_mib: float

    def __rich__(self) -> Any:
        """A table, for a person."""
        from rich.table import Table

        table = Table(title="Where the time went", title_justify="left", box=None, pad_edge=False)
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("peak MiB", justify="right")
        for cost in self.steps:
            table.add_row(cost.name, f"{cost.seconds:.1f}", f"{cost.peak_mib:,.0f}")
        table.add_row("[bold]altogether[/]", f"[bold]{self.seconds:.1f}[/]", f"[bold]{self.peak_mib:,.0f}[/]")
        return table


class Meter:
    """Times steps one after the other, and samples the memory of the process tree in the background."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._steps: list[StepCost] = []
        self._peak_mib = 0.0
        self._stop = threading.Event()

    def __enter__(self) -> "Meter":
        self._stop.clear()
        threading.Thread(target=self._sample, name="meter", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """Show the step on stderr while it runs, and remember what it cost."""
        started = time.perf_counter()
        self._peak_mib = tree_memory_mib()
        with step(name) as progress:
            yield progress
        peak = max(self._peak_mib, tree_memory_mib())
        self._steps.append(StepCost(name, time.perf_counter() - started, peak))

    def costs(self) -> Costs:
        """What the steps so far cost; `seconds` also counts what lies between them."""
        peak = max((cost.peak_mib for cost in self._steps), default=0.0)
        return Costs(tuple(self._steps), time.perf_counter() - self._started, peak)

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            self._peak_mib = max(self._peak_mib, tree_memory_mib())


def release_memory() -> None:
    """Give freed memory back to the system now, before another process needs it; does what the platform can."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # glibc alone keeps freed pages, and has a call for it
        ctypes.CDLL(None).malloc_trim(0)


def tree_memory_mib() -> float:
    """Resident memory of this process and all its children, in MiB; pages they share count once for each."""
    me = psutil.Process()
    total = 0
    for process in (me, *me.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it ended in between
            continue
    return total / 2**20
