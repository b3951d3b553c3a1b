"""Many ask about the same few customers at once, by two services on one log: no cap is ever exceeded, nor a volume."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_servers import postgres_server

from features.log.event_log import EventLog
from features.log.postgres import PostgresEventLog
from features.log.sqlite import SqliteEventLog
from features.online.live import LiveStates, NobodyStored
from features.vocabulary import Channel
from serving.decision.rules import Cap, Rules, Volume
from serving.runtime import Runtime

NOW_US = 1_709_294_580_000_000
CUSTOMERS = [f"c{number}" for number in range(10)]
CLIENTS, QUESTIONS = 32, 4
VOLUME = 15
RULES = Rules(
    overall_cap=Cap(max=2, days=7),
    opt_in_channels=(),
    volume={Channel.POST: Volume(per_day=VOLUME)},
    exploration=0.5,
    product_rest_days=0.0,
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def open_log(request: Any, tmp_path: Path) -> Callable[[], EventLog]:
    if request.param == "sqlite":
        return lambda: SqliteEventLog(tmp_path / "both.db")
    url = request.getfixturevalue("postgres")
    return lambda: PostgresEventLog(url)


def events() -> list[dict[str, Any]]:
    fields = {
        "occurred_at": "2024-02-01T10:00:00Z",
        "kind": "purchase",
        "channel": "store",
        "product_id": "tea",
        "value": 4.0,
    }
    bought = [{"event_id": f"b-{name}", "customer_id": name, **fields} for name in CUSTOMERS]
    said = {"kind": "subscribe", "channel": "email", "product_id": None, "value": None}
    return bought + [{**row, **said, "event_id": f"y-{row['customer_id']}"} for row in bought]


async def ask_all(runtimes: list[Runtime]) -> Counter[int]:
    from serving.api import create_app

    statuses: Counter[int] = Counter()
    async with AsyncExitStack() as stack:
        clients = []
        for runtime in runtimes:
            app = create_app(lambda runtime=runtime: runtime)  # type: ignore[misc]
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app)
            clients.append(await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://t")))
        assert (await clients[0].post("/v1/events", json=events())).status_code == 200

        async def browse(number: int) -> None:
            dice = random.Random(number)
            for _ in range(QUESTIONS):
                channels = dice.sample(["email", "post"], dice.randint(1, 2))
                asked = {
                    "customer_id": dice.choice(CUSTOMERS),
                    "channels": channels,
                    "timeout_ms": 20_000,
                    "when": "now",
                }
                answer = await clients[number % len(clients)].post("/v1/decide", json=asked)
                statuses[answer.status_code] += 1

        await asyncio.gather(*map(browse, range(CLIENTS)))
    return statuses


def test_no_cap_is_exceeded_however_many_ask_at_once(runtime: Runtime, open_log: Callable[[], EventLog]) -> None:
    with ExitStack() as stack:
        runtimes = []
        for _ in range(2):
            log = open_log()
            stack.callback(log.close)
            known = replace(runtime.knowledge, states=LiveStates(NobodyStored(), log))
            runtimes.append(Runtime(log, runtime.clock, RULES, known))
        statuses = asyncio.run(ask_all(runtimes))
        log = open_log()
        stack.callback(log.close)
        held = log.ledger().held_many(CUSTOMERS, NOW_US)
        used = log.ledger().used(["volume:post:2024-03-01"])["volume:post:2024-03-01"]
        reserved = [one for each in held.values() for one in each.reservations]
        assert statuses.keys() <= {200, 429} and statuses[200] > CLIENTS  # 429: too many at once
        assert max(len(each.reservations) for each in held.values()) == 2
        assert sum(one.channel == "post" for one in reserved) == used <= VOLUME
        assert log.known_ids([one.decision_id for one in reserved]) == {one.decision_id for one in reserved}
