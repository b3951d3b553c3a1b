"""Who is under contract at a cutoff, and whether they are at the horizon: by the log alone, with no look past its end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.errors import InputError, MissingError
from training.data.contracts import contract_entities, contract_span

START = datetime(2024, 1, 1, tzinfo=UTC)


def said(
    customer: str, day: float, kind: str, product: str | None = "box", ends: float | None = None
) -> dict[str, Any]:
    return {
        "customer_id": customer,
        "occurred_at": START + timedelta(days=day),
        "event_id": f"{customer}-{day}-{kind}",
        "kind": kind,
        "product_id": product,
        "detail": None if ends is None else (START + timedelta(days=ends)).timestamp(),
    }


def write(path: Path, *events: dict[str, Any]) -> Path:
    frame = pd.DataFrame(events).astype({"occurred_at": "datetime64[us, UTC]", "detail": "float64"})
    frame.to_parquet(path)
    return path


def labels(path: Path, day: float, horizon_days: float = 10) -> dict[str, float]:
    found = contract_entities(path, [START + timedelta(days=day)], horizon_days)
    return dict(zip(found["customer_id"], found["label"], strict=True))


def test_at_risk_is_who_has_a_contract_and_churned_who_has_none_at_the_horizon(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.parquet",
        said("stays", 0, "subscribe"),
        *(said("leaves", 0, "subscribe"), said("leaves", 25, "unsubscribe")),
        *(said("left", 0, "subscribe"), said("left", 19, "unsubscribe")),
        *(said("moves", 0, "subscribe"), said("moves", 22, "unsubscribe"), said("moves", 23, "subscribe", "crate")),
        *(said("later", 0, "subscribe"), said("later", 30, "unsubscribe")),
        said("joins", 21, "subscribe"),
        *(said("reads", 0, "subscribe", None), said("reads", 25, "unsubscribe", None)),
        said("older", 25, "unsubscribe"),
    )
    assert labels(path, 20) == {"stays": 0.0, "leaves": 1.0, "moves": 0.0, "later": 0.0}
    assert labels(path, 20, 10.5)["later"] == 1.0


def test_a_term_ends_a_contract_and_a_renewal_moves_it(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.parquet",
        said("runs", 0, "subscribe", ends=60),
        said("ends", 0, "subscribe", ends=25),
        said("over", 0, "subscribe", ends=20),
        *(said("renews", 0, "subscribe", ends=25), said("renews", 24, "subscribe", ends=60)),
        *(said("back", 0, "subscribe", ends=10), said("back", 15, "subscribe")),
    )
    assert labels(path, 20) == {"runs": 0.0, "ends": 1.0, "renews": 0.0, "back": 0.0}


def test_what_comes_after_a_window_changes_nothing_in_it(tmp_path: Path) -> None:
    events = [said("a", 0, "subscribe"), said("b", 0, "subscribe"), said("b", 25, "unsubscribe")]
    before = labels(write(tmp_path / "short.parquet", *events), 20)
    more = [said("a", 31, "unsubscribe"), said("b", 31, "subscribe"), said("c", 30, "subscribe")]
    assert labels(write(tmp_path / "long.parquet", *events, *more), 20) == before == {"a": 0.0, "b": 1.0}


def test_the_span_begins_with_the_first_contract_and_ends_with_the_log(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.parquet",
        said("a", 0, "visit", None), said("a", 3, "subscribe"), said("a", 9, "visit", None),
    )  # fmt: skip
    span = contract_span(path)
    assert span.start == START + timedelta(days=3)
    assert span.end == START + timedelta(days=9, microseconds=1)


def test_a_log_without_contracts_says_how_to_bring_them(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", said("a", 0, "subscribe", None), said("a", 1, "purchase"))
    with pytest.raises(InputError, match="holds no contract: no event of kind subscribe names a product"):
        contract_span(path)
    with pytest.raises(MissingError, match="omni features build"):
        contract_span(tmp_path / "none.parquet")
