"""Segments and audiences: stages by the customer's own rhythm, deciles over everybody, a file for campaign tools."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from features.errors import InputError, MissingError
from features.settings import Settings
from features.vocabulary import Task
from serving.campaigns import audience
from serving.campaigns.audience import audience_table, export_audience, write
from serving.campaigns.condition import Condition
from serving.campaigns.segments import add_deciles, lifecycle
from serving.runtime import Runtime
from serving.scorers.bundle import Bundle


def test_stages_follow_the_own_rhythm() -> None:
    table = pd.DataFrame(
        {
            "days_since_purchase": [None, 5.0, 5.0, 12.0, 25.0, 60.0, 50.0],
            "usual_gap_days": [None, None, 10.0, 10.0, 10.0, 10.0, None],
            "n_purchases": [0.0, 1.0, 5.0, 5.0, 5.0, 5.0, 1.0],
        }
    )
    expected = ["prospect", "new", "active", "due", "at_risk", "lapsed", "at_risk"]
    assert lifecycle(table, usual_gap_days=20.0).tolist() == expected


def test_the_best_tenth_is_decile_ten() -> None:
    table = pd.DataFrame(
        {
            "spend_365d": [float(i) for i in range(20)],
            "usual_gap_days": [10.0] * 20,
            "days_since_purchase": [1.0] * 20,
            "n_purchases": [2.0] * 20,
        }
    )
    assert add_deciles(table)["value_decile"].tolist() == [i // 2 + 1 for i in range(20)]


def buyers(revenue: list[float], since: list[float | None]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "expected_revenue": revenue,
            "usual_gap_days": [10.0] * len(since),
            "days_since_purchase": since,
            "n_purchases": [0.0 if days is None else 2.0 for days in since],
        }
    )


def test_prospects_have_no_decile_and_do_not_move_those_of_buyers() -> None:
    prospects = 40
    table = buyers([float(i) for i in range(20)] + [float("nan")] * prospects, [1.0] * 20 + [None] * prospects)
    answer = add_deciles(table)
    assert answer["value_decile"][:20].tolist() == [i // 2 + 1 for i in range(20)]
    assert answer["value_decile"][20:].isna().all()
    assert Condition.parse("value_decile >= 8").select(answer).sum() == 6
    assert Condition.parse("value_decile IS NULL AND lifecycle = 'prospect'").select(answer).sum() == prospects


@pytest.mark.parametrize(
    ("revenue", "expected"),
    [
        ([5.0] * 10, [6] * 10),  # the middle of all: 5.5 of 10
        ([1.0] * 5 + [2.0] * 5, [3] * 5 + [8] * 5),
        ([1.0] * 8 + [2.0, 3.0], [5] * 8 + [9, 10]),
        ([0.1 + 0.2, 0.3, 1.0], [5, 5, 10]),  # the same money, but for the rounding of sums
        ([7.0], [10]),
        ([float("nan"), 0.0], [8, 8]),
    ],
)
def test_equal_values_share_a_decile_in_any_order_of_rows(revenue: list[float], expected: list[int]) -> None:
    table = buyers(revenue, [1.0] * len(revenue))
    assert add_deciles(table)["value_decile"].tolist() == expected
    assert add_deciles(table[::-1].reset_index(drop=True))["value_decile"].tolist() == expected[::-1]


def test_who_has_only_a_contract_is_no_prospect() -> None:
    table = buyers([float("nan")] * 3, [None] * 3).assign(contract_days=[30.0, None, None], n_contracts=[1.0, 1.0, 0.0])
    assert lifecycle(table, usual_gap_days=20.0).tolist() == ["active", "lapsed", "prospect"]


def test_everybody_has_a_row_with_consents_path_and_stage(runtime: Runtime) -> None:
    table = audience_table(runtime, ["ada", "never-seen"])
    assert table["customer_id"].tolist() == ["ada"]
    ada = table.iloc[0]
    assert (ada["purchase_path"], ada["subscription_state"]) == ("store>web", "subscribed")
    assert ada["consent_email"] and not ada["consent_sms"]
    assert ada["n_purchases"] == 4
    assert table[["contract_days", "contract_days_left"]].isna().all(axis=None)
    assert ada["lifecycle"] == "active"
    assert 0 < ada["churn_probability"] < 1
    assert Condition.parse("consent_email and lifecycle == 'active' and cart_products > 0").select(table).tolist() == [
        True
    ]


def test_the_ending_decides_the_format(tmp_path: Path) -> None:
    table = pd.DataFrame({"customer_id": ["ada"], "value_decile": [9]})
    write(table, tmp_path / "a.csv")
    write(table, tmp_path / "a.parquet")
    assert (tmp_path / "a.csv").read_text() == "customer_id,value_decile\nada,9\n"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.parquet"]


def test_what_cannot_be_written_is_refused_first(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match="neither in"):
        export_audience(settings, "True", tmp_path / "a.xlsx")
    with pytest.raises(InputError, match="does not exist"):
        export_audience(settings, "True", tmp_path / "none" / "a.csv")
    with pytest.raises(MissingError, match="no timeline"):
        export_audience(settings, "True", tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("churn_probabilty > 0.6", "Did you mean churn_probability"),
        ("lifecycle > 3", "cannot be used"),
        ("consent_email > 'x'", "cannot be used"),
    ],
)
def test_a_wrong_condition_is_told_before_anybody_is_scored(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, says: str
) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    monkeypatch.setattr(audience, "customer_ids", lambda _: ["ada"])
    monkeypatch.setattr(audience, "Runtime", lambda **_: runtime)
    monkeypatch.setattr(audience, "Watcher", lambda *_: SimpleNamespace(refresh=lambda: None))
    monkeypatch.setattr(audience, "audience_table", lambda *_: pytest.fail("somebody was scored"))
    with pytest.raises(InputError, match=says):
        export_audience(settings, where, tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_numbers_as_customer_ids_can_be_compared_as_numbers(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    table = pd.DataFrame({"customer_id": ["7", "12", "30"], "lifecycle": ["due", "new", "due"]})
    monkeypatch.setattr(audience, "customer_ids", lambda _: ["7", "12", "30"])
    monkeypatch.setattr(audience, "Runtime", lambda **_: runtime)
    monkeypatch.setattr(audience, "Watcher", lambda *_: SimpleNamespace(refresh=lambda: None))
    monkeypatch.setattr(audience, "audience_table", lambda *_: table)
    export_audience(settings, "CAST(customer_id AS INTEGER) > 10 AND customer_id != 30", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "customer_id,lifecycle\n12,new\n"


@pytest.mark.parametrize("where", ["CHURN_PROBABILITY > 0.6", "Win_Back_Advice = 'contact'"])
def test_a_model_that_is_not_there_is_named_however_its_column_is_spelt(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    unserved = replace(runtime.knowledge, bundle=Bundle(problems=dict.fromkeys(Task, "no champion yet")))
    monkeypatch.setattr(runtime, "knowledge", unserved)
    monkeypatch.setattr(audience, "customer_ids", lambda _: ["ada"])
    monkeypatch.setattr(audience, "Runtime", lambda **_: runtime)
    monkeypatch.setattr(audience, "Watcher", lambda *_: SimpleNamespace(refresh=lambda: None))
    with pytest.raises(MissingError, match="no champion yet"):
        export_audience(settings, where, tmp_path / "a.csv")
