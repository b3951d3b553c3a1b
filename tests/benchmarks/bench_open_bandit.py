"""The check of the estimators on the Open Bandit sample: what the published figures say, and what ours do.

    pip install -e '.[obp]' && python tests/benchmarks/bench_open_bandit.py --log random_all.parquet

The log is the small sample (10,000 rows, campaign "all") of the random policy, with item_id, position, click,
propensity_score and user_feature_*. The policy judged is Bernoulli Thompson sampling with the priors that its
publisher ships in the package obp. Published by zr-obp: IPW 0.00455 [0.0015, 0.0093], DM 0.00355, DR 0.00473 [0.0017, 0.0094].
Its intervals are plain percentiles of resamples, so these are shown beside ours, which are corrected for skewness. Given
the log of that policy itself (--own bts_all.parquet), its mean reward tells which hold.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from features.evaluation.intervals import intervals
from features.evaluation.off_policy import DecisionLog, statistics, support
from features.evaluation.resampling import resample
from training.evaluation.metrics import bootstrap_mean

N_ITEMS, N_POSITIONS = 80, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--own", type=Path)
    parser.add_argument("--simulations", type=int, default=100_000)
    args = parser.parse_args()
    if args.log is None:
        print("left out: give the sample's random log with --log")
        return
    table = pd.read_parquet(args.log)
    position = table["position"].to_numpy() - 1
    chances = thompson_chances(args.simulations)[:, position].T  # (n, items)
    click = table["click"].to_numpy(np.float64)
    log = DecisionLog(table["item_id"].to_numpy(np.int64), table["propensity_score"].to_numpy(), click, N_ITEMS)
    for folds in (1, 3):
        wanted = statistics(log, chances, expected_clicks(table, position, folds))
        sampled = resample(wanted, log.members(), n_bootstrap=2_000, seed=12345)
        print(f"\nreward model {'fitted on all rows' if folds == 1 else f'cross-fitted in {folds} folds'}")
        for name, metric in intervals(sampled).items():
            plain = sampled[name].metric()
            print(f"  {name:12} {metric.value:.5f} [{metric.low:.5f}, {metric.high:.5f}]", end="   ")
            print(f"plain percentiles [{plain.low:.5f}, {plain.high:.5f}]")
    found = support(log, chances)
    print(f"\n{found.effective_rows:.0f} effective rows, largest weight {found.largest_weight:.1f}")
    if args.own is not None:
        print(f"mean reward in the policy's own log {bootstrap_mean(pd.read_parquet(args.own)['click'])}")


def thompson_chances(n_simulations: int) -> np.ndarray:
    """Chance of every item in every position (items, positions), by simulation from the published priors."""
    import obp.policy

    file = Path(obp.policy.__file__).parent / "conf" / "prior_bts.yaml"
    prior = yaml.safe_load(file.read_text(encoding="utf-8"))["all"]
    drawn = np.random.default_rng(12345).beta(prior["alpha"], prior["beta"], (n_simulations, N_ITEMS))
    first = np.argsort(-drawn, axis=1)[:, :N_POSITIONS]
    return np.stack([np.bincount(first[:, p], minlength=N_ITEMS) for p in range(N_POSITIONS)], axis=1) / n_simulations


def expected_clicks(table: pd.DataFrame, position: np.ndarray, n_folds: int) -> np.ndarray:
    """Expected clicks (n, items) by a logistic regression per position on the user's features and the item."""
    users = pd.get_dummies(table[[f"user_feature_{i}" for i in range(4)]], drop_first=True).to_numpy(np.float64)
    items = np.eye(N_ITEMS)
    taken, click = table["item_id"].to_numpy(), table["click"].to_numpy()
    found = np.empty((len(table), N_ITEMS))
    everything = np.arange(len(table))
    parts = [(everything, everything)]
    if n_folds > 1:
        parts = list(KFold(n_folds, shuffle=True, random_state=12345).split(users))
    for known, asked in parts:
        for p in range(N_POSITIONS):
            rows, mine = known[position[known] == p], asked[position[asked] == p]
            model = LogisticRegression(max_iter=1000)
            model.fit(np.hstack([users[rows], items[taken[rows]]]), click[rows])
            for item in range(N_ITEMS):
                wanted = np.hstack([users[mine], np.tile(items[item], (len(mine), 1))])
                found[mine, item] = model.predict_proba(wanted)[:, 1]
    return found


if __name__ == "__main__":
    main()
