"""Where an ingest's CPU goes, by stage, in two trees of the project: a base beside this one, in turns in one run.

    git worktree add ../base 7f8b7d3
    python tests/benchmarks/ingest/bench_ingest.py --base ../base [--rows 500000] [--customers 200000] [--rounds 2]

Makes one file of events as CSV and as Parquet, ingests each with a mapping into a new home, and prints microseconds of CPU a
row, the best of the rounds, and the most memory of a process. The start of a process is not counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq
from one_ingest import STAGES

HERE = Path(__file__).resolve()
MAPPING = """
event_id_from = ["id"]
[columns]
occurred_at = "time"
customer_id = "customer"
kind = "action"
product_id = "sku"
quantity = "qty"
value = "price"
session_id = "session"
[kinds]
page_view = "view"
add = "add_to_cart"
order = "purchase"
[constants]
channel = "web"
currency = "EUR"
"""


def make_files(folder: Path, rows: int, customers: int) -> list[Path]:
    """The same events as CSV and as Parquet."""
    rng = np.random.default_rng(1)
    seconds = np.sort(rng.integers(1_700_000_000, 1_731_000_000, rows))
    table = pa.table(
        {
            "id": pa.array([f"ev-{number:09d}" for number in range(rows)]),
            "time": pa.array(seconds * 1_000_000, pa.timestamp("us", "UTC")),
            "customer": pa.array(rng.integers(1, customers + 1, rows)).cast(pa.string()),
            "action": pa.array(["page_view", "add", "order"]).take(pa.array(rng.choice(3, rows, p=[0.7, 0.2, 0.1]))),
            "sku": pa.array([f"SKU-{n:05d}" for n in range(20_000)]).take(
                pa.array((rng.pareto(1.2, rows) * 50).astype(np.int64) % 20_000)
            ),
            "qty": pa.array(rng.integers(1, 4, rows)),
            "price": pa.array(np.round(rng.uniform(1, 200, rows), 2)),
            "session": pa.array(np.arange(rows) // 5).cast(pa.string()),
        }
    )
    pq.write_table(table, folder / "events.parquet")
    written = table.set_column(1, "time", pc.strftime(table["time"], "%Y-%m-%dT%H:%M:%SZ"))
    csv.write_csv(written, folder / "events.csv")
    (folder / "mapping.toml").write_text(MAPPING)
    return [folder / "events.csv", folder / "events.parquet"]


def run(tree: Path, file: Path) -> dict[str, Any]:
    """One ingest by a tree's package."""
    command = [sys.executable, str(HERE.with_name("one_ingest.py")), str(file), str(file.with_name("mapping.toml"))]
    done = subprocess.run(
        [*command, str(file.parent)],
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure in turns, print a table for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="Another tree of the project.")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=2)
    wanted = parser.parse_args()
    trees = {"base": wanted.base.resolve(), "now": HERE.parents[3]}
    with tempfile.TemporaryDirectory() as folder:
        for file in make_files(Path(folder), wanted.rows, wanted.customers):
            best: dict[str, dict[str, Any]] = {}
            for _ in range(wanted.rounds):
                for name, tree in trees.items():
                    found = run(tree, file)
                    best[name] = min(found, best.get(name, found), key=lambda each: each["cpu_s"])
            show(file.name, best)


def show(title: str, best: dict[str, dict[str, Any]]) -> None:
    """Microseconds a row by stage, of both trees."""
    print(f"\n{title}: {best['now']['rows']:,} rows\n\n| µs of CPU a row | base | now | times |\n|---|---|---|---|")
    for stage in (*STAGES, "all"):
        base, now = (
            (each["cpu_s"] if stage == "all" else each["stages"].get(stage, 0.0)) / each["rows"] * 1e6
            for each in (best["base"], best["now"])
        )
        print(f"| {stage} | {base:.2f} | {now:.2f} | {base / now if now else 0:.1f} |")
    print(f"| peak, MiB | {best['base']['peak_mib']:.0f} | {best['now']['peak_mib']:.0f} | |")


if __name__ == "__main__":
    main()
