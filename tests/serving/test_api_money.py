"""Values of several currencies over HTTP."""

from pathlib import Path
from typing import Any

from features.events.placeholders import Placeholders
from features.money.home import HomeCurrency
from features.settings import Settings
from serving.runtime import Runtime


def event(event_id: str, at: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "occurred_at": at, "kind": kind, "channel": "web", "customer_id": "ada", **fields}


def test_values_of_another_currency_are_converted_or_refused(client: Any, runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text("date,currency,rate\n2024-01-01,USD,0.9\n")
    runtime.currency = HomeCurrency(
        Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_CURRENCY": "EUR"}), runtime.log
    )
    bought = [
        event("c1", "2024-02-01T10:00:00Z", "purchase", product_id="tea", value=-1.0, currency="EUR"),
        event("c2", "2024-02-01T10:00:00Z", "purchase", product_id="tea", value=10.0, currency="CHF"),
        event("c3", "2024-02-01T10:00:00Z", "purchase", product_id="tea", value=10.0, currency="USD"),
        event("c4", "2024-02-01T10:00:00Z", "purchase", product_id="tea", value=10.0),
    ]
    posted, refused = client.run(
        ("POST", "/v1/events", {"events": bought}), ("POST", "/v1/events", {"events": bought[1:2]})
    )
    assert posted.json()["accepted"] == 2
    assert [(row["index"], row["field"], row["event_id"]) for row in posted.json()["rejected"]] == [
        (0, "value", "c1"),
        (1, "currency", "c2"),
    ]
    assert "put a rate of CHF for 2024-02-01 or before into rates.csv" in posted.json()["rejected"][1]["reason"]
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "events_rejected")
    rows = {row["event_id"]: row for row in runtime.log.customer_events("ada").to_pylist()}
    assert [(rows[name]["value"], rows[name]["currency"]) for name in ("c3", "c4")] == [(9.0, "EUR"), (10.0, None)]


def test_what_names_nobody_is_refused_beside_what_has_no_rate(client: Any, runtime: Runtime, tmp_path: Path) -> None:
    runtime.currency = HomeCurrency(
        Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_CURRENCY": "EUR"}), runtime.log
    )
    runtime.nobody = Placeholders(("walk-in",))
    at = "2024-02-01T10:00:00Z"
    bought = [
        {**event("c1", at, "purchase", product_id="tea", value=1.0, currency="EUR"), "customer_id": "Walk-in"},
        event("c2", at, "purchase", product_id="tea", value=2.0, currency="CHF"),
        {**event("c3", at, "purchase", product_id="tea", value=3.0, currency="EUR"), "customer_id": "guest"},
        {**event("c4", at, "purchase", product_id="tea", value=4.0, currency="CHF"), "customer_id": "walk-in"},
    ]
    posted = client.post("/v1/events", {"events": bought}).json()
    assert [(row["index"], row["field"], row["event_id"]) for row in posted["rejected"]] == [
        (0, "customer_id", "c1"),
        (1, "currency", "c2"),
        (3, "customer_id", "c4"),
    ]
    assert [row["value"] for row in runtime.log.customer_events("guest").to_pylist()] == [3.0]


def test_the_first_batch_may_be_in_several_currencies(client: Any, runtime: Runtime, tmp_path: Path) -> None:
    runtime.currency = HomeCurrency(Settings.from_env({"OMNI_HOME": str(tmp_path)}), runtime.log)
    at = "2024-02-01T10:00:00Z"
    bought = [
        {**event("c1", at, "purchase", product_id="tea", value=7.0, currency="CAD"), "customer_id": "bo"},
        {**event("c2", at, "purchase", product_id="tea", value=3.0, currency="USD"), "customer_id": "bo"},
        {**event("c3", at, "purchase", product_id="tea", value=4.0, currency="USD"), "customer_id": "bo"},
    ]
    posted = client.post("/v1/events", {"events": bought}).json()
    assert (posted["accepted"], posted["rejected"], runtime.currency.code) == (3, [], "USD")
    again = client.post("/v1/events", {"events": bought}).json()
    assert (again["duplicates"], again["rejected"]) == (3, [])
    values = {row["event_id"]: row["value"] for row in runtime.log.customer_events("bo").to_pylist()}
    assert values == {"c1": None, "c2": 3.0, "c3": 4.0}
    (tmp_path / "rates.csv").write_text("date,currency,rate\n2024-01-01,CAD,0.7\n")
    late = {**event("c4", at, "purchase", product_id="tea", value=10.0, currency="CAD"), "customer_id": "bo"}
    assert client.post("/v1/events", {"events": [late]}).json()["accepted"] == 1
    assert [row["value"] for row in runtime.log.customer_events("bo").to_pylist() if row["event_id"] == "c4"] == [7.0]
