"""What offers cost a decision: CPU of one customer's decision without any, and with 10 and 200, in one process, in turns.

    PYTHONPATH=. python tests/benchmarks/offers/bench_decide_with_offers.py    # no home needed; about a minute

5,000 products in 40 categories, 9 ways on 5 channels with real trees, customers with a few purchases; scores of products are
drawn, so the network's own time is not in it. Rounds go in turns, so that what the machine does besides falls on all alike;
medians are told.
"""

import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "serving"))
from conftest import booster, card

from features.events.schema import events_to_table, parse_events
from features.log.lists.offer_table import KeptOffers
from features.log.sqlite import SqliteEventLog
from features.offers.offer import Offer
from features.online.live import LiveStates, NobodyStored
from features.scoring.next_product import ProductFiles
from features.state.event_arrays import product_code
from features.vocabulary import Channel, Task
from serving.decider import Decider
from serving.decision.rules import Arm, Rules
from serving.decision.send_time import uniform_hours
from serving.offers.in_force import OffersInForce
from serving.offers.shelf import OfferShelf
from serving.products.catalogue import Catalogue
from serving.products.product_rows import ProductInfo
from serving.schemas import DecideRequest
from serving.scorers.best_channel import ChannelScorer
from serving.scorers.booster import BoosterScorer
from serving.scorers.bundle import Bundle
from serving.scorers.churn import ChurnScorer
from serving.scorers.next_product import ProductScorer

N_PRODUCTS, N_CATEGORIES, N_CUSTOMERS, ROUNDS = 5_000, 40, 40, 7
NOW = datetime(2024, 3, 1, 12, 3, tzinfo=UTC)
CHANNELS = (Channel.EMAIL, Channel.PUSH, Channel.SMS, Channel.WEB, Channel.STORE)
ARMS = tuple(Arm(f"{channel.value}_{part}", channel, 0.01) for channel in CHANNELS for part in ("a", "b"))[:9]
RULES = Rules(opt_in_channels=(), temperature=0.5)


class DrawnScores:
    """Scores that hang on nothing but the product."""

    def __init__(self) -> None:
        self.row = np.random.default_rng(3).normal(size=N_PRODUCTS + 1).astype(np.float32)
        self.row[0] = -np.inf

    def run(self, _: list[str] | None, inputs: dict[str, Any]) -> list[np.ndarray]:
        return [np.tile(self.row, (len(inputs["habit_item"]), 1))]


def bundle() -> tuple[Bundle, Catalogue]:
    ids = tuple(f"p{number}" for number in range(N_PRODUCTS))
    infos = {name: ProductInfo(name, name, f"category {n % N_CATEGORIES}", 1.0 + n % 90) for n, name in enumerate(ids)}
    channel = ChannelScorer(card(Task.BEST_CHANNEL), ARMS, tuple(BoosterScorer(booster(0.3), arm.name) for arm in ARMS))
    churn = ChurnScorer(card(Task.CHURN), BoosterScorer(booster(0.3), "churn"), 28.0)
    product = ProductScorer(card(Task.NEXT_PRODUCT), ProductFiles(ids, DrawnScores()))
    codes = dict(zip(product_code(list(ids)).tolist(), ids, strict=True))
    return Bundle(churn=churn, channel=channel, product=product), Catalogue(infos, codes)


def shelf(n_offers: int) -> OffersInForce:
    offers = {}
    for n in range(n_offers):
        about: dict[str, Any] = {"categories": [f"category {n % N_CATEGORIES}"]} if n % 5 else {"promotes": "nothing"}
        where = {"where": "churn_probability > 0.1"} if n % 10 == 1 else {}
        offers[f"o{n:03d}"] = Offer.model_validate(
            {"offer_id": f"o{n:03d}", "value": 3.0 + n % 17, "tags": [f"t{n % 7}"], **about, **where}
        )
    return OffersInForce(OfferShelf.of(KeptOffers(1, offers)))


def customers(log: SqliteEventLog) -> None:
    rng, items = np.random.default_rng(1), []
    for number in range(N_CUSTOMERS * 12):
        items.append(
            {
                "event_id": f"e{number}",
                "occurred_at": NOW - timedelta(days=float(rng.uniform(1, 200))),
                "kind": "purchase",
                "channel": "web",
                "customer_id": f"c{number % N_CUSTOMERS}",
                "product_id": f"p{int(rng.integers(N_PRODUCTS))}",
                "value": 5.0,
            }
        )
    events, refused = parse_events(items, NOW)
    assert not refused
    log.append(events_to_table(events))


def main() -> None:
    models, catalogue = bundle()
    with TemporaryDirectory() as folder:
        log = SqliteEventLog(Path(folder) / "events.db")
        customers(log)
        states = LiveStates(NobodyStored(), log)
        lives = [live for n in range(N_CUSTOMERS) if (live := states.get(f"c{n}")) is not None]
        plain = Decider(models, catalogue, RULES, uniform_hours())
        cases = {"without": plain} | {f"{n} offers": replace(plain, offers=shelf(n)) for n in (1, 10, 200)}
        took: dict[str, list[float]] = {f"{name}{how}": [] for name in cases for how in ("", ", unexplained")}
        for turn in range(ROUNDS + 1):
            for name, decider in cases.items():
                for how, explain in (("", True), (", unexplained", False)):
                    request = DecideRequest(customer_id="*", when="best", explain=explain)
                    began = time.process_time()
                    for live in lives:
                        decider.decide(live, request, NOW)
                    if turn:  # the first compiles and fills what is kept
                        took[f"{name}{how}"].append((time.process_time() - began) / len(lives) * 1e6)
        log.close()
    print(json.dumps({name: round(float(np.median(of_case))) for name, of_case in took.items()}, indent=2))
    print("microseconds of CPU per decision, medians of", ROUNDS, "rounds")


if __name__ == "__main__":
    main()
