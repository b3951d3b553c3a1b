"""Labels on timelines small enough to check by eye; windows are half-open on both sides of the cutoff."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from features.errors import InputError, MissingError
from training.data.labels import Arm, churn_entities, contact_entities, data_span, days_to_next

CUTOFF = datetime(2024, 3, 1, tzinfo=UTC)
MAIL = Arm("mail", "post", "send", {"campaign_type": ["A"]}, ["outcome"], ["campaign_id"], 10)
SHELF = Arm("shelf", "store", "impression", {}, ["purchase"], ["product_id"], 7)


def timeline(folder: Path, rows: list[dict]) -> Path:
    columns = [
        "customer_id",
        "occurred_at",
        "event_id",
        "kind",
        "channel",
        "product_id",
        "campaign_id",
        "value",
        "properties",
    ]
    table = pd.DataFrame(rows).reindex(columns=columns)
    table["occurred_at"] = pd.to_datetime(table["occurred_at"], utc=True, format="ISO8601").astype(
        "datetime64[us, UTC]"
    )
    table["event_id"] = [f"e{i}" for i in range(len(table))]
    table["value"] = table["value"].astype("float64")
    text = table.columns.drop(["occurred_at", "value"])
    table[text] = table[text].astype("string")
    path = folder / "timeline.parquet"
    table.to_parquet(path)
    return path


def buys(customer: str, *moments: str, product: str = "p") -> list[dict]:
    return [
        {"customer_id": customer, "occurred_at": m, "kind": "purchase", "channel": "store", "product_id": product}
        for m in moments
    ]


@pytest.mark.parametrize(
    ("moments", "label"),
    [
        (["2024-02-20"], 1.0),
        (["2024-02-20", "2024-03-01"], 0.0),  # at the cutoff itself: inside the window
        (["2024-02-20", "2024-03-10T23:59:59"], 0.0),
        (["2024-02-20", "2024-03-11"], 1.0),  # at the window's end: outside
    ],
)
def test_churned_is_no_purchase_in_the_window(tmp_path: Path, moments: list[str], label: float) -> None:
    found = churn_entities(timeline(tmp_path, buys("a", *moments)), [CUTOFF], 10)
    assert found.to_dict("records") == [
        {"customer_id": "a", "as_of": pd.Timestamp("2024-03-01", tz="UTC"), "label": label, "revenue": 0.0}
    ]


def test_revenue_is_what_was_bought_in_the_window(tmp_path: Path) -> None:
    rows = buys("a", "2024-02-20", "2024-03-01", "2024-03-01", "2024-03-10", "2024-03-11")
    for row, value in zip(rows, (1.0, 2.0, 4.0, 8.0, 16.0), strict=True):
        row["value"] = value
    rows.append({"customer_id": "a", "occurred_at": "2024-03-05", "kind": "view", "channel": "web", "value": 32.0})
    path = timeline(tmp_path, [*rows, *buys("b", "2024-02-20")])
    assert churn_entities(path, [CUTOFF], 10)["revenue"].tolist() == [14.0, 0.0]
    assert churn_entities(path, [CUTOFF], 10, ["view", "purchase"])["revenue"].tolist() == [14.0, 0.0]


def test_who_counts_at_a_cutoff(tmp_path: Path) -> None:
    rows = [
        *buys("recent", "2024-02-10"),
        *buys("old", "2023-01-01", "2024-03-02"),
        *buys("future", "2024-03-05"),
        {"customer_id": "never bought", "occurred_at": "2024-02-10", "kind": "view", "channel": "web"},
    ]
    path = timeline(tmp_path, rows)
    assert churn_entities(path, [CUTOFF], 10, active_within_days=90)["customer_id"].tolist() == ["recent"]
    assert churn_entities(path, [CUTOFF], 10)["customer_id"].tolist() == ["old", "recent"]


def test_every_cutoff_gets_its_own_row(tmp_path: Path) -> None:
    path = timeline(tmp_path, buys("a", "2024-02-01", "2024-02-25"))
    found = churn_entities(path, [CUTOFF, CUTOFF - timedelta(days=10)], 10)
    assert found["as_of"].dt.strftime("%m-%d").tolist() == ["02-20", "03-01"]
    assert found["label"].tolist() == [0.0, 1.0]


def test_events_after_the_window_change_no_row(tmp_path: Path) -> None:
    rows = [*buys("a", "2024-02-20", "2024-03-05"), *buys("b", "2024-02-20")]
    before = churn_entities(timeline(tmp_path, rows), [CUTOFF], 10)
    later = [*rows, *buys("b", "2024-03-20"), *buys("c", "2024-03-20")]
    pd.testing.assert_frame_equal(before, churn_entities(timeline(tmp_path, later), [CUTOFF], 10))


def send(customer: str, moment: str, campaign: str, kind: str = "A") -> dict:
    return {
        "customer_id": customer,
        "occurred_at": moment,
        "kind": "send",
        "channel": "post",
        "campaign_id": campaign,
        "properties": f'{{"campaign_type": "{kind}"}}',
    }


def redeem(customer: str, moment: str, campaign: str) -> dict:
    return {
        "customer_id": customer, "occurred_at": moment, "kind": "outcome", "channel": "post", "campaign_id": campaign
    }  # fmt: skip


def test_a_send_is_answered_by_the_same_campaign_in_time(tmp_path: Path) -> None:
    rows = [
        send("yes", "2024-01-01", "1"),
        redeem("yes", "2024-01-10", "1"),
        send("late", "2024-01-01", "1"),
        redeem("late", "2024-01-11", "1"),
        send("other campaign", "2024-01-01", "1"),
        redeem("other campaign", "2024-01-05", "2"),
        send("other customer", "2024-01-01", "1"),
        send("other type", "2024-01-01", "1", kind="B"),
    ]
    found = contact_entities(timeline(tmp_path, rows), [MAIL], CUTOFF, 100, 0)
    assert dict(zip(found["customer_id"], found["label"], strict=True)) == {
        "yes": 1.0,
        "late": 0.0,
        "other campaign": 0.0,
        "other customer": 0.0,
    }
    assert set(found["arm"]) == {"mail"}


def test_an_impression_is_answered_by_buying_that_product(tmp_path: Path) -> None:
    shown = {"kind": "impression", "channel": "store", "occurred_at": "2024-01-01T10:00:00"}
    rows = [
        {**shown, "customer_id": "a", "product_id": "p"},
        {**shown, "customer_id": "b", "product_id": "p"},
        *buys("a", "2024-01-01T10:00:01", product="p"),
        *buys("b", "2024-01-01T10:00:01", product="q"),
    ]
    found = contact_entities(timeline(tmp_path, rows), [SHELF], CUTOFF, 100, 0)
    assert dict(zip(found["customer_id"], found["label"], strict=True)) == {"a": 1.0, "b": 0.0}


def test_a_contact_whose_window_is_open_at_the_end_is_left_out(tmp_path: Path) -> None:
    rows = [send("a", "2024-02-20", "1"), send("b", "2024-02-20T00:00:01", "1")]
    path = timeline(tmp_path, rows)
    assert contact_entities(path, [MAIL], CUTOFF, 100, 0)["customer_id"].tolist() == ["a"]


def test_the_sample_of_contacts_is_fixed_by_the_seed(tmp_path: Path) -> None:
    path = timeline(tmp_path, [send(f"c{i:03}", "2024-01-01", "1") for i in range(100)])
    first, again = (contact_entities(path, [MAIL], CUTOFF, 10, 1) for _ in range(2))
    other = contact_entities(path, [MAIL], CUTOFF, 10, 2)
    pd.testing.assert_frame_equal(first, again)
    assert len(first) == 10
    assert set(first["customer_id"]) != set(other["customer_id"])


def test_the_span_ends_just_after_the_last_purchase(tmp_path: Path) -> None:
    span = data_span(timeline(tmp_path, buys("a", "2024-01-01", "2024-02-01")))
    assert span.start == datetime(2024, 1, 1, tzinfo=UTC)
    assert span.end == datetime(2024, 2, 1, 0, 0, 0, 1, tzinfo=UTC)


def test_missing_and_empty_timelines_name_the_repair(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="omni features build"):
        data_span(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="omni ingest"):
        data_span(timeline(tmp_path, [send("a", "2024-01-01", "1")]))


def test_a_column_that_is_no_name_is_refused(tmp_path: Path) -> None:
    bad = Arm("bad", "post", "send", {}, ["outcome"], ["x; DROP TABLE y"], 10)
    with pytest.raises(InputError, match="not a column"):
        contact_entities(timeline(tmp_path, [send("a", "2024-01-01", "1")]), [bad], CUTOFF, 10, 0)


def test_who_bought_too_seldom_is_not_asked_about(tmp_path: Path) -> None:
    path = timeline(tmp_path, [*buys("once", "2024-02-10"), *buys("twice", "2024-02-10", "2024-02-11")])
    found = churn_entities(path, [CUTOFF], 10, min_purchases=2)
    assert found["customer_id"].tolist() == ["twice"]


def test_days_to_the_next_purchase_end_where_knowledge_ends(tmp_path: Path) -> None:
    path = timeline(
        tmp_path,
        [*buys("a", "2024-02-10", "2024-03-03T12:00:00", "2024-03-09"), *buys("b", "2024-02-10", "2024-03-20")],
    )
    rows = churn_entities(path, [CUTOFF], 10)
    found = days_to_next(path, rows, datetime(2024, 3, 15, tzinfo=UTC))
    assert found[0] == 2.5
    assert pd.isna(found[1])
