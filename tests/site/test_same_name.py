"""Our side of the page *Same name, other number*: each figure that it states for Omni, computed and compared."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import ROOT, read, table
from same_name_cases import (
    AGE,
    BOUGHT,
    CHANCES,
    CHURNED,
    CONSTANT,
    FIRST_HALF,
    HAPPENED,
    LAST_BASKET,
    ONE_POSITIVE,
    PURCHASES,
    RATES,
    RESPONDED,
    SAME_SCORE,
    SHOWN,
    TREATED,
)

from features.evaluation.off_policy import DecisionLog
from features.evaluation.resampling import Statistic
from features.scoring.bg_nbd import Rates, Summary
from training.data.held_out import NEXT_BASKET, read_held_out
from training.evaluation import metrics
from training.evaluation.qini import qini
from training.evaluation.ranking import Targets, ranking_values
from training.models.next_product.measure import surprise

PAGE = read("docs/same-name.md")
STATED = {
    row[0]: row[2 if len(row) == 4 else 3]
    for heading in ("| figure | others |", "| figure | case |")
    for part in PAGE.split("\n## ")
    if heading in part
    for row in table(part, heading)
}


def of_all(statistic: Statistic, n: int) -> float:
    return float(statistic(np.ones(n)))


def ranked(name: str) -> float:
    return float(ranking_values(np.array([SHOWN]), Targets.from_lists([BOUGHT]), (10,))[name][0])


def alive(modified: bool) -> float:
    once = Summary(np.zeros(1), np.zeros(1), np.array([AGE]))
    return float(Rates(**RATES, modified=modified).alive_probability(once)[0])


def of_decisions(uplift: np.ndarray) -> float:
    log = DecisionLog(TREATED, np.full(100, 0.5), RESPONDED, 2, np.arange(100).astype(str))
    return of_all(qini(log, uplift, 1, 0), 100)


OURS = {
    "NDCG@10": lambda: ranked("ndcg@10"),
    "hit rate@10": lambda: ranked("hr@10"),
    "average precision": lambda: of_all(metrics.average_precision(ONE_POSITIVE, SAME_SCORE), 20),
    "expected calibration error": lambda: of_all(metrics.ece(HAPPENED, CHANCES), 100),
    "expected maximum profit": lambda: of_all(metrics.max_profit(CHURNED, CONSTANT), 1000),
    "Qini": lambda: of_decisions(FIRST_HALF),
    "Qini of a constant": lambda: of_decisions(np.zeros(100)),
}


@pytest.mark.parametrize("name", OURS)
def test_the_page_states_what_ours_gives(name: str) -> None:
    digits = len(STATED[name].partition(".")[2])

    assert round(OURS[name](), digits) == pytest.approx(float(STATED[name]), abs=1e-12)


def test_what_was_found_is_recall() -> None:
    assert ranked("recall@10") == pytest.approx(2 / 3)


def test_one_time_buyers_are_there_as_published_and_may_have_left_in_the_modified_form() -> None:
    assert STATED["alive, of one-time buyers"] == "1 and 0.6373"
    assert alive(modified=False) == 1.0
    assert alive(modified=True) == pytest.approx(0.6373, abs=5e-5)


def test_who_took_nothing_is_left_out() -> None:
    values = ranking_values(np.array([[1, 2], [1, 2]]), Targets.from_lists([[1], []]), (2,))
    assert STATED["NDCG of who took nothing"] == "left out"
    assert np.isnan(values["ndcg@2"]).tolist() == [False, True]


def test_novelty_is_of_purchases() -> None:
    items = {"a": 1, "b": 2, "c": 3}
    past = np.array([items[product] for _, product in PURCHASES])
    assert surprise(past, 3)[items["b"]] == pytest.approx(float(STATED["novelty"]), abs=5e-4)


def test_the_whole_last_basket_is_held_out_whatever_the_files_order(tmp_path: Path) -> None:
    assert STATED["the last basket, held out"] == "the whole basket"
    for lines in (LAST_BASKET, [*LAST_BASKET[:2], *LAST_BASKET[:1:-1]]):
        rows = [("ada", product, day) for product, day in lines]
        file = tmp_path / "baskets.csv"
        pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).to_csv(file, index=False)
        data = read_held_out(file, NEXT_BASKET)
        _, targets = data.targets(0)
        assert targets.items.tolist() == [1, 4]  # w, x, y, z are 1, 2, 3, 4
        assert data.known(1).item.tolist() == [2, 3]


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))

    assert len(named) >= 5
    assert {name for name in named if not (ROOT / name).is_file()} == set()
