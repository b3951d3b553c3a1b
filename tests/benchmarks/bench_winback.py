"""Aiming by uplift against aiming by risk in simulated worlds: who is kept per contact, by the truth.

    python tests/benchmarks/bench_winback.py --customers 8000 --days 150 --seed 1

Two worlds. `retention`: customers leave fast, contacts are four weeks apart and move the hazard of leaving strongly, and
a ninth of the moments is left alone at random. `default`: the simulator's defaults, where contacts come every week, so a
single one changes little and the log should say that it cannot tell.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from features.simulator import WorldConfig, simulate
from training.winback_benchmark import benchmark

WORLDS = {
    "retention": {
        "churn_per_day": 1 / 100,
        "contact_hazard": 1.5,
        "decision_every_days": 28.0,
        "exploration": 1.0,
        "consent_share": 1.0,
    },
    "default": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=8_000)
    parser.add_argument("--days", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--world", choices=[*WORLDS], action="append")
    asked = parser.parse_args()
    for name in asked.world or [*WORLDS]:
        world = simulate(WorldConfig(n_customers=asked.customers, n_days=asked.days, seed=asked.seed, **WORLDS[name]))
        with TemporaryDirectory() as folder:
            here = Path(folder)
            world.write(here)
            found = benchmark(here / "events.parquet", here / "decisions.parquet", here / "truth.parquet", seed=0)
        print(f"world {name}: {found.rows}")
        print(f"  {found.protocol['evidence']}")
        for metric, value in found.metrics.items():
            rivals = ", ".join(f"{way} {values[metric]}" for way, values in found.baselines.items() if metric in values)
            print(f"  {metric}: {value}; {rivals}")
        for gain, value in found.gains.items():
            print(f"  gain over {gain}: {value}")


if __name__ == "__main__":
    main()
