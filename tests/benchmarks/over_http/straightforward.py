"""The service that is written in an afternoon: Feast's SDK, a DataFrame, LightGBM and eager torch, BentoML as it comes.

It reads what `straightforward_store.py` made in the folder `OMNI_STRAIGHTFORWARD`: the champions of a home as they are,
and the columns that they read as a Feast view. Trees are asked without the blend and the calibration around them, effects,
rules, consents and reasons are left out, and a decision is one row in SQLite: everything that makes it slower is missing.
"""

import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import bentoml
import lightgbm
import numpy as np
import pandas as pd
import torch
from feast import FeatureStore
from pydantic import BaseModel

from training.models.next_product.network import NetworkSize, NextProductNet

FOLDER = Path(os.environ.get("OMNI_STRAIGHTFORWARD", "."))
INPUTS = (
    "item",
    "kind",
    "channel",
    "age_days",
    "habit_item",
    "habit_weight",
    "habit_age_days",
    "habit_gap_days",
    "habit_count",
)
VIEW = "customer"


class Product(BaseModel):
    """A product with its score."""

    product_id: str
    score: float


class Products(BaseModel):
    """The best products, best first."""

    customer_id: str
    products: list[Product]


class Churn(BaseModel):
    """The chance that a customer leaves."""

    customer_id: str
    probability: float


class Arm(BaseModel):
    """A way to reach a customer, and the chance of a response."""

    arm: str
    probability: float


class Channels(BaseModel):
    """Every way, best first."""

    customer_id: str
    arms: list[Arm]


class Decision(BaseModel):
    """The way and the product to send."""

    decision_id: str
    customer_id: str
    arm: str
    product: Product
    response_probability: float
    churn_probability: float
    arms: list[Arm]


class Trees:
    """A booster that is asked about one row of a DataFrame."""

    def __init__(self, file: Path) -> None:
        self.booster = lightgbm.Booster(model_file=str(file))
        self.names = self.booster.feature_name()

    def __call__(self, row: pd.DataFrame) -> float:
        # Feast answers None where a number is missing, and a column of that is of objects
        return float(self.booster.predict(row[self.names].to_numpy(np.float64))[0])


@bentoml.service(name="straightforward", workers=int(os.environ.get("OMNI_STRAIGHTFORWARD_WORKERS", "1")))
class Straightforward:
    """Four questions about one customer."""

    def __init__(self) -> None:
        self.store = FeatureStore(repo_path=str(FOLDER / "repository"))
        self.leaving = Trees(FOLDER / "churn.lgb")
        self.arms = {path.stem: Trees(path) for path in sorted((FOLDER / "arms").glob("*"))}
        self.of_arms = {name for trees in self.arms.values() for name in trees.names}
        self.product_ids = json.loads((FOLDER / "products.json").read_text())
        saved = torch.load(FOLDER / "network.pt", weights_only=True)
        self.net = NextProductNet(NetworkSize(**saved["size"]), saved["weights"]["log_popularity"])
        self.net.load_state_dict(saved["weights"])
        self.net.eval()
        with sqlite3.connect(FOLDER / "decisions.db") as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS decisions (id TEXT PRIMARY KEY, customer TEXT, said TEXT)")

    @bentoml.api(route="/v1/decide")
    def decide(self, customer_id: str, exclude: list[str] = []) -> Decision:  # noqa: B006  (as BentoML's pages write it)
        row = self._features(customer_id, {*self.of_arms, *self.leaving.names, *INPUTS})
        arms, (product, *_) = self._arms(row), self._products(row, 1, exclude)
        decision = Decision(
            decision_id=uuid.uuid4().hex,
            customer_id=customer_id,
            arm=arms[0].arm,
            product=product,
            response_probability=arms[0].probability,
            churn_probability=self.leaving(row),
            arms=arms,
        )
        with sqlite3.connect(FOLDER / "decisions.db", timeout=30) as connection:
            said = (decision.decision_id, customer_id, decision.model_dump_json())
            connection.execute("INSERT INTO decisions VALUES (?, ?, ?)", said)
        return decision

    @bentoml.api(route="/v1/next-products")
    def next_products(self, customer_id: str) -> Products:
        row = self._features(customer_id, INPUTS)
        return Products(customer_id=customer_id, products=self._products(row, 10, []))

    @bentoml.api(route="/v1/churn")
    def churn(self, customer_id: str) -> Churn:
        row = self._features(customer_id, self.leaving.names)
        return Churn(customer_id=customer_id, probability=self.leaving(row))

    @bentoml.api(route="/v1/best-channel")
    def best_channel(self, customer_id: str) -> Channels:
        return Channels(customer_id=customer_id, arms=self._arms(self._features(customer_id, self.of_arms)))

    def _features(self, customer_id: str, names: Iterable[str]) -> pd.DataFrame:
        wanted = [f"{VIEW}:{name}" for name in names]
        found = self.store.get_online_features(features=wanted, entity_rows=[{"customer_id": customer_id}])
        return found.to_df()

    def _arms(self, row: pd.DataFrame) -> list[Arm]:
        chances = {arm: trees(row) for arm, trees in self.arms.items()}
        return [Arm(arm=arm, probability=chances[arm]) for arm in sorted(chances, key=lambda arm: -chances[arm])]

    def _products(self, row: pd.DataFrame, k: int, exclude: Sequence[str]) -> list[Product]:
        inputs = [torch.from_numpy(np.array(row[name].tolist())) for name in INPUTS]
        inputs = [tensor.float() if tensor.is_floating_point() else tensor.long() for tensor in inputs]
        with torch.no_grad():
            scores = self.net(*inputs)[0, 1:].numpy()
        best = [at for at in np.argsort(-scores)[: k + len(exclude)] if self.product_ids[at] not in exclude][:k]
        return [Product(product_id=self.product_ids[at], score=float(scores[at])) for at in best]
