"""Aiming by uplift against aiming by risk in simulated worlds: who is kept per contact, by the truth, over many seeds.

    python tests/benchmarks/bench_winback.py --seeds 10 --customers 6000 --days 150

Three worlds. `retention`: customers leave fast, contacts are four weeks apart and move the hazard of leaving strongly, and
a ninth of the moments is left alone at random. `consent`: the same, but most customers refuse some channels, so a part of
the contacts is not sent. `default`: the simulator's defaults, where contacts come every week, so a single one changes
little and the log should say that it cannot tell.

A world is drawn anew for every seed, and the differences between the ways of aiming are taken within a world. Their 95 %
interval (Student's t over the seeds) says what another world of the same kind would show.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy import stats

from features.simulator.world import WorldConfig, simulate, world_config
from training.benchmarks.report import BenchmarkReport
from training.benchmarks.winback import NO_EVIDENCE, benchmark
from training.models.win_back.measure import SHARES

WORLDS: Mapping[str, WorldConfig] = {
    "retention": world_config("retention"),
    "consent": world_config("retention", consent_share=None),
    "default": WorldConfig(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=4_000)
    parser.add_argument("--days", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=2, help="worlds of each kind; intervals need two")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--world", choices=[*WORLDS], action="append")
    asked = parser.parse_args()
    for name in asked.world or [*WORLDS]:
        seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
        found = [one_world(name, asked.customers, asked.days, seed) for seed in seeds]
        print(f"world {name}: {len(found)} seeds from {seeds[0]}, {asked.customers:,} customers, {asked.days} days")
        for line in lines(found):
            print(f"  {line}", flush=True)


def one_world(name: str, customers: int, days: int, seed: int) -> BenchmarkReport:
    """The report on a world drawn with this seed."""
    world = simulate(replace(WORLDS[name], n_customers=customers, n_days=days, seed=seed))
    with TemporaryDirectory() as folder:
        here = Path(folder)
        world.write(here)
        return benchmark(here / "events.parquet", here / "decisions.parquet", here / "truth.parquet", seed=0)


def lines(found: list[BenchmarkReport]) -> list[str]:
    """Per share contacted: what a contact keeps by each way of aiming, and the paired differences with their interval."""
    told = sum(report.protocol["evidence"] != NO_EVIDENCE for report in found)
    moments = np.mean([report.rows["moments"] for report in found])
    alone = np.mean([report.rows["left_alone"] / report.rows["moments"] for report in found])
    out = [
        f"{moments:,.0f} moments, {alone:.1%} left alone; the log could tell whom a contact keeps in {told} of {len(found)}",
        f"{'contacted':>9}  {'uplift':>8}  {'risk':>8}  {'random':>8}  {'uplift - risk, 95 %':<30}  uplift - random, 95 %",
    ]
    for share in SHARES:
        metric = f"true_kept_per_contact@{share:.0%}"
        ours = np.array([report.metrics[metric].value for report in found])
        rivals = {
            way: np.array([report.baselines[way][metric].value for report in found]) for way in ("risk", "random")
        }
        levels = [ours, *rivals.values()]
        gains = [paired(ours - theirs) for theirs in rivals.values()]
        out.append(
            f"{share:>9.0%}  " + "  ".join(f"{level.mean():+8.4f}" for level in levels) + "  " + "  ".join(gains)
        )
    return out


def paired(differences: np.ndarray) -> str:
    """The mean of differences (seeds,) and its 95 % interval, Student's t."""
    n = len(differences)
    half = float(stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return f"{differences.mean():+.4f} ({differences.mean() - half:+.4f} to {differences.mean() + half:+.4f})"


if __name__ == "__main__":
    main()
