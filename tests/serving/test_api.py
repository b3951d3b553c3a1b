"""The HTTP contract: what is asked is answered, what is wrong is told in one shape, and nothing sent in makes a 5xx."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import api, event_intake
from serving.runtime import Runtime

NOW = datetime(2024, 3, 1, 12, 3, tzinfo=UTC)
ADA = {"customer_id": "ada"}
BY_EMAIL = {"identifiers": {"email": "ada@example.org"}}
POSTS = ("/v1/events", "/v1/next-products", "/v1/churn", "/v1/best-channel", "/v1/decide")


def event(event_id: str, at: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "occurred_at": at, "kind": kind, "channel": "web", "customer_id": "ada", **fields}


def test_products_come_best_first_with_reasons(client: Any) -> None:
    answer = client.post("/v1/next-products", {**ADA, "k": 2}).json()
    assert [product["product_id"] for product in answer["products"]] == ["tea", "milk"]
    assert answer["products"][0]["name"] == "Green tea"
    assert answer["products"][0]["reasons"] == [
        "bought 3 times",
        "bought about every 20 days",
        "last bought 20 days ago: due",
    ]
    assert answer["models"] == {"next-product": "3"}
    assert answer["feature_age_s"] == 27 * 3600 + 180  # the cart of the day before, 09:00


@pytest.mark.parametrize(
    ("narrowed", "expected"),
    [
        ({"exclude": ["tea", "no-such-product"]}, ["milk", "bread", "soap"]),
        ({"categories": ["Bakery", "drinks"]}, ["tea", "bread"]),
        ({"categories": ["none"]}, []),
        ({"exclude_recent_days": 7}, ["tea", "bread", "soap"]),
        ({"exclude_recent_days": 30}, ["bread", "soap"]),
        ({"k": 1}, ["tea"]),
    ],
)
def test_products_can_be_narrowed(client: Any, narrowed: dict[str, Any], expected: list[str]) -> None:
    answer = client.post("/v1/next-products", {**ADA, **narrowed}).json()
    assert [product["product_id"] for product in answer["products"]] == expected


def test_products_that_rest_can_be_left_out(client: Any) -> None:
    sent = event("s1", "2024-02-29T10:00:00Z", "send", product_id="tea", channel="email")
    _, asked, all_of_them = client.run(
        ("POST", "/v1/events", sent),
        ("POST", "/v1/next-products", {**ADA, "exclude_resting": True}),
        ("POST", "/v1/next-products", ADA),
    )
    products = [[product["product_id"] for product in answer.json()["products"]] for answer in (asked, all_of_them)]
    assert products == [["milk", "bread", "soap"], ["tea", "milk", "bread", "soap"]]


def test_somebody_never_seen_gets_what_is_popular(client: Any) -> None:
    unknown, page = client.run(
        ("POST", "/v1/next-products", {"customer_id": "zed", "k": 1}), ("GET", "/v1/customers/zed", None)
    )
    assert unknown.json()["customer"] == {"customer_id": "zed", "known": False, "personal": True}
    assert unknown.json()["products"][0]["reasons"] == ["in the range"]  # nobody was counted in this process
    assert (unknown.json()["served_by"], unknown.json()["feature_age_s"]) == ("popularity", None)
    assert (page.status_code, page.json()["error"]["code"]) == (404, "customer_unknown")  # there is nothing to show


def test_an_answer_that_explores_is_in_the_log_with_its_chances(client: Any, runtime: Runtime) -> None:
    wanted = {**ADA, "k": 2, "explore_share": 0.3}
    first, again, plain = client.run(
        ("POST", "/v1/next-products", wanted),
        ("POST", "/v1/next-products", wanted),
        ("POST", "/v1/next-products", {**ADA, "k": 2}),
    )
    assert first.json() == again.json()
    assert plain.json()["decision_id"] is None
    rows = [row for batch in runtime.log.read(after_seq=6) for row in batch.to_pylist()]
    (logged,) = rows  # once, however often it was asked for
    assert logged["event_id"] == logged["decision_id"] == first.json()["decision_id"]
    places = json.loads(logged["properties"])["products"]
    assert [(place["product_id"], place["pscore"]) for place in places] == [
        (product["product_id"], product["pscore"]) for product in first.json()["products"]
    ]


def test_any_identifier_names_the_customer(client: Any) -> None:
    answers = client.run(*((("POST", path, BY_EMAIL)) for path in POSTS[1:]))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200]
    assert {answer.json()["customer"]["customer_id"] for answer in answers} == {"ada"}


def test_churn_explains_only_when_asked(client: Any) -> None:
    plain, explained = client.run(("POST", "/v1/churn", ADA), ("POST", "/v1/churn", {**ADA, "explain": True}))
    assert plain.json()["reasons"] == []
    assert plain.json()["churn_probability"] == explained.json()["churn_probability"]
    assert plain.json()["horizon_days"] == 28.0
    effects = [abs(reason["effect"]) for reason in explained.json()["reasons"]]
    assert effects == sorted(effects, reverse=True) and effects[0] > 0


def test_channels_are_ranked_and_refused_with_reasons(client: Any) -> None:
    before, _, after = client.run(
        ("POST", "/v1/best-channel", ADA),
        ("POST", "/v1/events", event("u1", NOW.isoformat(), "unsubscribe", channel="email")),
        ("POST", "/v1/best-channel", ADA),
    )
    assert (before.json()["best"], after.json()["best"]) == ("email_news", "post_a")
    assert [arm["arm"] for arm in after.json()["arms"]] == ["post_a", "nothing", "email_news"]
    assert after.json()["arms"][2]["reasons"] == ["the customer refused email"]


def test_an_event_counts_in_the_very_next_answer(client: Any) -> None:
    wanted = {**ADA, "k": 1}
    bought = [event("b0", NOW.isoformat(), "purchase", product_id="bread", value=2.5)]
    bought += [event(f"c{i}", f"2024-02-2{i}T10:00:00Z", "purchase", product_id="bread") for i in range(1, 6)]
    before, posted, after = client.run(
        ("POST", "/v1/next-products", wanted),
        ("POST", "/v1/events", {"events": bought}),
        ("POST", "/v1/next-products", wanted),
    )
    assert posted.json() == {
        "accepted": 6,
        "duplicates": 0,
        "conflicts": 0,
        "conflicting": [],
        "rejected": [],
        "erased": 0,
        "last_seq": 12,
    }
    assert before.json()["products"][0]["product_id"] == "tea"
    assert after.json()["products"][0]["product_id"] == "bread"
    assert after.json()["feature_age_s"] == 0.0


def test_a_batch_keeps_the_good_and_tells_the_bad(client: Any) -> None:
    good = event("g1", NOW.isoformat(), "view", product_id="tea")
    answer, again = client.run(
        ("POST", "/v1/events", [good, {**good, "event_id": "g2", "kind": "wink"}, 7, good]),
        ("POST", "/v1/events", good),
    )
    assert answer.status_code == 200
    found = answer.json()
    assert (found["accepted"], found["duplicates"]) == (1, 1)
    assert [(row["index"], row["field"], row["event_id"]) for row in found["rejected"]] == [
        (1, "kind", "g2"),
        (2, "event", None),
    ]
    assert again.json()["duplicates"] == 1


def test_one_event_that_is_hardly_json_does_not_cost_the_batch(client: Any) -> None:
    good = event("g1", NOW.isoformat(), "view", product_id="tea")
    odd = [
        {**good, "event_id": "nan", "value": float("nan")},
        {**good, "event_id": "inf", "properties": {"price": float("inf")}},
        {**good, "event_id": "half \ud800"},
        {**good, "event_id": "unknown", "\ud800": 1},
        {**good, "event_id": "list", "kind": "profile", "properties": {"preferred_channel": []}},
    ]
    for batch in ([good, *odd[:2]], [good, *odd]):  # without and with half a surrogate pair: two readers of JSON
        answer = client.post("/v1/events", json.dumps(batch).encode())
        assert (answer.status_code, answer.json()["accepted"] + answer.json()["duplicates"]) == (200, 1), answer.text
        found = [(row["index"], row["field"], row["event_id"]) for row in answer.json()["rejected"]]
        assert (
            found
            == [
                (1, "value", "nan"),
                (2, "properties", "inf"),
                (3, "event_id", "half ?"),
                (4, "?", "unknown"),
                (5, "properties", "list"),
            ][: len(batch) - 1]
        )


def test_requests_at_once_share_commits_and_hear_each_of_its_own(runtime: Runtime) -> None:
    groups: list[int] = []
    append_many = runtime.log.append_many

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(runtime.log, name)

        def append_many(self, tables: Any) -> Any:
            groups.append(len(tables))
            return append_many(tables)

    async def post_all() -> list[dict[str, Any]]:
        app = api.create_app(lambda: replace(runtime, log=Watched()))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t") as http,
        ):
            bodies = [event(f"g{i // 2}", NOW.isoformat(), "visit") for i in range(40)]  # each event twice
            return [answer.json() for answer in await asyncio.gather(*(http.post(POSTS[0], json=b) for b in bodies))]

    answers = asyncio.run(post_all())

    assert sum(groups) == 40 and len(groups) < 40
    assert sorted((one["accepted"], one["duplicates"]) for one in answers) == [(0, 1)] * 20 + [(1, 0)] * 20
    seqs = [row for batch in runtime.log.read(after_seq=6) for row in batch["seq"].to_pylist()]
    assert sorted(one["last_seq"] for one in answers if one["accepted"]) == seqs and len(seqs) == 20


def test_a_batch_of_only_bad_events_is_422(client: Any) -> None:
    answer = client.post("/v1/events", {"events": [{"kind": "view"}, "x"]})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "events_rejected"
    assert [row["index"] for row in answer.json()["error"]["details"]] == [0, 1]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/churn", b"", 400, "invalid_json"),
        ("/v1/churn", b"{", 400, "invalid_json"),
        ("/v1/churn", b"\xff\xfe", 400, "invalid_json"),
        ("/v1/churn", [], 422, "invalid_request"),
        ("/v1/churn", {}, 422, "invalid_request"),
        ("/v1/churn", {"customer_id": 7}, 422, "invalid_request"),
        ("/v1/churn", {"customer_id": ""}, 422, "invalid_request"),
        ("/v1/churn", {"customer_id": "a\u0000b"}, 422, "invalid_request"),
        ("/v1/churn", {"customer_id": "ada", "colour": "red"}, 422, "invalid_request"),
        ("/v1/next-products", {"customer_id": "ada", "k": 0}, 422, "invalid_request"),
        ("/v1/next-products", b'{"customer_id": "ada", "exclude_recent_days": NaN}', 422, "invalid_request"),
        ("/v1/decide", {"customer_id": "ada", "channels": ["pigeon"]}, 422, "invalid_request"),
        ("/v1/decide", {"identifiers": {"email": "undefined"}}, 422, "invalid_request"),
        ("/v1/events", b"[" * 100_000, 400, "invalid_json"),
        ("/v1/events", b'{"events": [{"value": NaN}]}', 422, "events_rejected"),
        ("/v1/events", b'["\\ud800"]', 422, "events_rejected"),
        ("/v1/events", b'["\\ud800"', 400, "invalid_json"),
        ("/v1/events", {"events": []}, 422, "invalid_request"),
        ("/v1/events", {"events": {}, "more": 1}, 422, "invalid_request"),
        ("/v1/events", b'{"events": [], "\\ud800": 1}', 422, "invalid_request"),
        ("/v1/events", 7, 422, "invalid_request"),
        ("/v1/events", b"[" + b" " * api.MAX_EVENTS_BODY_BYTES + b"]", 413, "too_large"),
        ("/v1/churn", b" " * (api.MAX_BODY_BYTES + 1), 413, "too_large"),
        ("/v1/events", [{}] * (event_intake.MAX_EVENTS + 1), 413, "too_many_events"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_shape(client: Any, path: str, body: Any, status: int, code: str) -> None:
    answer = client.post(path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"code", "message", "details"}


def test_a_field_that_is_wrong_is_named(client: Any) -> None:
    found = client.post("/v1/next-products", {"customer_id": "ada", "k": 101}).json()["error"]
    assert found["details"] == [{"field": "k", "reason": "Input should be less than or equal to 100"}]
    nobody = client.post("/v1/churn", {}).json()["error"]
    assert nobody["message"] == (
        "The request cannot be used: name the customer: give customer_id, or at least one of identifiers."
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["customer_id", "identifiers", "k", "exclude", "categories", "explain", "channels", "events", "asked_by"]
)
EVENT_FIELDS = st.sampled_from(
    [*("event_id", "occurred_at", "kind", "channel", "customer_id", "identifiers", "product_id"), "value", "properties"]
)
ALMOST = event("f1", "2024-02-01T00:00:00Z", "view", product_id="tea")
BODIES = (
    JSON
    | st.dictionaries(FIELDS, JSON, max_size=4).map(lambda found: {"customer_id": "ada", **found})
    | st.dictionaries(EVENT_FIELDS, JSON, max_size=3).map(lambda found: {**ALMOST, **found})
    | st.lists(st.dictionaries(EVENT_FIELDS, JSON, max_size=3).map(lambda found: {**ALMOST, **found}), max_size=3)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(BODIES, min_size=5, max_size=5), raw=st.binary(max_size=30))
def test_no_body_makes_a_5xx(client: Any, runtime: Runtime, bodies: list[Any], raw: bytes) -> None:
    runtime.close = lambda: None
    texts = [json.dumps(body).encode() for body in bodies]
    answers = client.run(
        *(("POST", path, text) for path, text in zip(POSTS, texts, strict=True)),
        *(("POST", path, raw) for path in POSTS),
    )
    for answer in answers:
        assert answer.status_code < 500, answer.text
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"code", "message", "details"}


def test_the_profile_shows_one_customer_over_all_channels(client: Any) -> None:
    plain, full, unknown, odd = client.run(
        ("GET", "/v1/customers/ada", None),
        ("GET", "/v1/customers/ada?signals=true", None),
        ("GET", "/v1/customers/zed", None),
        ("GET", "/v1/customers/ada?signals=perhaps", None),
    )
    found = plain.json()
    assert found["activity"] == {
        "web": {"purchase": 1},
        "app": {"add_to_cart": 1},
        "email": {"subscribe": 1},
        "store": {"purchase": 3},
    }
    assert found["consents"] == {"email": True}
    assert [(line["product_id"], line["quantity"], line["channel"]) for line in found["cart"]] == [("soap", 2.0, "app")]
    assert [touch["product_id"] for touch in found["recent"]] == ["soap", "milk", "tea", "tea", "tea"]
    assert found["purchases"]["occasions"] == 4.0
    assert found["signals"] is None
    assert full.json()["signals"]["view_7d"] == 0.0
    assert (unknown.status_code, odd.status_code) == (404, 422)


def test_a_path_names_the_customer_by_any_identifier_and_to_the_letter(client: Any) -> None:
    by_email, nobody, unclean, erased = client.run(
        ("GET", "/v1/customers/email:Ada@example.org", None),
        ("GET", "/v1/customers/email:no@example.org", None),
        ("GET", "/v1/customers/ada%0A", None),
        ("DELETE", "/v1/customers/ada%0A", None),
    )
    assert by_email.json()["customer"]["customer_id"] == "ada"
    assert nobody.status_code == 404
    assert (unclean.status_code, erased.status_code) == (422, 422)
    assert unclean.json()["error"]["message"].endswith("Control characters are not allowed: take them out.")


def test_metrics_count_what_happened(client: Any) -> None:
    # Counters may be shared over a process's apps (Feast switches Prometheus to that mode), so what counts is the rise.
    before, *_, after = client.run(
        ("GET", "/metrics", None),
        ("POST", "/v1/churn", ADA),
        ("POST", "/v1/churn", {}),
        ("POST", "/v1/events", [event("m1", NOW.isoformat(), "view", product_id="tea"), {}]),
        ("POST", "/v1/decide", ADA),
        ("GET", "/metrics", None),
    )
    for series in (
        'omni_requests_total{method="POST",route="/v1/churn",status="200"}',
        'omni_requests_total{method="POST",route="/v1/churn",status="422"}',
        'omni_events_total{outcome="accepted"}',
        'omni_events_total{outcome="rejected"}',
        'omni_request_seconds_count{route="/v1/decide"}',
    ):
        assert _sample(after.text, series) - _sample(before.text, series) == 1.0, series


def _sample(text: str, series: str) -> float:
    """The value of one series in Prometheus text; 0 where it is not there yet."""
    return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(series)), 0.0)


def test_the_console_and_the_documentation_are_served(client: Any) -> None:
    page, docs = client.run(("GET", "/", None), ("GET", "/docs.json", None))
    assert page.headers["content-type"].startswith("text/html")
    assert "/v1/decide" in docs.json()["paths"]


def test_two_apps_in_one_process_do_not_clash(client: Any) -> None:
    async def both() -> list[int]:
        first, second = await asyncio.gather(
            client.many(("GET", "/metrics", None)), client.many(("GET", "/metrics", None))
        )
        return [first[0].status_code, second[0].status_code]

    assert asyncio.run(both()) == [200, 200]


def test_who_refused_profiling_gets_what_somebody_unknown_gets(client: Any) -> None:
    refusal = {"event_id": "no", "occurred_at": "2024-03-01T12:00:00Z", "kind": "profile", "channel": "web"}
    ask: dict[str, Any] = {"customer_id": "ada"}
    told, products, stranger, churn, channel, decision, page = client.run(
        ("POST", "/v1/events", refusal | ask | {"properties": {"profiling": False, "consent": {"email": False}}}),
        ("POST", "/v1/next-products", ask),
        ("POST", "/v1/next-products", {"customer_id": "nobody", "allow_unknown": True}),
        ("POST", "/v1/churn", ask | {"explain": True}),
        ("POST", "/v1/best-channel", ask),
        ("POST", "/v1/decide", ask),
        ("GET", "/v1/customers/ada", None),
    )
    assert told.json()["accepted"] == 1
    assert products.json()["products"] == stranger.json()["products"]
    assert products.json()["customer"] == {"customer_id": "ada", "known": True, "personal": False}
    assert stranger.json()["customer"]["personal"] is True
    assert churn.json()["reasons"] == []
    assert "the customer refused email" in str(channel.json()["arms"])
    assert decision.json()["reasons"][0] == "the customer refused profiling: scored as somebody unknown"
    assert page.json()["consents"]["email"] is False
