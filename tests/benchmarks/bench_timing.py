"""The right moment: do customers' own hours tell more than everybody's? Log-likelihood of later hours of the week.

    python tests/benchmarks/bench_timing.py --events .omni/offline/timeline.parquet    # or any file of the event schema
    python tests/benchmarks/bench_timing.py --starbucks DIR
    python tests/benchmarks/bench_timing.py --simulated

Occasions are (customer, channel, hour) in which a customer acted. Habits come from the first 60 % of the days, the
weight of the prior is chosen on the next 20 %, and the last 20 % are judged: mean log-likelihood per occasion (nats) of
the population's hours of the channel, the customer's hours shrunk to them, and the customer's hours on the channel
shrunk to the customer's. `--simulated` measures instead what choosing the hour by habit is worth, where that is known.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from features.simulator.world import simulate, world_config
from features.sources import starbucks_offers
from features.sql import connect
from features.vocabulary import CUSTOMER_KINDS
from serving.decision.send_time import PRIOR_WEIGHT, hour_of_week
from training.evaluation.metrics import bootstrap_mean

N_HOURS = 168
WEIGHTS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path)
    parser.add_argument("--starbucks", type=Path)
    parser.add_argument("--simulated", action="store_true")
    args = parser.parse_args()
    if args.events:
        habits(str(args.events), read_occasions(args.events))
    if args.starbucks:
        batches = [batch.events.to_pandas() for batch in starbucks_offers.load(args.starbucks)]
        habits("starbucks-offers", occasions(pd.concat(batches, ignore_index=True)))
    if args.simulated or not (args.events or args.starbucks):
        simulated()


def read_occasions(path: Path) -> pd.DataFrame:
    """Occasions of a Parquet file of events."""
    columns = "customer_id, channel, kind, occurred_at"
    with connect() as connection:
        return occasions(connection.execute(f"SELECT {columns} FROM read_parquet(?)", [str(path)]).df())


def occasions(events: pd.DataFrame) -> pd.DataFrame:
    """customer, channel, day, hour of the week: one row per customer, channel and clock hour with an action."""
    mine = events[events["kind"].isin([kind.value for kind in CUSTOMER_KINDS]) & events["customer_id"].notna()]
    seconds = mine["occurred_at"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
    table = pd.DataFrame(
        {
            "customer": mine["customer_id"].to_numpy(),
            "channel": mine["channel"].to_numpy(),
            "hour_s": seconds // 3600 * 3600,
        }
    ).drop_duplicates()
    return table.assign(
        hour=hour_of_week(table["hour_s"].to_numpy(float)), day=(table["hour_s"] - table["hour_s"].min()) / 86_400
    )


def habits(title: str, table: pd.DataFrame) -> None:
    """Print what each kind of habit tells about the last fifth of the days."""
    last = table["day"].max()
    parts = [
        table["day"] < 0.6 * last,
        (table["day"] >= 0.6 * last) & (table["day"] < 0.8 * last),
        table["day"] >= 0.8 * last,
    ]
    past, valid, test = (table[part] for part in parts)
    known = pd.concat([past, valid])
    weights = tuple(
        max(WEIGHTS, key=lambda w, level=level: likelihood(past, valid, {level: w})[level].mean()) for level in (1, 2)
    )
    found = likelihood(known, test, {1: weights[0], 2: weights[1]}, own_weight=weights[0])
    print(f"\n{title}: {len(known):,} occasions known, {len(test):,} judged, {test['customer'].nunique():,} customers")
    names = {0: "everybody's hours on the channel", 1: f"+ the customer's own, prior worth {weights[0]:g} occasions",
             2: f"+ the customer's on the channel, prior worth {weights[1]:g}"}  # fmt: skip
    who = test["customer"].to_numpy(str)
    for level, name in names.items():
        gain = bootstrap_mean(found[level] - found[0], who, n_bootstrap=200)
        print(f"  {name:52} {found[level].mean():.4f}  gain {gain}")
    served = likelihood(known, test, {1: PRIOR_WEIGHT})[1]
    print(f"  as served (prior worth {PRIOR_WEIGHT:g})                          {served.mean():.4f}")


def likelihood(
    past: pd.DataFrame, later: pd.DataFrame, weights: dict[int, float], own_weight: float = PRIOR_WEIGHT
) -> dict[int, np.ndarray]:
    """Log-likelihood (nats) of every later occasion by level: 0 population, 1 customer, 2 customer on the channel."""
    channels = {name: i for i, name in enumerate(pd.unique(pd.concat([past["channel"], later["channel"]])))}
    customers = {name: i for i, name in enumerate(pd.unique(pd.concat([past["customer"], later["customer"]])))}

    def codes(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (
            rows["customer"].map(customers).to_numpy(),
            rows["channel"].map(channels).to_numpy(),
            rows["hour"].to_numpy(),
        )

    who, where, hour = codes(past)
    population = np.ones((len(channels), N_HOURS))
    np.add.at(population, (where, hour), 1.0)
    population /= population.sum(axis=1, keepdims=True)
    own = smooth(who, hour, len(customers))
    pair = who * len(channels) + where
    own_there = smooth(pair, hour, len(customers) * len(channels))
    who, where, hour = codes(later)
    found = {0: population[where, hour]}
    first = weights.get(1, own_weight)
    found[1] = (own(who, hour) + first * found[0]) / (own(who, None) + first)
    if 2 in weights:
        pair = who * len(channels) + where
        found[2] = (own_there(pair, hour) + weights[2] * found[1]) / (own_there(pair, None) + weights[2])
    return {level: np.log(chance) for level, chance in found.items()}


def smooth(group: np.ndarray, hour: np.ndarray, n_groups: int):  # type: ignore[no-untyped-def]
    """Counts by (group, hour), spread 1/4, 1/2, 1/4 over neighbouring hours as in serving; hour None gives the totals."""
    index = group * N_HOURS + hour
    keys, counts = np.unique(index, return_counts=True)
    totals = np.bincount(group, minlength=n_groups).astype(float)

    def count(key: np.ndarray) -> np.ndarray:
        at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        return np.where(keys[at] == key, counts[at], 0.0)

    def answer(g: np.ndarray, h: np.ndarray | None) -> np.ndarray:
        if h is None:
            return totals[g]
        return sum(w * count(g * N_HOURS + (h + d) % N_HOURS) for d, w in ((-1, 0.25), (0, 0.5), (1, 0.25)))

    return answer


def simulated(n_seeds: int = 5) -> None:
    """Expected reward of e-mail, push and SMS sent in the morning, in the evening, by habit, and at the truly better time."""
    print(f"\nsimulated, strong world, {n_seeds} seeds: expected reward per decision of a contact whose hour is chosen")
    rows = []
    for seed in range(n_seeds):
        world = simulate(world_config("strong", n_customers=800, n_days=90, seed=seed))
        evening = (world.decisions["x_evening_share"] > world.decisions["x_morning_share"]).to_numpy()
        for channel in ("email", "push", "sms"):
            early, late = (world.truth[f"expected_{channel}_{slot}"].to_numpy() for slot in ("morning", "evening"))
            sent = (world.decisions[f"x_consent_{channel}"] == 1).to_numpy()
            by_habit = np.where(evening, late, early)
            options = {"morning": early, "evening": late, "by habit": by_habit, "best": np.maximum(early, late)}
            rows.append({"channel": channel, **{name: values[sent].mean() for name, values in options.items()}})
    table = pd.DataFrame(rows).groupby("channel").agg(["mean", "std"])
    for channel, row in table.iterrows():
        shown = "  ".join(
            f"{name} {row[name, 'mean']:.3f}±{row[name, 'std']:.3f}"
            for name in ("morning", "evening", "by habit", "best")
        )
        print(f"  {channel:6} {shown}")


if __name__ == "__main__":
    main()
