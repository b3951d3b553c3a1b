"""Who is let in: by key, scope, place and rate; made and revoked keys count while the gate stands."""

import base64
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from features.settings import Settings
from serving.access import gate as gates
from serving.access.gate import BROWSER_RATE, BROWSER_ROUTES, NEEDS, Caller, Gate
from serving.access.keys import KEYS_FILE, Scope, create_key, revoke_key
from serving.problems import ApiError


def settings(home: Path, **env: str) -> Settings:
    return Settings.from_env({"OMNI_HOME": str(home), "OMNI_ACCESS": "keys", **env})


def ask(
    gate: Gate, key: str = "", route: str = "/v1/churn", method: str = "POST", peer: str = "192.0.2.1", **more: Any
) -> Caller:
    scope = {"method": method, "client": (peer, 1), "server": ("192.0.2.9", 3000), "query_string": b"", **more}
    told: Mapping[bytes, bytes] = {b"authorization": b"Bearer " + key.encode()} if key else {}
    return gate.admit(scope, told, route)


def refused(gate: Gate, *given: Any, **more: Any) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        ask(gate, *given, **more)
    return caught.value.status, caught.value.problem.code


def test_without_settings_anybody_may_do_anything_but_keep_books() -> None:
    for method, route in NEEDS:
        assert not ask(Gate(), method=method, route=route).keeps_books


def test_each_scope_opens_its_routes_and_no_other(tmp_path: Path) -> None:
    keys = {scope: create_key(tmp_path, scope.value, (scope,)).key for scope in Scope}
    gate = Gate(settings(tmp_path))
    opened = {
        scope: {f"{method} {route}" for (method, route) in NEEDS if _opens(gate, key, method, route)}
        for scope, key in keys.items()
    }
    assert opened[Scope.INGEST] == {"POST /v1/events"}
    read_offers = {"GET /v1/offers", "GET /v1/offers/{offer_id}"}
    assert opened[Scope.DECIDE] == {"POST /v1/decide", "GET /v1/models"} | read_offers
    assert opened[Scope.OFFERS] == read_offers | {
        "PUT /v1/offers/{offer_id}",
        "DELETE /v1/offers/{offer_id}",
        "GET /v1/suppressions",
        *(f"{method} /v1/suppressions/{{name}}" for method in ("GET", "PUT", "DELETE")),
        "PUT /v1/products",
        "PUT /v1/stock",
    }
    assert opened[Scope.ERASE] == {"DELETE /v1/customers/{customer_id}"}
    assert opened[Scope.METRICS] == {"GET /metrics", "GET /readyz", "GET /v1/models"}
    assert opened[Scope.BROWSER] == {f"POST {route}" for route in BROWSER_ROUTES}
    assert opened[Scope.BOOKKEEPING] == set()
    assert opened[Scope.ADMIN] == {f"{method} {route}" for method, route in NEEDS}
    assert "POST /v1/churn" in opened[Scope.ASK] and not opened[Scope.ASK] & (
        opened[Scope.INGEST] | opened[Scope.ERASE]
    )
    assert refused(gate, keys[Scope.ASK], route="/v1/what-comes-next") == (403, "missing_scope")


def _opens(gate: Gate, key: str, method: str, route: str) -> bool:
    try:
        ask(gate, key, route, method)
    except ApiError as error:
        assert error.status == 403
        return False
    return True


def test_no_key_and_a_wrong_key_are_told_apart(tmp_path: Path) -> None:
    key = create_key(tmp_path, "a", (Scope.ASK,)).key
    gate = Gate(settings(tmp_path))
    assert ask(gate, key).name == "a"
    assert refused(gate) == (401, "no_key")
    wrong = (key[:-1], key + "x", key.replace("omni_", "omni_0"), "omni_", "omni_a_b", "token", "ä")
    assert {refused(gate, each) for each in wrong} == {(401, "unknown_key")}


def test_a_key_may_come_in_its_own_header(tmp_path: Path) -> None:
    key = create_key(tmp_path, "a", (Scope.ASK,)).key
    scope = {"method": "POST", "query_string": b"key=" + key.encode()}
    gate = Gate(settings(tmp_path))
    assert gate.admit(scope, {b"x-api-key": key.encode()}, "/v1/churn").name == "a"
    both = {b"x-api-key": key.encode(), b"authorization": b"Basic Z2F0ZXdheTpzZWNyZXQ="}  # of a gateway before us
    assert gate.admit(scope, both, "/v1/churn").name == "a"
    with pytest.raises(ApiError, match="needs a key"):  # what is a secret does not count in an address
        gate.admit(scope, {}, "/v1/churn")


def test_a_webhook_may_send_a_key_as_its_password(tmp_path: Path) -> None:
    key = create_key(tmp_path, "tool", (Scope.INGEST,)).key
    gate, scope = Gate(settings(tmp_path)), {"method": "POST", "query_string": b"format=segment"}
    for pair in (f"any:{key}", f"{key}:", key):
        told = {b"authorization": b"Basic " + base64.b64encode(pair.encode())}
        assert gate.admit(scope, told, "/v1/events").name == "tool"
    for bad in (b"Basic ???", b"Basic " + base64.b64encode(b"any:other")):
        with pytest.raises(ApiError) as caught:
            gate.admit(scope, {b"authorization": bad}, "/v1/events")
        assert caught.value.status == 401


def test_keys_that_are_made_and_revoked_count_while_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "LOOK_S", 0.0)
    first = create_key(tmp_path, "first", (Scope.ASK,)).key
    gate = Gate(settings(tmp_path))
    second = create_key(tmp_path, "second", (Scope.ASK,)).key
    assert ask(gate, second).name == "second"
    revoke_key(tmp_path, "first")
    assert refused(gate, first) == (401, "unknown_key")
    (tmp_path / KEYS_FILE).write_text("{")
    assert ask(gate, second).name == "second"  # a damaged file changes nothing
    (tmp_path / KEYS_FILE).unlink()
    assert refused(gate, second) == (401, "unknown_key")  # and one that is gone opens nothing
    assert refused(gate) == (401, "no_key")


def test_a_worker_that_starts_with_a_damaged_file_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "LOOK_S", 0.0)
    key = create_key(tmp_path, "a", (Scope.ASK,)).key
    whole = (tmp_path / KEYS_FILE).read_text()
    (tmp_path / KEYS_FILE).write_text(whole[:50])
    gate = Gate(settings(tmp_path))
    assert refused(gate, key) == (401, "unknown_key")
    (tmp_path / KEYS_FILE).write_text(whole)
    assert ask(gate, key).name == "a"


def test_a_key_that_has_expired_opens_nothing(tmp_path: Path) -> None:
    key = create_key(tmp_path, "a", (Scope.ASK,), days=-1.0).key
    assert refused(Gate(settings(tmp_path)), key) == (401, "unknown_key")


def test_the_settings_keys_count(tmp_path: Path) -> None:
    gate = Gate(settings(tmp_path, OMNI_ADMIN_KEY="an-admins-secret", OMNI_BOOKKEEPING_KEY="a-secret-of-the-home"))
    assert ask(gate, "an-admins-secret", "/v1/customers/{customer_id}", "DELETE").keeps_books
    assert refused(gate, "an-admins-secreT") == (401, "unknown_key")
    scope = {"method": "POST", "query_string": b""}
    books = {b"omni-bookkeeping-key": b"a-secret-of-the-home"}
    assert gate.admit(scope, books, "/v1/events").keeps_books
    with pytest.raises(ApiError, match="needs the scope ask"):
        gate.admit(scope, books, "/v1/churn")


def test_by_itself_it_demands_keys_of_connections_from_elsewhere(tmp_path: Path) -> None:
    gate = Gate(settings(tmp_path, OMNI_ACCESS="auto"))
    assert ask(gate, server=("127.0.0.1", 3000)).name == ""
    assert ask(gate, server=("::1", 3000)).name == ""
    assert ask(gate, server=("/run/omni.sock", None)).name == ask(gate, server=None).name == ""
    assert refused(gate, server=("192.0.2.9", 3000)) == (401, "no_key")


def test_where_nobody_needs_a_key_one_that_is_sent_counts(tmp_path: Path) -> None:
    key = create_key(tmp_path, "a", (Scope.ASK,)).key
    gate = Gate(settings(tmp_path, OMNI_ACCESS="open"))
    assert refused(gate, key, "/v1/decide") == (403, "missing_scope")
    assert refused(gate, key + "x") == (401, "unknown_key")
    assert ask(gate, "a-token-of-the-gateway").name == ""


def test_who_asks_too_often_is_told_when_to_ask_again(tmp_path: Path) -> None:
    fast, slow = (create_key(tmp_path, name, (Scope.ASK,), rate=rate).key for name, rate in (("f", None), ("s", 0.25)))
    gate = Gate(settings(tmp_path, OMNI_RATE_LIMIT="1000"))
    assert ask(gate, slow).name == "s"
    with pytest.raises(ApiError) as caught:
        ask(gate, slow)
    assert (caught.value.status, caught.value.problem.code, caught.value.retry_after_s) == (429, "rate_limited", 4)
    assert [ask(gate, fast).name for _ in range(20)] == ["f"] * 20


def test_visitors_of_a_page_have_a_rate_each(tmp_path: Path) -> None:
    key = create_key(tmp_path, "shop", (Scope.BROWSER,)).key
    gate = Gate(settings(tmp_path))
    at_once = int(2 * BROWSER_RATE)
    for _ in range(at_once):
        ask(gate, key, "/v1/events", peer="198.51.100.1")
    assert refused(gate, key, "/v1/events", peer="198.51.100.1") == (429, "rate_limited")
    assert ask(gate, key, "/v1/events", peer="198.51.100.2").is_public


def test_a_pages_key_may_come_in_the_address(tmp_path: Path) -> None:
    key = create_key(tmp_path, "shop", (Scope.BROWSER,)).key
    gate = Gate(settings(tmp_path))
    assert ask(gate, route="/v1/events", query_string=f"key={key}".encode()).is_public
    assert refused(gate, route="/v1/decide", query_string=f"key={key}".encode()) == (403, "missing_scope")


def test_the_file_keeps_its_mode_when_it_is_written_anew(tmp_path: Path) -> None:
    create_key(tmp_path, "a", (Scope.ASK,))
    create_key(tmp_path, "b", (Scope.ASK,))
    assert stat.S_IMODE((tmp_path / KEYS_FILE).stat().st_mode) == 0o600
