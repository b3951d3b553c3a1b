"""What a page may do: the snippet's own requests are taken; whatever else somebody does with its key is not."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from features.settings import Settings
from serving.access.gate import Gate
from serving.access.keys import Scope, create_key
from serving.api import create_app
from serving.runtime import Runtime

SHOP = "https://www.shop.example"
COOKIE = "Ab3-_" * 5
SNIPPET = Path(__file__).parents[3] / "serving" / "console" / "omni.js"


def event(number: int = 1, **fields: Any) -> dict[str, Any]:
    plain = {"event_id": f"b-{number:016d}", "kind": "view", "channel": "web", "product_id": "tea"}
    return {**plain, "identifiers": {"cookie": COOKIE}, **fields}


async def _ask(runtime: Runtime, calls: list[dict[str, Any]]) -> list[httpx.Response]:
    app = create_app(lambda: runtime)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http,
    ):
        return [await http.request(**call) for call in calls]


def ask(runtime: Runtime, *calls: dict[str, Any]) -> list[httpx.Response]:
    return asyncio.run(_ask(runtime, list(calls)))


def post(path: str, body: Any, key: str = "", **headers: str) -> dict[str, Any]:
    named = {"origin": SHOP, "sec-fetch-site": "cross-site"} | headers
    url = f"{path}?key={key}" if key else path
    return {"method": "POST", "url": url, "content": json.dumps(body), "headers": named}


def gate(home: Path, access: str) -> Gate:
    return Gate(Settings.from_env({"OMNI_HOME": str(home), "OMNI_ACCESS": access, "OMNI_CORS_ORIGINS": SHOP}))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def key(home: Path) -> str:
    return create_key(home, "shop", (Scope.BROWSER,), rate=1000.0).key


@pytest.fixture(params=["keys", "open"])
def shop(request: pytest.FixtureRequest, runtime: Runtime, home: Path, key: str) -> Runtime:
    """Held to the same, with its key and where nobody needs one."""
    runtime.gate = gate(home, request.param)
    return runtime


REFUSED: list[tuple[dict[str, Any], str]] = [
    (event(identifiers={"cookie": COOKIE, "email": "ada@example.org"}), "identifiers"),
    (event(identifiers={"email": "ada@example.org"}), "identifiers"),
    (event(identifiers={"cookie": "1"}), "identifiers"),
    (event(customer_id="ada"), "customer_id"),
    (event(kind="purchase"), "kind"),
    (event(kind="identify"), "kind"),
    (event(kind="subscribe"), "kind"),
    (event(kind="decision", decision_id="d-1"), "kind"),
    (event(channel="store"), "channel"),
    (event(value=1e6), "value"),
    (event(occurred_at="2020-01-01T00:00:00Z"), "occurred_at"),
    (event(properties={"a": 1}), "properties"),
    (event(event_id="order-17"), "event_id"),
    (event(event_id="b-1"), "event_id"),
    (event(kind="nonsense"), "kind"),
    (event(product_id=None), "product_id"),
]


@pytest.mark.parametrize(("item", "field"), REFUSED, ids=[f"{field}-{n}" for n, (_, field) in enumerate(REFUSED)])
def test_what_a_page_may_not_say(shop: Runtime, key: str, item: dict[str, Any], field: str) -> None:
    good = event(2)
    (response,) = ask(shop, post("/v1/events", [item, good], key))
    answer = response.json()
    assert (response.status_code, answer["accepted"], answer["last_seq"]) == (200, 1, 0)
    assert [(each["index"], each["field"]) for each in answer["rejected"]] == [(0, field)]


def test_a_page_asks_for_the_products_of_its_own_cookie(shop: Runtime, key: str) -> None:
    joined = {"event_id": "login-1", "kind": "identify", "channel": "web", "customer_id": "ada"}
    (joined["identifiers"], calls) = ({"cookie": COOKIE}, [{"method": "POST", "url": "/v1/events", "json": [joined]}])  # type: ignore[assignment]
    shop.gate, ours = Gate(), shop.gate
    assert ask(shop, *calls)[0].json()["accepted"] == 1
    shop.gate = ours
    (response,) = ask(
        shop, post("/v1/next-products", {"identifiers": {"cookie": COOKIE}, "k": 2, "explain": True}, key)
    )
    answer = response.json()
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == SHOP
    assert answer["customer"]["customer_id"] == "visitor"
    assert len(answer["products"]) == 2 and all(product["reasons"] == [] for product in answer["products"])
    assert answer["feature_age_s"] is None and "ada" not in response.text


@pytest.mark.parametrize(
    "who",
    [
        {"customer_id": "ada"},
        {"customer_id": "ada", "identifiers": {"cookie": COOKIE}},
        {"identifiers": {"email": "ada@example.org"}},
        {"identifiers": {"cookie": COOKIE, "email": "ada@example.org"}},
        {"identifiers": {"cookie": "ada"}},
    ],
)
def test_a_page_asks_about_nobody_else(shop: Runtime, key: str, who: dict[str, Any]) -> None:
    (response,) = ask(shop, post("/v1/next-products", who, key))
    assert (response.status_code, response.json()["error"]["code"]) == (403, "not_for_pages")


def test_a_page_does_nothing_else(shop: Runtime, key: str) -> None:
    who = {"identifiers": {"cookie": COOKIE}}
    calls = [post(f"/v1/{what}", who, key) for what in ("churn", "best-channel", "decide")]
    calls += [
        {"method": method, "url": f"{path}?key={key}", "headers": {"origin": SHOP}}
        for method, path in (
            ("GET", f"/v1/customers/cookie:{COOKIE}"),
            ("DELETE", f"/v1/customers/cookie:{COOKIE}"),
            ("GET", "/v1/models"),
            ("GET", "/metrics"),
        )
    ]
    for response in ask(shop, *calls):
        assert (response.status_code, response.json()["error"]["code"]) == (403, "missing_scope"), response.url


def test_a_page_sends_no_more_than_a_beacon_holds(shop: Runtime, key: str) -> None:
    many, large = ask(
        shop,
        post("/v1/events", [event(number) for number in range(101)], key),
        post("/v1/events", [event(session_id="x" * 70_000)], key),
    )
    assert (many.status_code, many.json()["error"]["code"]) == (413, "too_many_events")
    assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")


def test_other_origins_are_refused(shop: Runtime, key: str) -> None:
    answers = ask(
        shop,
        *(
            post("/v1/events", [event()], key, origin=origin)
            for origin in ("https://evil.example", "null", "https://www.shop.example.evil.example")
        ),
    )
    for response in answers:
        assert (response.status_code, response.json()["error"]["code"]) == (403, "cross_site")
        assert "access-control-allow-origin" not in response.headers


def test_a_browser_that_asks_beforehand_is_told(shop: Runtime) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    ours, other, plain = ask(
        shop,
        {"method": "OPTIONS", "url": "/v1/next-products", "headers": {"origin": SHOP, **asks}},
        {"method": "OPTIONS", "url": "/v1/next-products", "headers": {"origin": "https://evil.example", **asks}},
        {"method": "OPTIONS", "url": "/v1/next-products", "headers": {"origin": SHOP}},
    )
    assert (ours.status_code, ours.headers["access-control-allow-origin"]) == (204, SHOP)
    assert "authorization" in ours.headers["access-control-allow-headers"]
    assert "Origin" in ours.headers["vary"]
    assert (other.status_code, "access-control-allow-origin" in other.headers) == (405, False)
    assert plain.status_code == 405


def test_a_back_office_of_an_allowed_origin_asks_with_its_key(runtime: Runtime, home: Path) -> None:
    runtime.gate = gate(home, "keys")
    key = create_key(home, "office", (Scope.ASK,)).key
    call = post("/v1/churn", {"customer_id": "ada"}, authorization=f"Bearer {key}")
    assert ask(runtime, call)[0].status_code == 200


HARNESS = """
const fs = require("node:fs"), vm = require("node:vm");
const sent = [];
const answer = {products: [{product_id: "tea"}], decision_id: "d-1", customer: {customer_id: "visitor"}};
const jar = new Map();
const document = {
  currentScript: {src: "https://omni.example/base/omni.js?v=2", dataset: {key: "THEKEY"}},
  get cookie() { return [...jar].map(([name, value]) => `${name}=${value}`).join("; "); },
  set cookie(line) {
    const [pair, ...rest] = line.split("; "), [name, value] = pair.split("=");
    if (rest.includes("Max-Age=0")) jar.delete(name); else jar.set(name, value);
    sent.push({cookie: line});
  },
};
let beacons = true, ok = true;
const navigator = {sendBeacon: (url, body) => { if (beacons) sent.push({how: "beacon", url, body}); return beacons; }};
const fetch = async (url, options) => {
  sent.push({how: "fetch", url, ...options, signal: undefined});
  if (ok === null) throw new Error("offline");
  return {ok, json: async () => answer};
};
const window = {}, location = {protocol: "https:"};
vm.runInNewContext(fs.readFileSync(process.argv[2], "utf8"), {
  document, navigator, fetch, window, location, crypto, btoa, AbortSignal, Object, JSON, encodeURIComponent,
});
(async () => {
  const omni = window.omni, out = {};
  out.before = [omni.view("tea"), await omni.nextProducts({k: 2}), sent.length];
  omni.consent(true);
  omni.consent(true);
  omni.visit(); omni.view("tea"); omni.search(); omni.addToCart("tea", 2); omni.removeFromCart("tea");
  omni.impression("tea", "d-1"); omni.click("tea", "d-1");
  beacons = false;
  omni.view("milk");
  out.products = await omni.nextProducts({k: 2});
  ok = false; out.refused = await omni.nextProducts();
  ok = null; out.offline = await omni.nextProducts();
  omni.consent(false);
  out.after = [omni.view("tea"), jar.size];
  console.log(JSON.stringify({...out, sent}));
})();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_snippet_sends_what_the_service_takes(runtime: Runtime, home: Path, key: str, tmp_path: Path) -> None:
    runtime.gate = gate(home, "keys")
    harness = tmp_path / "harness.js"
    harness.write_text(HARNESS.replace("THEKEY", key))
    run = subprocess.run(["node", harness, SNIPPET], capture_output=True, text=True, check=True, timeout=60)
    done = json.loads(run.stdout)
    nothing = {"products": [], "decision_id": None}
    assert done["before"] == [False, nothing, 0]  # without consent nothing is stored, sent or asked
    assert done["products"] == {"products": [{"product_id": "tea"}], "decision_id": "d-1"}
    assert (done["refused"], done["offline"], done["after"]) == (nothing, nothing, [False, 0])
    cookies = [each["cookie"] for each in done["sent"] if "cookie" in each]
    assert len(cookies) == 2 and "SameSite=Lax" in cookies[0] and "Secure" in cookies[0] and "Max-Age=0" in cookies[1]

    requests = [each for each in done["sent"] if "url" in each]
    assert [each["how"] for each in requests] == ["beacon"] * 7 + ["fetch"] * 4
    calls = [post(each["url"].removeprefix("https://omni.example/base"), json.loads(each["body"])) for each in requests]
    answers = ask(runtime, *calls)
    assert [response.status_code for response in answers] == [200] * len(calls)
    kept = [response.json() for response in answers[:8]]
    assert [(each["accepted"], each["rejected"]) for each in kept] == [(1, [])] * 8
    bodies = [json.loads(each["body"]) for each in requests]
    kinds = [body["events"][0]["kind"] for body in bodies[:8]]
    assert kinds == ["visit", "view", "search", "add_to_cart", "remove_from_cart", "impression", "click", "view"]
    assert len({body["events"][0]["event_id"] for body in bodies[:8]}) == 8
    names = {json.dumps(body.get("identifiers") or body["events"][0]["identifiers"]) for body in bodies}
    assert len(names) == 1 and runtime.log.resolve(None, json.loads(names.pop())) is not None
