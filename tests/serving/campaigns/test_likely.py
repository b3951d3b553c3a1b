"""Who is likely to buy a product, a category or a brand: the network's softmax over its products."""

import numpy as np
import pytest

from features.errors import InputError
from features.log.sqlite import SqliteEventLog
from serving.campaigns.audience import audience_table
from serving.campaigns.likely import COLUMN, Wanted
from serving.runtime import Runtime


def likely(runtime: Runtime, text: str) -> float:
    return float(audience_table(runtime, ["ada"], wanted=Wanted.parse(text))[COLUMN].iloc[0])


def test_the_chances_of_all_categories_sum_to_one(runtime: Runtime) -> None:
    chances = {name: likely(runtime, f"category:{name}") for name in ("dairy", "Bakery", "drinks", "household")}
    assert sum(chances.values()) == pytest.approx(1.0)
    assert chances["drinks"] == max(chances.values())  # ada bought tea three times
    assert likely(runtime, "product:tea") == pytest.approx(chances["drinks"])


def test_it_is_the_softmax_of_the_scores(runtime: Runtime) -> None:
    live = runtime.knowledge.states.get("ada")  # type: ignore[union-attr]
    assert live is not None
    at_s = np.array([runtime.clock.now().timestamp()])
    scores = runtime.knowledge.bundle.need_product().score(live.scored, at_s).scores[0, 1:].astype(float)
    assert likely(runtime, "product:milk") == pytest.approx(np.exp(scores[0]) / np.exp(scores).sum())


def test_what_nobody_can_be_asked_about_is_refused(runtime: Runtime, log: SqliteEventLog) -> None:
    with pytest.raises(InputError, match="names no products"):
        Wanted.parse("wine")
    with pytest.raises(InputError, match="knows no brand 'Acme'"):
        likely(runtime, "brand:Acme")
    assert COLUMN not in audience_table(runtime, ["ada"]).columns
