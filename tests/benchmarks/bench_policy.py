"""Is personalisation worth it, and do the intervals hold? Measured in simulated worlds, where the truth is known.

    python tests/benchmarks/bench_policy.py --seeds 20 --customers 1500 --days 90 --report policy.json

Per world (strong, weak, null) and seed: a world is simulated, a policy is learned cross-fitted from its log exactly as
`omni benchmark best-channel` does it, and both are compared with the truth, which learning never sees. Values are means
over the logged moments of the true expected reward; `share` is the share of the oracle's value, where the oracle knows
every customer's own expected rewards, also the part that behaviour does not tell about.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from features.simulator import World, simulate, world_config
from features.simulator_arms import ARM_CHANNEL, ARM_HOUR, NOTHING
from features.simulator_people import CONTACT
from training.decision_table import as_decisions
from training.metrics import resample
from training.models.effect_policy import BEST_SINGLE_ARM
from training.models.effects import EffectConfig
from training.policy_benchmark import LEARNED, cross_fit
from training.policy_value import gain, single_arm, statistics

COVERED = ("ips", "snips", "dr")
POLICIES = (LEARNED, BEST_SINGLE_ARM, "random", "most_engaged")
N_BOOTSTRAP = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--customers", type=int, default=1_500)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--worlds", nargs="+", default=["strong", "weak", "null"])
    parser.add_argument("--curve", type=int, nargs="*", default=[], help="numbers of customers for a learning curve")
    parser.add_argument("--curve-seeds", type=int, default=5)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in args.worlds:
        rows += [measure(name, args.customers, args.days, seed) for seed in range(args.seeds)]
        show(name, pd.DataFrame([row for row in rows if row["world"] == name]))
    for customers in args.curve:
        curve = [measure("strong", customers, args.days, 1_000 + seed) for seed in range(args.curve_seeds)]
        rows += [{**row, "curve": customers} for row in curve]
        show(f"strong, {customers} customers", pd.DataFrame(curve))
    if args.report:
        args.report.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def measure(name: str, customers: int, days: int, seed: int) -> dict[str, Any]:
    """One world: true values of every policy, and whether the intervals hold them."""
    started = time.perf_counter()
    world = simulate(world_config(name, n_customers=customers, n_days=days, seed=seed))
    decisions = as_decisions(world.decisions)
    order = [world.arms.index(arm) for arm in decisions.arms]
    expected = world.expected()[:, order]
    judged = cross_fit(decisions, EffectConfig(), seed)
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
    wanted = {}
    for policy in POLICIES:
        row[policy] = float((chances[policy] * expected).sum(axis=1).mean())
        found = statistics(decisions.log, chances[policy], judged.rewards)
        wanted |= {f"{policy}/{key}": found[key] for key in COVERED}
    sampled = resample(wanted, decisions.log.members(), n_bootstrap=N_BOOTSTRAP, seed=seed)
    for key, value in sampled.items():
        metric = value.metric()
        row[f"covered/{key}"] = metric.low <= row[key.split("/")[0]] <= metric.high
        row[f"error/{key}"] = metric.value - row[key.split("/")[0]]
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
    print(
        f"  oracle {rows['oracle'].mean():.3f}, "
        f"logging policy {rows['logging'].mean():.3f}, nothing {rows['nothing'].mean():.3f}"
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
        f"personal in {rows['personal_folds'].mean():.1f} of 5 folds"
    )
    for policy in POLICIES:
        held = ", ".join(f"{key} {rows[f'covered/{policy}/{key}'].mean():.0%}" for key in COVERED)
        print(f"  95 % intervals hold the truth of {policy}: {held}")
    print(f"  95 % intervals hold the true gain: {rows['covered/gain'].mean():.0%}")


def interval(values: pd.Series) -> str:
    """Mean and its 95 % interval."""
    if len(values) < 2 or values.std() == 0:
        return f"{values.mean():.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
    return f"{values.mean():.3f} [{values.mean() - half:.3f}, {values.mean() + half:.3f}]"


if __name__ == "__main__":
    main()
