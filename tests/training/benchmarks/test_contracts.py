"""Contracts: what a table means, and that the blend finds what a straight line and default trees miss."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from features.errors import InputError
from training.benchmarks import contracts as contracts_module
from training.benchmarks.contracts import benchmark_contracts, encode, fit_predict, read_contracts
from training.models.churn.contract import ContractConfig


def contracts(n: int = 1200, seed: int = 0) -> pd.DataFrame:
    """Middling tenures leave most, and one plan; charges are a straight line; the rest is noise."""
    rng = np.random.default_rng(seed)
    tenure, charge = rng.uniform(0, 72, n), rng.uniform(20, 120, n)
    plan = rng.choice(["month", "year"], n)
    odds = 1.5 * np.cos((tenure - 36) / 12) + 0.02 * (charge - 70) - 1.2 * (plan == "year") - 0.8
    return pd.DataFrame(
        {
            "customerID": [f"c{i}" for i in range(n)],
            "tenure": tenure,
            "charge": np.where(rng.random(n) < 0.01, " ", charge.round(2).astype(str)),
            "plan": plan,
            "same": 1,
            "Churn": np.where(rng.random(n) < expit(odds), "Yes", "No"),
        }
    )


def test_a_table_is_read_as_it_is_meant() -> None:
    found = read_contracts(contracts(50))
    assert found.customers[:2].tolist() == ["c0", "c1"]
    assert list(found.columns) == ["tenure", "charge", "plan", "same"]
    data = encode(contracts(400).drop(columns=["customerID", "Churn"]))
    assert data.names == ("tenure", "charge", "plan=month", "plan=year")
    assert np.isnan(data.numeric[:, 1]).any()
    np.testing.assert_array_equal(data.levels.sum(axis=1), 1.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"Churn": "maybe"}, "holds 'maybe'"), ({"Churn": "yes"}, "has one value only")],
)
def test_a_label_that_says_neither_yes_nor_no_is_refused(change: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_contracts(contracts(50).assign(**change))
    with pytest.raises(InputError, match="no churn column 'gone'"):
        read_contracts(contracts(50), "gone")


def test_the_blend_beats_its_baselines_and_is_calibrated(tmp_path: Path) -> None:
    config = ContractConfig(max_rounds=100, inverse_l2=(0.02, 0.1))
    found = benchmark_contracts(contracts(), tmp_path, config=config, n_folds=4, n_repeats=1, seed=1)
    assert found.protocol["folds"] == 4
    assert found.rows["customers"] == 1200
    assert found.gains["logistic"].low > 0
    assert found.gains["lightgbm_defaults"].low > 0
    assert found.metrics["ece"].value < 0.04


def test_the_same_seed_gives_the_same_and_the_test_rows_say_nothing() -> None:
    table = contracts(400)
    labels = read_contracts(table).labels
    data = encode(read_contracts(table).columns)
    train, test = np.arange(300), np.arange(300, 400)
    config = ContractConfig(max_rounds=50)
    first = fit_predict(data, labels, train, test, config, 3)
    turned = np.where(np.arange(400) >= 300, 1 - labels, labels)
    np.testing.assert_array_equal(first, fit_predict(data, turned, train, test, config, 3))


def repeated_noise(n: int = 150, times: int = 4) -> pd.DataFrame:
    """Customers whose rows are alike and who churn by chance: whoever has seen one row knows the others."""
    rng = np.random.default_rng(5)
    one = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(3)})
    one = one.assign(CustomerId=np.arange(n) + 15_000_000, churn=(rng.random(n) < 0.5).astype(int))
    table = pd.concat([one] * times, ignore_index=True).sample(frac=1.0, random_state=1)
    return table.assign(RowNumber=np.arange(1, len(table) + 1))[["RowNumber", "CustomerId", "x0", "x1", "x2", "churn"]]


def test_a_customer_with_several_rows_is_on_one_side_only(tmp_path: Path) -> None:
    config = ContractConfig(max_rounds=50, inverse_l2=(0.1,), min_data_in_leaf=5)
    found = benchmark_contracts(repeated_noise(), tmp_path, config=config, n_folds=3, n_repeats=1, seed=1)
    for metrics in (found.metrics, *found.baselines.values()):
        assert 0.35 < metrics["auc"].value < 0.65  # there is nothing to know
    assert found.rows == {"customers": 150, "rows": 600, "churned": int(repeated_noise()["churn"].sum())}
    assert found.protocol["folds_by"] == "customer"


@pytest.mark.parametrize("n_folds", [2, 5])
def test_folds_share_no_customer_and_hold_every_row_once(n_folds: int) -> None:
    table = repeated_noise()
    read = read_contracts(table)
    held = []
    for train, test in contracts_module._folds(read.labels, read.customers, n_folds, seed=0):
        assert not set(read.customers[train]) & set(read.customers[test])
        held += test.tolist()
    assert sorted(held) == list(range(len(table)))


@pytest.mark.parametrize("name", ["CustomerId", "customer_id", "Client ID", "user-id", "CLIENTNUM", "id"])
def test_who_the_customer_is_is_never_a_row_number_nor_learned_from(name: str) -> None:
    table = repeated_noise().rename(columns={"CustomerId": name})
    read = read_contracts(table)
    assert len(set(read.customers)) == 150
    assert list(read.columns) == ["x0", "x1", "x2"]


def test_rows_without_a_customer_are_customers_of_their_own() -> None:
    table = repeated_noise(20, 2).assign(
        CustomerId=lambda rows: rows["CustomerId"].astype("Int64").mask(rows.index < 5)
    )
    assert len(set(read_contracts(table).customers)) == 20 + 5
    assert len(set(read_contracts(table.drop(columns="CustomerId")).customers)) == 40


def test_too_few_churning_customers_are_refused_whatever_their_rows(tmp_path: Path) -> None:
    table = repeated_noise(40, 10).assign(churn=lambda rows: (rows["CustomerId"] < 15_000_005).astype(int))
    with pytest.raises(InputError, match="5 churners among 40 customers"):
        benchmark_contracts(table, tmp_path)
