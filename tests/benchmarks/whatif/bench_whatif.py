"""Do what-if's intervals hold the truth? Changes of policy whose true effect a simulated world knows, over many seeds.

    python tests/benchmarks/whatif/bench_whatif.py               # 12 logs a world
    python tests/benchmarks/whatif/bench_whatif.py --logs 120    # what README.md here states

Each log is of other customers, drawn from the same population; the true value of a policy is its mean true expected reward
over the moments of all the logs of a world, and the truth of a change is the difference of two of them. The old policy is the
one that made the log; the new ones are what changed rules do: a channel taken out, a cap on contacts, less exploration.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from features.evaluation.off_policy import DecisionLog
from features.evaluation.two_policies import compare_policies
from features.simulator.arms import ARM_CHANNEL
from features.simulator.decisions import logging_chances
from features.simulator.people import CONTACT
from features.simulator.world import World, simulate, world_config
from features.vocabulary import NOTHING, Channel

FIRST_SEED = 70_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=12)
    parser.add_argument("--customers", type=int, default=400)
    parser.add_argument("--worlds", nargs="*", default=["strong", "weak", "null"])
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    parts = []
    for name in args.worlds:
        rows = pd.DataFrame([row for i in range(args.logs) for row in judge(name, args.customers, FIRST_SEED + i)])
        truth = rows.groupby("change")["truth"].transform("mean")
        rows["covered"] = (rows["low"] <= truth) & (truth <= rows["high"])
        print(f"\n{name}: {args.logs} logs of {rows['decisions'].mean():,.0f} decisions")
        for change, mine in rows.groupby("change", sort=False):
            print(
                f"  {change:20} true {mine['truth'].mean():+.3f}, width {(mine['high'] - mine['low']).mean():.3f}, "
                f"effective {mine['effective'].mean():,.0f}, held in {held(mine['covered'])}"
            )
        print(f"  {'all':20} held in {held(rows['covered'])}")
        parts.append(rows.assign(world=name))
    if args.report:
        args.report.write_text(json.dumps(pd.concat(parts).to_dict("records"), indent=1), encoding="utf-8")


def judge(name: str, customers: int, seed: int) -> list[dict[str, float | str]]:
    """One log: a row per change, with its interval and its true effect in that log."""
    world = simulate(world_config(name, n_customers=customers, n_days=90, seed=seed))
    log, expected, old = logged(world), world.expected(), old_policy(world)
    rows: list[dict[str, float | str]] = []
    for change, new in changes(world, old).items():
        found = compare_policies(log, old, new, seed=seed)
        truth = float(((new - old) * expected).sum(axis=1).mean())
        rows.append({"change": change, "low": found.difference.low, "high": found.difference.high, "truth": truth,
                     "decisions": len(log), "effective": found.new_support.effective_rows})  # fmt: skip
    return rows


def logged(world: World) -> DecisionLog:
    """The world's decisions."""
    table = world.decisions
    action = table["action"].map({arm: number for number, arm in enumerate(world.arms)}).to_numpy(np.int64)
    pscore, reward = table["pscore"].to_numpy(float), table["reward"].to_numpy(float)
    return DecisionLog(action, pscore, reward, len(world.arms), table["customer_id"].to_numpy(str))


def old_policy(world: World) -> np.ndarray:
    """The chances (n, arms) that the log was made with."""
    rates = world.decisions[[f"x_response_rate_{channel.value}" for channel in CONTACT]].to_numpy(float)
    chances = logging_chances(rates, world.config.exploration)
    taken = logged(world)
    assert np.allclose(chances[taken.taken()], taken.pscore, atol=1e-6)
    return chances


def changes(world: World, old: np.ndarray) -> dict[str, np.ndarray]:
    """What changed rules make of the old chances: what is refused goes to the ways that are left, in their proportions."""
    arms, best = np.arange(len(world.arms)), old == old.max(axis=1, keepdims=True)
    nothing = world.arms.index(NOTHING)
    post = CONTACT.index(Channel.POST) if Channel.POST in CONTACT else int(ARM_CHANNEL.max())
    tired = world.decisions["x_pressure"].to_numpy(float) > 1.0 if "x_pressure" in world.decisions else None
    found = {
        "without a channel": refused(old, np.tile(post == ARM_CHANNEL, (len(old), 1))),
        "less exploration": 0.4 * old + 0.6 * best / best.sum(axis=1, keepdims=True),
        "more often nothing": 0.85 * old + 0.15 * (arms == nothing),
        "mornings only": refused(old, np.tile([name.endswith("_evening") for name in world.arms], (len(old), 1))),
    }
    if tired is not None:
        found["a cap on contacts"] = refused(old, tired[:, None] & (arms != nothing))
    return found


def refused(old: np.ndarray, against: np.ndarray) -> np.ndarray:
    """The chances without what is refused (n, arms)."""
    left = np.where(against, 0.0, old)
    return np.asarray(left / left.sum(axis=1, keepdims=True))


def held(covered: pd.Series) -> str:
    """Share of intervals that held the truth, with its own 95 % interval (Clopper and Pearson)."""
    found = stats.binomtest(int(covered.sum()), len(covered)).proportion_ci()
    return f"{covered.mean():.1%} [{found.low:.1%}, {found.high:.1%}]"


if __name__ == "__main__":
    main()
