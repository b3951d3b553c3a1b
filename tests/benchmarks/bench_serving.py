"""How fast one customer is answered: inside one process, and over loopback HTTP against a running service.

    omni demo && python tests/benchmarks/bench_serving.py    # needs trained champions; OMNI_CLOCK_START stands after the data
    python tests/benchmarks/bench_serving.py --in-process    # without a service; what has no champion is left out

`best_channel_answer` and `churn_answer` are the whole answers of /v1/best-channel and /v1/churn, from the customer's id to the
JSON: the state is read and brought level with the log, signals are computed, all boosters walked, effects, rules and chances
applied. In one process the online store is as far behind the log as the last build or service left it.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np

from features.clock import Clock
from features.events.schema import parse_table
from features.log.engines import open_log
from features.offline.timeline import read_timeline
from features.online.checkpoint import Checkpoint
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.settings import Settings
from features.signals import compute_signals
from features.vocabulary import Columns
from serving.answers import Answers, Knowledge
from serving.products.catalogue import load_catalogue
from serving.runtime import house_rules
from serving.schemas import BestChannelRequest, ChurnRequest
from serving.scorers.bundle import Bundle
from serving.scorers.registry import mlflow_fetch, next_bundle
from serving.supervisor import start_service

CALLS = 500
WARM_UP = 50
CUSTOMERS = 200


def timed(call: Callable[[int], object]) -> dict[str, float]:
    """Median and 99th percentile of CALLS calls in milliseconds, after WARM_UP others."""
    taken = []
    for i in range(WARM_UP + CALLS):
        started = time.perf_counter()
        call(i)
        taken.append((time.perf_counter() - started) * 1000)
    return {f"p{q}_ms": round(float(np.percentile(taken[WARM_UP:], q)), 3) for q in (50, 99)}


def in_process(settings: Settings, customers: list[str]) -> dict[str, Any]:
    """The parts of an answer, one after the other."""
    reader, log = OnlineReader(settings), open_log(settings)
    live = LiveStates(reader, log)
    bundle = next_bundle(Bundle(), mlflow_fetch(settings))
    state = live.get(customers[0])
    assert state is not None
    as_of = np.array([state.last_event_s + 86_400])
    signals = compute_signals(state.state, as_of)
    knowledge = Knowledge(bundle, load_catalogue(settings.products_path, settings.stock_path), states=live)
    answers = Answers(log, Clock.from_settings(settings), house_rules(settings), lambda: knowledge)

    def best_channel(i: int) -> str:
        return answers.best_channel(BestChannelRequest(customer_id=customers[i % len(customers)])).model_dump_json()

    def churn_risk(i: int) -> str:
        return answers.churn(ChurnRequest(customer_id=customers[i % len(customers)])).model_dump_json()

    report: dict[str, Any] = {
        "read_state": timed(lambda i: reader.read_state(customers[i % len(customers)])),
        "read_state_without_products": timed(lambda i: reader.read_state(customers[i % len(customers)], False)),
        "live_state": timed(lambda i: live.get(customers[i % len(customers)])),
        "signals": timed(lambda i: compute_signals(state.state, as_of)),
    }
    if (churn := bundle.churn) is not None:
        report["score_churn"] = timed(lambda i: churn.booster.probability(signals))
        report["churn_answer"] = timed(churn_risk)
    if (product := bundle.product) is not None:
        report["score_next_products"] = timed(lambda i: product.rank(product.score(state.state, as_of)))
    if (channel := bundle.channel) is not None:
        report["best_channel_arms"] = len(channel.arms)
        report["score_best_channel"] = timed(lambda i: channel.probabilities(signals))
        report["score_effects"] = timed(lambda i: channel.gains(signals))
        report["best_channel_answer"] = timed(best_channel)
    log.close()
    return report


def over_http(url: str, customers: list[str], moment: str) -> dict[str, Any]:
    """One request at a time over one connection; `noop` is the share of each that any request costs."""
    report: dict[str, Any] = {}
    with httpx.Client(base_url=url, timeout=30) as http:

        def ask(path: str, body: Callable[[int], dict[str, Any]]) -> Callable[[int], None]:
            def call(i: int) -> None:
                answer = http.post(path, json=body(i))
                assert answer.status_code == 200, answer.text

            return call

        report["noop"] = timed(lambda _: http.get("/livez"))
        for path in ("next-products", "churn", "best-channel", "decide"):
            customer = ask(f"/v1/{path}", lambda i: {"customer_id": customers[i % len(customers)]})
            report[path] = timed(customer)
        report["one_event"] = timed(
            ask(
                "/v1/events",
                lambda i: {
                    "event_id": f"bench-{time.time_ns()}",
                    "occurred_at": moment,
                    "kind": "view",
                    "channel": "web",
                    "customer_id": customers[i % len(customers)],
                    "product_id": "bench",
                },
            )
        )
    return report


def wait_for_stream(settings: Settings, timeout_s: float = 180) -> None:
    """Wait until the stream is up and level with the log: while it imports Feast it takes a core from the service."""
    log, checkpoint = open_log(settings), Checkpoint(settings)
    deadline = time.monotonic() + timeout_s
    mark = {"event_id": f"bench-{time.time_ns()}", "kind": "visit", "channel": "web", "customer_id": "bench"}
    log.append(parse_table([mark], Clock.from_settings(settings).now())[0])  # only a stream that runs gets past it
    while checkpoint.read() < log.last_seq():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the stream does not follow: see {settings.home / 'bench_service.log'}")
        time.sleep(0.2)
    log.close()


def main() -> None:
    """Print one JSON object. The events and decisions that it makes stay in the log of OMNI_HOME."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-process", action="store_true")
    args = parser.parse_args()
    settings = Settings.from_env(os.environ)
    timeline = read_timeline(settings, [Columns.CUSTOMER_ID, Columns.OCCURRED_AT])
    ids = timeline[Columns.CUSTOMER_ID].unique().to_pylist()
    customers = np.random.default_rng(3).choice(ids, min(CUSTOMERS, len(ids)), replace=False).tolist()
    newest = max(timeline[Columns.OCCURRED_AT].slice(timeline.num_rows - 1).to_pylist())
    report: dict[str, Any] = {"cores": os.cpu_count(), "in_process": in_process(settings, customers)}
    if args.in_process:
        print(json.dumps(report, indent=2))
        return
    service = start_service(settings, port=0, log_file=settings.home / "bench_service.log")
    try:
        service.wait_ready(180)
        wait_for_stream(settings)
        report["http"] = over_http(service.url, customers, newest.isoformat())
    finally:
        service.stop()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
