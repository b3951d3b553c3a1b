"""Memory of the whole path: peaks of the demo's steps, then of each process of a service that takes events and answers.

OMNI_HOME=/tmp/memory python tests/benchmarks/bench_memory.py [--sample 0.1] [--seconds 60] [--workers 2] [--no-demo]

Of a process both numbers are told that Linux has: all its pages (RSS), and its share of those that others have too (PSS).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import httpx
import psutil

from features.settings import Settings
from serving import showcase
from serving.supervisor import start_service

EVENTS_PER_REQUEST = 50
MIB = 2**20


def demo_steps(sample: float | None) -> list[tuple[str, float, float]]:
    """Name, seconds and peak MiB of every step of `omni demo --once`, run in a process of its own."""
    words = [sys.executable, "-m", "omni", "demo", "--once", "--json", "--port", "3955"]
    words += ["--sample", str(sample)] if sample else []
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    costs = json.loads(done.stdout.splitlines()[-1])["costs"]
    return [(step["name"], step["seconds"], step["peak_mib"]) for step in costs["steps"]]


def role(process: psutil.Process) -> str:
    """What a process of the service is there for."""
    words = " ".join(process.cmdline())
    if "features.stream" in words:
        return "stream"
    return "worker" if "worker" in words else "server"


def shares(process: psutil.Process) -> tuple[float, float]:
    """RSS and PSS of a process, MiB."""
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    kib = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return kib["Rss:"] / 1024, kib["Pss:"] / 1024


@dataclass
class Measured:
    """Of a service under load: seconds to ready, CPU seconds by role until then, peaks of MiB by role and of the log's WAL."""

    ready_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    rss: dict[str, float] = field(default_factory=dict)
    pss: dict[str, float] = field(default_factory=dict)
    wal_mib: float = 0.0
    n_events: int = 0

    def look(self) -> None:
        """Take in what the processes hold now."""
        for process in psutil.Process().children(recursive=True):
            try:
                name, (rss, pss) = role(process), shares(process)
            except (psutil.Error, OSError):  # it ended in between
                continue
            self.rss[name] = max(self.rss.get(name, 0.0), rss)
            self.pss[name] = max(self.pss.get(name, 0.0), pss)


def load(settings: Settings, seconds: float, workers: int) -> Measured:
    """Start a service, keep it busy for some seconds, and measure."""
    settings = replace(settings, clock_start=showcase.replay_start(settings) + timedelta(days=1))
    customers = [customer for customer, _ in showcase.pick_customers(settings)]
    wal = settings.home / "events.db-wal"
    measured = Measured()
    n_events, begun = 0, time.monotonic()
    service = start_service(settings, port=0, workers=workers, log_file=settings.home / "service.log")
    try:
        service.wait_ready(timeout_s=180)
        measured.ready_s = time.monotonic() - begun
        for process in psutil.Process().children(recursive=True):
            measured.cpu_s[role(process)] = sum(process.cpu_times()[:2])
        ends = time.monotonic() + seconds
        started = settings.clock_start
        assert started is not None
        with httpx.Client(base_url=service.url, timeout=30) as client:
            while time.monotonic() < ends:
                items = [
                    {
                        "event_id": f"memory-{os.getpid()}-{n_events + place}",
                        "occurred_at": started.isoformat(),
                        "kind": "view",
                        "channel": "web",
                        "customer_id": f"memory-{(n_events + place) % 5_000}",
                        "product_id": str(place),
                    }
                    for place in range(EVENTS_PER_REQUEST)
                ]
                client.post("/v1/events", json={"events": items}).raise_for_status()
                client.post("/v1/decide", json={"customer_id": customers[n_events % len(customers)]}).raise_for_status()
                n_events += len(items)
                measured.wal_mib = max(measured.wal_mib, wal.stat().st_size / MIB if wal.exists() else 0)
                if n_events % (20 * EVENTS_PER_REQUEST) == 0:
                    measured.look()
    finally:
        service.stop()
    measured.n_events = n_events
    return measured


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=float, help="take this share of the customers")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the service is kept busy")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--no-demo", action="store_true", help="OMNI_HOME has seen a demo: begin with the service")
    wanted = parser.parse_args()
    if not wanted.no_demo:
        print("| step | seconds | peak MiB |\n|---|---|---|")
        for name, seconds, peak in demo_steps(wanted.sample):
            print(f"| {name} | {seconds:.1f} | {peak:,.0f} |")
    found = load(Settings.from_env(os.environ), wanted.seconds, wanted.workers)
    print(
        f"\nReady after {found.ready_s:.1f} s; {found.n_events:,} events and a decision per {EVENTS_PER_REQUEST} then:\n"
    )
    print("| process (the largest) | CPU s until ready | peak RSS MiB | peak PSS MiB |\n|---|---|---|---|")
    for name in sorted(found.rss):
        print(f"| {name} | {found.cpu_s.get(name, 0):.1f} | {found.rss[name]:,.0f} | {found.pss[name]:,.0f} |")
    print(f"\nThe event log's write-ahead log took {found.wal_mib:,.1f} MiB of the disk at most.")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
