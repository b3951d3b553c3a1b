"""Is personalisation worth it, and do the intervals hold? Measured in simulated worlds, where the truth is known.

    python tests/benchmarks/bench_policy.py           # 2 seeds a world: about a minute
    python tests/benchmarks/bench_policy.py --full    # what README.md here states: 20 seeds a world, and the learning curve

Per world (strong, weak, null) and seed: a world is simulated, a policy is learned from its log as by `omni benchmark
best-channel` (in two folds instead of five, and without dr_trees and t_learner unless asked for, to save time), and both
are compared with the truth, which learning never sees. Values are means over the logged moments of the true expected
reward; `share` is the share of the oracle's value, where the oracle knows every customer's own expected rewards, also
the part that behaviour does not tell about. `observable` is about the most that can be had from what behaviour tells: it
is learned from the true expected rewards of other worlds of the kind, which no log shows.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from scipy import stats

from features.evaluation.intervals import gain, intervals
from features.evaluation.off_policy import single_arm, statistics
from features.evaluation.resampling import resample
from features.simulator.arms import ARM_CHANNEL, ARM_HOUR
from features.simulator.people import CONTACT
from features.simulator.world import World, simulate, world_config
from features.vocabulary import NOTHING
from training.benchmarks.best_channel import LEARNED, cross_fit
from training.data.decisions import Decisions, as_decisions
from training.models.uplift.meta_learners import EffectConfig
from training.models.uplift.policy import BEST_SINGLE_ARM
from training.models.uplift.shrinkage import best_eligible

COVERED = ("ips", "snips", "dm", "dr", "switch_dr")
OBSERVED_SEEDS = range(5_000, 5_004)
FULL_CURVE = (500, 1_000, 2_000, 4_000)
POLICIES = (LEARNED, BEST_SINGLE_ARM, "random", "most_engaged")
N_BOOTSTRAP = 200
Choose = Callable[[Decisions], np.ndarray]
"""Decisions to the arm for each, (n,)."""
N_FOLDS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="20 seeds and the learning curve, unless told otherwise")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--worlds", nargs="*", default=["strong", "weak", "null"])
    parser.add_argument("--curve", type=int, nargs="*", help="numbers of customers for a learning curve")
    parser.add_argument("--curve-seeds", type=int, default=5)
    parser.add_argument("--learners", nargs="+", default=["two_part", "dr_linear", "t_linear", "s_learner"])
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    config = EffectConfig(learners=tuple(args.learners))
    seeds = args.seeds or (20 if args.full else 2)
    curve = (FULL_CURVE if args.full else ()) if args.curve is None else args.curve
    rows: list[dict[str, Any]] = []
    for name in args.worlds:
        best = observable_policy(name, args.customers, args.days)
        rows += [measure(name, args.customers, args.days, seed, config, best) for seed in range(seeds)]
        show(name, pd.DataFrame([row for row in rows if row["world"] == name]))
    coverage(pd.DataFrame(rows))
    for name in (world for world in args.worlds if world != "null"):
        for customers in curve:
            found = [measure(name, customers, args.days, 100 + seed, config) for seed in range(args.curve_seeds)]
            rows += [{**row, "curve": customers} for row in found]
            show(f"{name}, {customers} customers", pd.DataFrame(found))
    if args.report:
        args.report.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def observable_policy(name: str, customers: int, days: int) -> Choose:
    """The arm with the highest true gain over nothing that can be told from features, by trees grown on other worlds."""
    features, gains = [], []
    for seed in OBSERVED_SEEDS:
        world = simulate(world_config(name, n_customers=customers, n_days=days, seed=seed))
        decisions = as_decisions(world.decisions)
        expected = world.expected()[:, [world.arms.index(arm) for arm in decisions.arms]]
        features.append(decisions.x)
        gains.append(expected - expected[:, [decisions.arms.index(NOTHING)]])
    x, y = np.concatenate(features), np.concatenate(gains)
    settings = {"objective": "l2", "min_data_in_leaf": 100, "learning_rate": 0.08, "verbosity": -1, "num_threads": 1}
    trees = [lightgbm.train(settings, lightgbm.Dataset(x, y[:, arm]), 200) for arm in range(y.shape[1])]
    return lambda asked: best_eligible(np.column_stack([tree.predict(asked.x) for tree in trees]), asked.eligible)


def measure(
    name: str, customers: int, days: int, seed: int, config: EffectConfig, observable: Choose | None = None
) -> dict[str, Any]:
    """One world: true values of every policy, and whether the intervals hold them."""
    started = time.perf_counter()
    world = simulate(world_config(name, n_customers=customers, n_days=days, seed=seed))
    decisions = as_decisions(world.decisions)
    order = [world.arms.index(arm) for arm in decisions.arms]
    expected = world.expected()[:, order]
    judged = cross_fit(decisions, config, seed, n_folds=N_FOLDS)
    engaged = np.argsort(order)[most_engaged(world)]
    chances = {**judged.chances, "most_engaged": single_arm(len(engaged), len(order), engaged)}
    row: dict[str, Any] = {
        "world": name,
        "seed": seed,
        "decisions": len(engaged),
        "oracle": float(expected.max(axis=1).mean()),
        "nothing": float(expected[:, decisions.arms.index(NOTHING)].mean()),
        "logging": float(world.decisions["reward"].mean()),
        "personal_folds": sum(policy.personal for policy in judged.policies),
    }
    if observable is not None:
        row["observable"] = float(expected[np.arange(len(expected)), observable(decisions)].mean())
    wanted = {}
    for policy in POLICIES:
        row[policy] = float((chances[policy] * expected).sum(axis=1).mean())
        found = statistics(decisions.log, chances[policy], judged.rewards)
        wanted |= {f"{policy}/{key}": found[key] for key in COVERED}
    sampled = resample(wanted, decisions.log.members(), n_bootstrap=N_BOOTSTRAP, seed=seed)
    for policy in POLICIES:
        for key, metric in intervals({key: sampled[f"{policy}/{key}"] for key in COVERED}).items():
            row[f"covered/{policy}/{key}"] = metric.low <= row[policy] <= metric.high
    over = gain(sampled[f"{LEARNED}/dr"], sampled[f"{BEST_SINGLE_ARM}/dr"])
    truth = row[LEARNED] - row[BEST_SINGLE_ARM]
    row |= {
        "gain": over.value,
        "gain_low": over.low,
        "gain_high": over.high,
        "covered/gain": over.low - 1e-12 <= truth <= over.high + 1e-12,
        "false_winner": over.low > 0 and truth <= 0,
        "seconds": time.perf_counter() - started,
    }
    return row


def most_engaged(world: World) -> np.ndarray:
    """What commercial best-channel features do: the channel with the customer's highest response rate so far, in the
    part of the day in which the customer is more active. Index into `world.arms`.
    """
    rates = world.decisions[[f"x_response_rate_{channel.value}" for channel in CONTACT]].to_numpy()
    evening = (world.decisions["x_evening_share"] > world.decisions["x_morning_share"]).to_numpy()
    arms = np.array(
        [[np.flatnonzero(c == ARM_CHANNEL)[0], np.flatnonzero(c == ARM_CHANNEL)[-1]] for c in range(len(CONTACT))]
    )
    assert np.all(np.isnan(ARM_HOUR[arms[:, 0]]) | (ARM_HOUR[arms[:, 0]] < ARM_HOUR[arms[:, 1]]))
    return arms[np.argmax(rates, axis=1), evening.astype(int)]


def show(title: str, rows: pd.DataFrame) -> None:
    """The figures of one world over its seeds, with 95 % intervals of the means (Student's t)."""
    print(
        f"\n{title}: {len(rows)} seeds, {rows['decisions'].mean():,.0f} decisions each, {rows['seconds'].mean():.1f} s each"
    )
    told = f"observable {rows['observable'].mean():.3f}, " if "observable" in rows else ""
    print(
        f"  oracle {rows['oracle'].mean():.3f}, {told}logging policy {rows['logging'].mean():.3f}, "
        f"nothing {rows['nothing'].mean():.3f}"
    )
    for policy in POLICIES:
        print(
            f"  {policy:16} value {interval(rows[policy])}   share of the oracle's {interval(rows[policy] / rows['oracle'])}"
        )
    for rival in (BEST_SINGLE_ARM, "most_engaged"):
        print(
            f"  learned - {rival:16} {interval(rows[LEARNED] - rows[rival])}, "
            f"above in {int((rows[LEARNED] > rows[rival]).sum())}"
        )
    print(
        f"  shown to win (interval above 0) in {int((rows['gain_low'] > 0).sum())}, "
        f"false winners {int(rows['false_winner'].sum())}, "
        f"personal in {rows['personal_folds'].mean():.1f} of {N_FOLDS} folds"
    )
    print(f"  95 % intervals hold the true gain: {rows['covered/gain'].mean():.0%}")


def coverage(rows: pd.DataFrame) -> None:
    """How often the intervals held the truth over all worlds, with the binomial interval of that share."""
    print(f"\n95 % intervals that hold the true value, {len(rows)} logs:")
    for policy in POLICIES:
        print(f"  {policy:16} " + ", ".join(f"{key} {held(rows[f'covered/{policy}/{key}'])}" for key in COVERED))
    print(f"  gain over the best single arm {held(rows['covered/gain'])}")


def held(covered: pd.Series) -> str:
    """Share of intervals that held the truth, with its own 95 % interval (Clopper and Pearson)."""
    found = stats.binomtest(int(covered.sum()), len(covered)).proportion_ci()
    return f"{covered.mean():.1%} [{found.low:.1%}, {found.high:.1%}]"


def interval(values: pd.Series) -> str:
    """Mean and its 95 % interval."""
    if len(values) < 2 or values.std() == 0:
        return f"{values.mean():.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
    return f"{values.mean():.3f} [{values.mean() - half:.3f}, {values.mean() + half:.3f}]"


if __name__ == "__main__":
    main()
