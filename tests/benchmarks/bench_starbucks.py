"""Which offer is worth sending to whom: a month of offers that were drawn by chance, judged without looking ahead.

    python tests/benchmarks/bench_starbucks.py --folder DIR [--decisions log.parquet]

DIR holds portfolio, profile and transcript.parquet (see features/sources/starbucks_offers.py). One decision per customer
and wave of offers (6 waves): the offer received, or nothing. Reward: money spent in the 72 hours from the wave (the
shortest gap between waves) less the rewards paid out in them. Learned on the waves up to hour 408 of one half of the
customers; judged on the waves of hours 504 and 576 of the other half. `--decisions` also writes the whole log as
`omni benchmark best-channel` reads it.
"""

import argparse
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
from pandas.util import hash_array

from features.evaluation.intervals import gain
from features.evaluation.off_policy import single_arm, statistics, support
from features.evaluation.resampling import mean, resample
from features.vocabulary import NOTHING
from training.data.decisions import Decisions, as_decisions
from training.evaluation.metrics import auc, bootstrap, log_loss
from training.models.boosted import shrunk_rate
from training.models.uplift.meta_learners import EffectConfig, reward_model
from training.models.uplift.policy import learn_policy
from training.models.uplift.two_part import Parts

WINDOW_H = 72
LEARN_UNTIL_H, JUDGE_FROM_H = 408, 504
CONFIG = EffectConfig(learners=("two_part", "dr_linear", "t_learner", "s_learner"))
CLAIMS = """
What can be claimed: offers and silence were drawn by chance (the balance above), so the values are those of the policies
in this log, for spending within 72 hours. What cannot: the data is simulated by its publisher; an offer's channels come
with the offer (e-mail always among them), so no effect of a channel alone can be told; spending after 72 hours, and what a
customer learns from one wave to the next, are left out."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--decisions", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.folder is None:
        print("left out: give the folder of the offers with --folder")
        return
    portfolio, profile, transcript = (
        pd.read_parquet(args.folder / f"{name}.parquet") for name in ("portfolio", "profile", "transcript")
    )
    table = decision_table(portfolio, profile, transcript)
    if args.decisions:
        table.drop(columns=["viewed", "time_h"]).to_parquet(args.decisions)
    half = hash_array(table["customer_id"].to_numpy(), hash_key="0123456789123456") % 2 == 0
    learn = (half & (table["time_h"] <= LEARN_UNTIL_H)).to_numpy()
    judge = (~half & (table["time_h"] >= JUDGE_FROM_H)).to_numpy()
    decisions = as_decisions(table)
    print(
        f"{len(table):,} decisions; learned on {learn.sum():,}, judged on {judge.sum():,} of other customers and later waves"
    )
    balance(decisions, learn, judge, args.seed)
    views(table, decisions, portfolio, learn, judge, args.seed)
    policies(decisions, learn, judge, args.seed)
    print(CLAIMS)


def decision_table(portfolio: pd.DataFrame, profile: pd.DataFrame, transcript: pd.DataFrame) -> pd.DataFrame:
    """One row per customer and wave, with what was known before it."""
    names = offer_names(portfolio)
    sent = transcript[transcript["event"] == "offer received"]
    waves = sorted(sent["time_h"].unique())
    people = profile.set_index("id")
    parts = []
    for wave in waves:
        before = transcript[transcript["time_h"] < wave]
        after = transcript[(transcript["time_h"] >= wave) & (transcript["time_h"] < wave + WINDOW_H)]
        got = sent[sent["time_h"] == wave].groupby("person")["offer_id"].first()
        action = people.index.to_series().map(got.map(names)).fillna(NOTHING)
        viewed = after[after["event"] == "offer viewed"]
        pairs = set(zip(viewed["person"], viewed["offer_id"], strict=True))
        x = known_before(before, people, wave)
        parts.append(
            x.assign(
                customer_id=people.index,
                time_h=wave,
                action=action.to_numpy(),
                pscore=np.where(action == NOTHING, 1 - len(got) / len(people), len(got) / len(people) / len(names)),
                reward=(
                    total(after, "transaction", "amount", people) - total(after, "offer completed", "reward", people)
                ).to_numpy(),
                viewed=[(person, got.get(person)) in pairs for person in people.index],
            )
        )
    return pd.concat(parts, ignore_index=True)


def known_before(before: pd.DataFrame, people: pd.DataFrame, wave: int) -> pd.DataFrame:
    """Features from the profile and from everything strictly before the wave."""
    told = people["age"] < 118  # stands for: nothing told
    joined = pd.to_datetime(people["became_member_on"].astype(str), format="%Y%m%d")
    last = before[before["event"] == "transaction"].groupby("person")["time_h"].max().reindex(people.index)
    counts = {
        event: before[before["event"] == event].groupby("person").size().reindex(people.index).fillna(0.0)
        for event in ("transaction", "offer received", "offer viewed", "offer completed")
    }
    spent = total(before, "transaction", "amount", people)
    return pd.DataFrame(
        {
            "x_age": people["age"].where(told),
            "x_income": people["income"],
            "x_gender": people["gender"].fillna("untold"),
            "x_member_days": (joined.max() - joined).dt.days,
            "x_wave": wave,
            "x_spent": spent,
            "x_spent_recently": total(before[before["time_h"] >= wave - 168], "transaction", "amount", people),
            "x_purchases": counts["transaction"],
            "x_hours_since_purchase": wave - last,
            "x_received": counts["offer received"],
            "x_viewed_share": counts["offer viewed"] / (counts["offer received"] + 1),
            "x_completed_share": counts["offer completed"] / (counts["offer received"] + 1),
        }
    )


def balance(decisions: Decisions, learn: np.ndarray, judge: np.ndarray, seed: int) -> None:
    """Whether who got what can be told from the features: it should not."""
    given = decisions.log.action
    rates = np.bincount(given[learn], minlength=decisions.log.n_arms) / learn.sum()
    parameters = {"objective": "multiclass", "num_class": len(rates), "num_leaves": 7, "verbosity": -1, "seed": seed,
                  "num_threads": 1, "learning_rate": 0.05, "min_data_in_leaf": 200}  # fmt: skip
    model = lgb.train(parameters, lgb.Dataset(decisions.x[learn], given[learn]), 30)
    chances = np.asarray(model.predict(decisions.x[judge]))
    ours = -np.log(chances[np.arange(judge.sum()), given[judge]])
    plain = -np.log(rates[given[judge]])
    print(
        f"balance: log-loss of guessing the offer from the features {ours.mean():.4f}, from its rate alone {plain.mean():.4f}"
    )


def views(
    table: pd.DataFrame, decisions: Decisions, portfolio: pd.DataFrame, learn: np.ndarray, judge: np.ndarray, seed: int
) -> None:
    """The chance that an offer is seen, per offer with its set of channels."""
    channels = dict(zip(offer_names(portfolio).values(), portfolio["channels"], strict=True))
    print(
        "\noffer seen within 72 hours: rate, then AUC and log-loss on later waves of other customers, against the rate alone"
    )
    viewed = table["viewed"].to_numpy(float)
    parameters = {"objective": "binary", "num_leaves": 5, "learning_rate": 0.05, "min_data_in_leaf": 50, "verbosity": -1,
                  "num_threads": 1, "seed": seed}  # fmt: skip
    for arm, name in enumerate(decisions.arms):
        if name == NOTHING:
            continue
        mine = decisions.log.action == arm
        train, test = learn & mine, judge & mine
        model = lgb.train(parameters, lgb.Dataset(decisions.x[train], viewed[train]), 60)
        scores = np.asarray(model.predict(decisions.x[test]))
        who = table.loc[test, "customer_id"].to_numpy()
        found = bootstrap(auc(viewed[test], scores), who, n_bootstrap=200, seed=seed)
        plain = np.full(test.sum(), shrunk_rate(viewed[train], 0.5))
        ones = np.ones(test.sum())
        print(f"  {name:32} {'+'.join(channels[name]):26} {viewed[test].mean():.3f}  AUC {found}  "
              f"log-loss {log_loss(viewed[test], scores)(ones):.4f} / {log_loss(viewed[test], plain)(ones):.4f}")  # fmt: skip


def policies(decisions: Decisions, learn: np.ndarray, judge: np.ndarray, seed: int) -> None:
    """The values of the learned policy and of simple ones, doubly robust and self-normalised."""
    x, log = decisions.x, decisions.log
    parts = Parts.of(decisions.arms, decisions.reference_arm())
    policy = learn_policy(x[learn], log.select(learn), CONFIG, seed=seed, parts=parts)
    rewards = reward_model(x[learn], log.select(learn), CONFIG, seed)(x[judge])
    test = log.select(judge)
    n, k = len(test), test.n_arms
    chances = {
        "learned": single_arm(n, k, policy.arms(x[judge])),
        "always_personalised": single_arm(n, k, np.argmax(policy.effects(x[judge]), axis=1)),
        "best_single_offer": single_arm(n, k, policy.base_arm),
        "nothing": single_arm(n, k, decisions.arms.index(NOTHING)),
        "random": np.full((n, k), 1 / k),
    }
    wanted = {
        f"{name}/{key}": statistics(test, chance, rewards)[key]
        for name, chance in chances.items()
        for key in ("dr", "snips")
    }
    wanted["logging_policy/dr"] = mean(test.reward)
    found = resample(wanted, test.members(), n_bootstrap=500, seed=seed)
    print(
        f"\nnet spending per decision, judged later and on others; best single offer: {decisions.arms[policy.base_arm]}"
    )
    for key, value in found.items():
        name = key.split("/")[0]
        shown = f"  {support(test, chances[name]).effective_rows:,.0f} effective rows" if name in chances else ""
        print(f"  {key:28} {value.metric()}{shown}")
    for rival in ("best_single_offer", "nothing", "random"):
        for ours in ("learned", "always_personalised"):
            print(f"  {ours} - {rival}: {gain(found[f'{ours}/dr'], found[f'{rival}/dr'])} (doubly robust, paired)")
    print(
        f"  learner {policy.learner}, "
        f"slope {policy.slope:.2f} ({policy.slope_z:.1f} standard errors), personal: {policy.personal}"
    )


def offer_names(portfolio: pd.DataFrame) -> dict[str, str]:
    """Readable names by offer id."""
    return {
        row.id: f"{row.offer_type}_{row.difficulty}_for_{row.reward}_in_{row.duration}d_{'_'.join(c[0] for c in row.channels)}"
        for row in portfolio.itertuples()
    }


def total(rows: pd.DataFrame, event: str, column: str, people: pd.DataFrame) -> pd.Series:
    """Sum of a column over an event per customer, 0 where there is none."""
    return rows[rows["event"] == event].groupby("person")[column].sum().reindex(people.index).fillna(0.0)


if __name__ == "__main__":
    main()
