"""The files of a next-product model in, what scores products out: read by training, which measures it, and by serving."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import lightgbm
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from features.errors import StoreError
from features.scoring.forest import Forest
from features.scoring.item_tables import COMPANIONS_FILE, Companions, Floats32
from features.scoring.model_files import find_file, find_optional, read_metadata
from features.scoring.model_inputs import INPUT_NAMES
from features.scoring.rerank import FEATURES, RANKER_FILE, Trees, beside_network

OUTPUT_NAME: Final = "score"
VOCABULARY_FILE: Final = "vocabulary.json"
"""The ids of the products that the model can name; row i + 1 of its arrays is entry i."""


class Session(Protocol):
    """The part of onnxruntime.InferenceSession that is used."""

    def run(self, output_names: list[str] | None, input_feed: dict[str, Any]) -> Any:
        """Named arrays in, a list of arrays out."""


@dataclass(frozen=True)
class ProductTrees:
    """What orders the network's candidates: `score` (M, F) to (M,), `explain` to what each feature added (M, F)."""

    score: Trees
    explain: Trees

    @classmethod
    def of(cls, booster: lightgbm.Booster, where: str, *, from_network: bool = True) -> "ProductTrees":
        """A booster that reads FEATURES. Raises StoreError where it reads others; `where` names the model.

        `from_network` says that it adds to the network's scores, instead of ordering by itself.
        """
        if tuple(booster.feature_name()) != FEATURES:
            raise StoreError(
                f"{where} reads other features of products than this version makes.",
                repair="Train the model again, or install the version it was trained with.",
            )
        forest = Forest.of(booster, np.arange(len(FEATURES)), where)

        def score(features: Floats32) -> Any:
            return forest.raw(features)[:, 0]

        return cls(score if from_network else beside_network(score), forest.contributions)


@dataclass(frozen=True)
class ProductFiles:
    """What a registered next-product model consists of; without trees its companions only give reasons."""

    product_ids: tuple[str, ...]
    session: Session
    companions: Companions | None = None
    trees: ProductTrees | None = None

    @classmethod
    def load(cls, folder: Path, where: str) -> "ProductFiles":
        """Read a model's folder; `where` names it. Raises StoreError where the files are not as expected."""
        companions, trees = find_optional(folder, COMPANIONS_FILE), find_optional(folder, RANKER_FILE)
        return cls(
            product_ids=tuple(json.loads(find_file(folder, VOCABULARY_FILE, where).read_text(encoding="utf-8"))),
            session=open_session(str(find_file(folder, "*.onnx", where))),
            companions=None if companions is None else _companions(companions, where),
            trees=None if trees is None else _trees(trees, folder, where),
        )


def _trees(file: Path, folder: Path, where: str) -> ProductTrees:
    from_network = read_metadata(folder).get("trees_from_network", True)
    return ProductTrees.of(lightgbm.Booster(model_file=str(file)), where, from_network=from_network)


def _companions(file: Path, where: str) -> Companions:
    try:
        return Companions.load(file)
    except KeyError as error:
        raise StoreError(
            f"{where} knows its products in another form than this version reads ({error.args[0]}).",
            repair="Train the model again, or install the version it was trained with.",
        ) from error


def open_session(graph: bytes | str) -> onnxruntime.InferenceSession:
    """A session on one thread of the CPU, from a graph or its file's path."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def network_scores(session: Session, inputs: Mapping[str, NDArray[Any]]) -> Floats32:
    """Scores (n, V + 1) of `model_inputs`, column 0 for nothing."""
    scores: Floats32 = session.run([OUTPUT_NAME], {name: inputs[name] for name in INPUT_NAMES})[0]
    return scores
