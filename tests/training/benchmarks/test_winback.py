"""Win-back on a made log in which it is known whom a contact keeps and whom it drives away."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.errors import InputError
from features.scoring.win_back import CONTACT, LEAVE_ALONE
from training.benchmarks.winback import benchmark, contacts_of, kept, reachable
from training.models.win_back.learner import Contacts, LearnerConfig, fit_winback

CONFIG = LearnerConfig(max_rounds=20)


def log(n: int = 6000, effect: float = 0.3, seed: int = 0) -> tuple[Contacts, np.ndarray]:
    """A contact keeps who has x0 above 0 and drives away the others; the risk lies in x1 alone."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    uplift = effect * np.sign(x[:, 0])
    treated = (rng.random(n) < 0.5).astype(float)
    chance = np.clip(0.5 - 0.15 * x[:, 1] + treated * uplift, 0.01, 0.99)
    customers = np.array([f"c{i}" for i in range(n)], dtype=object)
    kept_later = (rng.random(n) < chance).astype(float)
    return Contacts(x, treated, kept_later, np.full(n, 0.5), customers, True), uplift


def test_whom_a_contact_keeps_is_found_and_the_others_are_left_alone() -> None:
    contacts, uplift = log()
    found = fit_winback(contacts, CONFIG, seed=1)
    right = found.advice(0.0) == np.where(uplift > 0, CONTACT, LEAVE_ALONE)
    assert right.mean() > 0.9
    assert found.scores[uplift > 0].mean() == pytest.approx(0.27, abs=0.06)
    assert abs(np.corrcoef(found.risk, uplift)[0, 1]) < 0.5


def files(folder: Path, contacts: Contacts, *, with_pscore: bool) -> tuple[Path, Path]:
    start = pd.Timestamp("2024-01-01", tz="UTC")
    decisions = pd.DataFrame(contacts.features, columns=["x_a", "x_b", "x_c"]).assign(
        customer_id=contacts.customers, as_of=start, action=np.where(contacts.treated > 0, "email", "nothing")
    )
    if with_pscore:
        decisions["pscore"] = 0.5
    came = contacts.customers[contacts.kept > 0]
    events = pd.DataFrame({"customer_id": came, "occurred_at": start + pd.Timedelta(days=20), "kind": "visit"})
    last = pd.DataFrame({"customer_id": ["z"], "occurred_at": [start + pd.Timedelta(days=60)], "kind": ["visit"]})
    pd.concat([events, last]).to_parquet(folder / "events.parquet")
    decisions.to_parquet(folder / "decisions.parquet")
    return folder / "events.parquet", folder / "decisions.parquet"


def test_the_log_alone_shows_that_uplift_beats_risk(tmp_path: Path) -> None:
    contacts, _ = log()
    events, decisions = files(tmp_path, contacts, with_pscore=True)
    found = benchmark(events, decisions, out=tmp_path / "advice.csv", config=CONFIG)
    assert found.gains["risk kept_per_contact@20%"].low > 0
    assert found.protocol["randomised"] is True and "caution" not in found.protocol
    advice = pd.read_csv(tmp_path / "advice.csv")["advice"]
    assert 0.4 < (advice == CONTACT).mean() < 0.6


def test_where_contacts_do_nothing_everybody_is_left_alone_and_a_log_without_chances_says_so(tmp_path: Path) -> None:
    contacts, _ = log(effect=0.0)
    events, decisions = files(tmp_path, contacts, with_pscore=False)
    found = benchmark(events, decisions, config=CONFIG)
    assert found.rows["advice_contact"] == 0
    assert "leave everybody alone" in found.protocol["evidence"]
    assert found.protocol["randomised"] is False
    assert "were estimated" in found.protocol["caution"]


def test_the_answer_to_a_contact_does_not_count_as_kept() -> None:
    at = pd.Timestamp("2024-01-01", tz="UTC")
    moments = pd.DataFrame({"customer_id": ["soon", "later", "late", "never"], "as_of": [at] * 4})
    events = pd.DataFrame(
        {
            "customer_id": ["soon", "later", "late"],
            "occurred_at": [at + pd.Timedelta(days=days) for days in (13.9, 14.0, 42.0)],
            "kind": ["click", "visit", "visit"],
        }
    )
    assert kept(moments, events, CONFIG).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_a_log_without_moments_left_alone_is_refused() -> None:
    moments = pd.DataFrame({"customer_id": ["a"] * 500, "action": ["email"] * 500, "x_a": [1.0] * 500})
    with pytest.raises(InputError, match="0 moments left alone"):
        contacts_of(moments, np.ones(500), CONFIG, 0)


def test_a_contact_that_could_not_be_sent_left_the_customer_alone() -> None:
    moments = pd.DataFrame(
        {"action": ["email", "sms", "nothing", "sms"] * 200, "x_a": [1.0] * 800, "pscore": [0.4] * 800}
    )
    moments["customer_id"] = [f"c{i}" for i in range(800)]
    moments["eligible_sms"] = [True, False, True, True] * 200
    assert reachable(moments).iloc[1].to_dict() == {"email": True, "sms": False}
    found = contacts_of(moments, np.ones(800), CONFIG, 0)
    assert found.treated[:4].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert found.features[:4, 1].tolist() == [1.0, 0.0, 1.0, 1.0]
    # Left alone where all arms would have been sent: the log says it; where one would not, it is estimated.
    assert found.chance[2] == pytest.approx(0.6)
    assert found.chance[1] < 0.35


def test_who_cannot_be_reached_is_not_compared(tmp_path: Path) -> None:
    contacts, _ = log(2000)
    events, decisions = files(tmp_path, contacts, with_pscore=True)
    table = pd.read_parquet(decisions)
    table.assign(eligible_email=np.arange(2000) % 4 > 0).to_parquet(decisions)
    found = benchmark(events, decisions, config=CONFIG)
    assert found.rows["moments"] == 1500
    assert found.rows["contacts"] == int(contacts.treated[np.arange(2000) % 4 > 0].sum())


def test_a_log_of_other_people_or_of_too_few_days_is_refused(tmp_path: Path) -> None:
    moment = pd.Timestamp("2024-01-01", tz="UTC")
    decisions = pd.DataFrame({"customer_id": [1, 2], "as_of": moment, "action": ["mail", "nothing"], "x_a": [0.0, 1.0]})
    decisions.to_csv(tmp_path / "decisions.csv", index=False)
    for name, customers, days in (("others", [8, 9], 300), ("short", [1, 2], 3)):
        at = moment + pd.Timedelta(days=days)
        pd.DataFrame({"customer_id": customers, "occurred_at": at}).to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(InputError, match=r"No customer of .* is in .*others"):
        benchmark(tmp_path / "others.csv", tmp_path / "decisions.csv")
    with pytest.raises(InputError, match=r"days of .*short\.csv after it"):
        benchmark(tmp_path / "short.csv", tmp_path / "decisions.csv")
