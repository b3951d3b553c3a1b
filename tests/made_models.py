"""A folder of model files for every task, by the writers that training uses: small, and each file of each kind is there."""

import json
from collections.abc import Sequence
from pathlib import Path

import lightgbm
import numpy as np
import onnx
from made_companions import made_companions
from onnx import TensorProto, helper

from features.scoring.bg_nbd import Rates
from features.scoring.churn import SCORE_FILE as CHURN_FILE
from features.scoring.churn import ChurnScore
from features.scoring.effects import EffectScorer, TreeEffects
from features.scoring.item_tables import COMPANIONS_FILE
from features.scoring.model_inputs import INPUT_NAMES
from features.scoring.next_product import OUTPUT_NAME, VOCABULARY_FILE
from features.scoring.rerank import FEATURES, RANKER_FILE
from features.scoring.win_back import SCORE_FILE as WIN_BACK_FILE
from features.scoring.win_back import Lapsing, LinearEffect, WinBackScore
from features.signals import SIGNAL_NAMES
from features.vocabulary import NOTHING, Task

NAMES = SIGNAL_NAMES[:4]
PRODUCTS = ("milk", "bread", "tea", "soap", "cup", "pot")


def write_model(task: Task, folder: Path) -> Path:
    """The files of a good model of the task."""
    folder.mkdir(parents=True, exist_ok=True)
    {
        Task.CHURN: _churn,
        Task.BEST_CHANNEL: _best_channel,
        Task.NEXT_PRODUCT: _next_product,
        Task.WIN_BACK: _win_back,
    }[task](folder)
    (folder / "MLmodel").write_text("flavors: {}\nmetadata:\n  horizon_days: 28\n", encoding="utf-8")
    return folder


def trees(names: Sequence[str] = NAMES, objective: str = "binary", seed: int = 0) -> lightgbm.Booster:
    """Five small trees."""
    x = np.random.default_rng(seed).random((300, len(names)))
    data = lightgbm.Dataset(x, (x[:, 0] > 0.5).astype(float), feature_name=list(names))
    return lightgbm.train({"objective": objective, "verbose": -1, "num_leaves": 4, "num_threads": 1}, data, 5)


def churn_score(horizon_days: float = 28.0, slope: float = 1.0) -> ChurnScore:
    """Trees and BG/NBD, half each."""
    rates = Rates(0.5, 10.0, 0.8, 2.5)
    return ChurnScore(horizon_days, rates, Rates(0.5, 11.0, 0.8, 2.5, True), None, (0.5, 0.0, 0.5), slope, 0.0)


def graph(n_products: int, weight: float = 1.0) -> onnx.ModelProto:
    """A network whose scores are sums of the habits' weights."""
    ints = ("item", "kind", "channel", "habit_item")
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64 if name in ints else TensorProto.FLOAT, ["n", 128])
        for name in INPUT_NAMES
    ]
    with np.errstate(all="ignore"):  # a weight may be no number
        table = np.tile(np.arange(n_products + 1, dtype=np.float32), (128, 1)) * np.float32(weight)
    made = helper.make_graph(
        [helper.make_node("MatMul", ["habit_weight", "table"], [OUTPUT_NAME])],
        "habits",
        inputs,
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", n_products + 1])],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _churn(folder: Path) -> None:
    place = folder / "artifacts" / "churn"
    place.mkdir(parents=True)
    trees().save_model(str(place / "model.lgb"))
    trees(seed=1).save_model(str(place / "horizon_56.lgb"))
    (place / CHURN_FILE).write_text(churn_score().to_json(), encoding="utf-8")
    (place / "horizon_56.json").write_text(churn_score(56.0).to_json(), encoding="utf-8")


def _best_channel(folder: Path) -> None:
    place = folder / "artifacts" / "arms"
    place.mkdir(parents=True)
    arms = [{"arm": "email_news", "channel": "email", "cost": 0.01}, {"arm": "post_a", "channel": "post", "cost": 0.6}]
    for arm in arms:
        trees(seed=len(str(arm["arm"]))).save_model(str(place / f"{arm['arm']}.txt"))
    (place / "arms.json").write_text(json.dumps(arms), encoding="utf-8")
    grown = tuple(trees(objective="regression", seed=seed) for seed in (3, 4))
    EffectScorer(
        arms=(NOTHING, "email_news", "post_a"),
        seen=(True, True, False),
        population=np.array([-0.5, 0.0, 0.0]),
        columns=np.arange(len(NAMES)),
        history_prior=3.0,
        slope=0.5,
        centre=np.zeros(3),
        base=1,
        model=TreeEffects((None, *(booster.model_to_string() for booster in grown)), np.zeros(3)),
    ).write(place, "trees")


def _next_product(folder: Path) -> None:
    place = folder / "extra_files"
    place.mkdir()
    onnx.save(graph(len(PRODUCTS)), str(folder / "model.onnx"))
    (place / VOCABULARY_FILE).write_text(json.dumps(PRODUCTS), encoding="utf-8")
    made_companions(len(PRODUCTS)).save(place / COMPANIONS_FILE)
    trees(FEATURES, "regression").save_model(str(place / RANKER_FILE))


def _win_back(folder: Path) -> None:
    place = folder / "artifacts" / "win_back"
    place.mkdir(parents=True)
    effect = LinearEffect(np.zeros(len(NAMES)), np.full(len(NAMES), 0.01), 0.1)
    score = WinBackScore(NAMES, effect, (effect, effect), Lapsing(2.0, 30.0), 0.0, True, 14.0, 28.0)
    (place / WIN_BACK_FILE).write_text(score.to_json(), encoding="utf-8")
