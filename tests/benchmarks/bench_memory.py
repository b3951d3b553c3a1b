"""Memory of the whole path: peaks of the demo's steps, then of each process of a service that takes events and answers.

OMNI_HOME=/tmp/memory python tests/benchmarks/bench_memory.py [--sample 0.1] [--seconds 60]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
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


def load(settings: Settings, seconds: float) -> tuple[dict[str, float], float, int]:
    """Peak MiB by role, peak MiB of the event log's write-ahead log, and events taken, of a service under load."""
    settings = replace(settings, clock_start=showcase.replay_start(settings) + timedelta(days=1))
    customers = [customer for customer, _ in showcase.pick_customers(settings)]
    wal = settings.home / "events.db-wal"
    peaks: dict[str, float] = {}
    wal_peak = n_events = 0
    service = start_service(settings, port=0, log_file=settings.home / "service.log")
    try:
        service.wait_ready(timeout_s=180)
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
                wal_peak = max(wal_peak, wal.stat().st_size if wal.exists() else 0)
                if n_events % (20 * EVENTS_PER_REQUEST) == 0:
                    for process in psutil.Process().children(recursive=True):
                        try:
                            name = role(process)
                            peaks[name] = max(peaks.get(name, 0.0), process.memory_info().rss / MIB)
                        except psutil.Error:  # it ended in between
                            continue
    finally:
        service.stop()
    return peaks, wal_peak / MIB, n_events


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=float, help="take this share of the customers")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the service is kept busy")
    wanted = parser.parse_args()
    print("| step | seconds | peak MiB |\n|---|---|---|")
    for name, seconds, peak in demo_steps(wanted.sample):
        print(f"| {name} | {seconds:.1f} | {peak:,.0f} |")
    peaks, wal_mib, n_events = load(Settings.from_env(os.environ), wanted.seconds)
    print(f"\n{n_events:,} events and a decision per {EVENTS_PER_REQUEST} in {wanted.seconds:.0f} s:\n")
    print("| process | peak MiB |\n|---|---|")
    for name, peak in sorted(peaks.items()):
        print(f"| {name} | {peak:,.0f} |")
    print(f"| write-ahead log of the event log, on disk | {wal_mib:,.1f} |")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
