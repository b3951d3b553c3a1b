"""Do 95 % intervals hold the true value in 95 of 100 logs? Fixed policies, many small simulated logs, every estimator.

    python tests/benchmarks/bench_coverage.py           # 12 logs a world: about 20 s
    python tests/benchmarks/bench_coverage.py --full    # what README.md here states: 240 logs a world

The true value of a policy is its mean true expected reward over the moments of all the logs of a world: each log is of
other customers, drawn from the same population. Intervals are those of `features.evaluation.off_policy`: whole customers are
resampled, and the reward model of every row did not see its customer. Learned policies: see bench_policy.py.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from bench_policy import held, most_engaged

from features.evaluation.off_policy import evaluate, single_arm
from features.simulator.world import simulate, world_config
from training.data.decisions import as_decisions
from training.models.uplift.cross_fitting import crossed, fold_numbers
from training.models.uplift.meta_learners import EffectConfig, reward_model

ESTIMATORS = ("ips", "snips", "dm", "dr", "sndr", "switch_dr", "clipped_dr")
FIRST_SEED = 20_000
CONFIG = EffectConfig()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--logs", type=int)
    parser.add_argument("--customers", type=int, default=400)
    parser.add_argument("--worlds", nargs="*", default=["strong", "weak", "null"])
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    logs = args.logs or (240 if args.full else 12)
    parts = []
    for name in args.worlds:
        rows = pd.concat([judge(name, args.customers, FIRST_SEED + i) for i in range(logs)], ignore_index=True)
        truth = rows.groupby("policy")["truth"].transform("mean")
        rows["covered"] = (rows["low"] <= truth) & (truth <= rows["high"])
        parts.append(rows.assign(world=name))
        print(f"\n{name}: {logs} logs of {rows['decisions'].mean():,.0f} decisions")
        for policy, mine in rows.groupby("policy", sort=False):
            told = (f"{key} {held(mine.loc[mine['estimator'] == key, 'covered'])}" for key in ESTIMATORS)
            print(f"  {policy:16} " + ", ".join(told))
    if args.report:
        args.report.write_text(json.dumps(pd.concat(parts).to_dict("records"), indent=1), encoding="utf-8")


def judge(name: str, customers: int, seed: int) -> pd.DataFrame:
    """One log: a row per policy and estimator, with the interval and the policy's mean true reward in that log."""
    world = simulate(world_config(name, n_customers=customers, n_days=90, seed=seed))
    decisions = as_decisions(world.decisions)
    order = [world.arms.index(arm) for arm in decisions.arms]
    expected, log = world.expected()[:, order], decisions.log
    folds = fold_numbers(log.members(), 3, seed)
    rewards = crossed(lambda rows: reward_model(decisions.x[rows], log.select(rows), CONFIG, seed), decisions.x, folds)
    n, k = expected.shape
    policies = {
        "random": np.full((n, k), 1.0 / k),
        "most_engaged": single_arm(n, k, np.argsort(order)[most_engaged(world)]),
        **{
            f"always_{arm}": single_arm(n, k, decisions.arms.index(arm)) for arm in ("nothing", "email_evening", "post")
        },
    }
    rows = []
    for policy, chances in policies.items():
        found = evaluate(log, chances, rewards, seed=seed).estimates
        truth = float((chances * expected).sum(axis=1).mean())
        for key in ESTIMATORS:
            rows.append({"policy": policy, "estimator": key, "low": found[key].low, "high": found[key].high,
                         "truth": truth, "decisions": n})  # fmt: skip
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
