"""The files of a next-product model in, what scores products out: read by training, which measures it, and by serving."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.errors import StoreError
from features.scoring.forest import Forest
from features.scoring.item_tables import COMPANIONS_FILE, Companions, Floats32
from features.scoring.model_files import find_file, find_optional, read_metadata
from features.scoring.model_inputs import INPUT_NAMES
from features.scoring.network.halves import SplitNetwork
from features.scoring.network.onnx_arrays import float_arrays
from features.scoring.popularity import (
    Described,
    ProductFacts,
    as_popular_as,
    counts_behind,
    counts_of,
    extended,
    find_newcomers,
    network_popularity,
)
from features.scoring.rerank import FEATURES, RANKER_FILE, Trees, beside_network
from features.scoring.tree_text import TextModel, read_text
from features.state.event_arrays import product_code
from features.state.products import ProductStates

if TYPE_CHECKING:
    import onnxruntime

OUTPUT_NAME: Final = "score"
POPULARITY_NAME: Final = "log_popularity"
"""The network's input beside `model_inputs`: see `network_popularity`."""
GRAPH_FILES: Final = "*.onnx"
SCORE_TOLERANCE: Final = 1e-4
"""How far scores of one network may lie apart, by whatever way they were computed."""
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
    def of(cls, text: str, where: str, *, from_network: bool = True) -> "ProductTrees":
        """Trees that read FEATURES, as LightGBM's text. Raises StoreError where they read others; `where` names the model.

        `from_network` says that they add to the network's scores, instead of ordering by itself.
        """
        model = TextModel.of(text, where)
        if model.names != FEATURES:
            raise StoreError(
                f"{where} reads other features of products than this version makes.",
                repair="Train the model again, or install the version it was trained with.",
            )
        forest = Forest.of(model, np.arange(len(FEATURES)), where)

        def score(features: Floats32) -> Any:
            return forest.raw(features)[:, 0]

        return cls(score if from_network else beside_network(score), forest.contributions)


@dataclass(frozen=True, eq=False)
class ProductFiles:
    """What a registered next-product model consists of, with what was popular when its training ended or, `as_of`, later.

    Without trees its companions only give reasons.
    """

    product_ids: tuple[str, ...]
    session: Session | SplitNetwork
    """What scores: the network in its halves, or the whole graph of one that cannot be split."""
    companions: Companions | None = None
    trees: ProductTrees | None = None
    popularity_days: float | None = None
    """The half-life of the popularity that the network asks for; None for a network that brings its own along."""
    n_spare: int = 0
    """How many products it has rows for that it did not learn, because they were first sold later."""
    n_newcomers: int = 0
    """The last of `product_ids` are such products."""
    log_popularity: Floats32 | None = None  # (n_known + n_spare + 1,)

    @classmethod
    def load(cls, folder: Path, where: str) -> "ProductFiles":
        """Read a model's folder; `where` names it. Raises StoreError where the files are not as expected."""
        graph = find_file(folder, GRAPH_FILES, where)
        companions, trees = find_optional(folder, COMPANIONS_FILE), find_optional(folder, RANKER_FILE)
        product_ids = tuple(json.loads(find_file(folder, VOCABULARY_FILE, where).read_text(encoding="utf-8")))
        metadata = read_metadata(folder)
        if metadata.get("ranker") and trees is None:
            raise StoreError(
                f"{where} holds no file {RANKER_FILE}, which it was measured with.", repair="Train it again."
            )
        files = cls(
            product_ids=product_ids,
            session=_split(graph, metadata) or open_session(str(graph)),
            companions=None if companions is None else _companions(companions, where),
            trees=None if trees is None else _trees(trees, folder, where),
            popularity_days=metadata.get("popularity_days"),
            n_spare=int(metadata.get("n_spare", 0)),
        )
        return replace(files, log_popularity=files._network_popularity(files._counts_of_training()))

    @property
    def n_known(self) -> int:
        """The first of `product_ids` are the products that it learned."""
        return len(self.product_ids) - self.n_newcomers

    def scores(self, inputs: Mapping[str, NDArray[Any]]) -> Floats32:
        """Scores (n, V + 1) of `model_inputs` for `product_ids`, column 0 for nothing."""
        if isinstance(self.session, SplitNetwork):
            return self.session.scores(inputs, self._popularity, self.base, len(self.product_ids) + 1)
        return network_scores(self.session, inputs, self.log_popularity)[:, : len(self.product_ids) + 1]

    @cached_property
    def base(self) -> Floats32:
        """What products score for everybody (V + 1,), spare rows included: of a network in its halves alone."""
        assert isinstance(self.session, SplitNetwork)
        return self.session.base(self._popularity)

    @property
    def _popularity(self) -> Floats32:
        if self.log_popularity is None:
            raise StoreError("The next-product model was not told what is popular.", repair="Train it again.")
        return self.log_popularity

    def as_of(
        self, states: ProductStates, facts: ProductFacts, at_s: float, newcomers: Sequence[str] | None = None
    ) -> "ProductFiles":
        """The same model with what is popular at a moment (seconds), from all purchases before it.

        `facts` are the product table's. Products that were first sold after the training take the spare rows: `newcomers`
        where they are given, else those that there are now.
        """
        if self.companions is None or self.popularity_days is None:
            return self
        known = self.product_ids[: self.n_known]
        if newcomers is None:
            newcomers = find_newcomers(facts, states, known, self.n_spare, at_s)
        same = tuple(newcomers) == self.product_ids[self.n_known :]
        product_ids = self.product_ids if same else (*known, *newcomers)
        code, described = _described(product_ids, facts)
        counts = counts_of(states, code, at_s)
        companions = extended(self.companions, self.n_known, len(newcomers))
        return replace(
            self,
            product_ids=product_ids,
            n_newcomers=len(newcomers),
            companions=as_popular_as(replace(companions, **vars(described)), counts),
            log_popularity=self._network_popularity(counts),
        )

    def _network_popularity(self, counts: FloatArray | None) -> Floats32 | None:
        """For all rows of the network, those that are spare still included."""
        if counts is None or self.popularity_days is None:
            return None
        spare = self.n_known + self.n_spare + 1 - len(counts)
        return network_popularity(np.pad(counts, ((0, spare), (0, 0))), self.popularity_days, self.n_known)

    def _counts_of_training(self) -> FloatArray | None:
        return None if self.companions is None else counts_behind(self.companions.popularity)


@lru_cache(maxsize=2)
def _described(product_ids: tuple[str, ...], facts: ProductFacts) -> tuple[IntArray, Described]:
    """Codes of products, and what the table says of them: found once, and again when there are other products or facts."""
    return product_code(product_ids), facts.of(product_ids).described()


def _trees(file: Path, folder: Path, where: str) -> ProductTrees:
    from_network = read_metadata(folder).get("trees_from_network", True)
    return ProductTrees.of(read_text(file), where, from_network=from_network)


def _companions(file: Path, where: str) -> Companions:
    try:
        return Companions.load(file)
    except KeyError as error:
        raise StoreError(
            f"{where} knows its products in another form than this version reads ({error.args[0]}).",
            repair="Train the model again, or install the version it was trained with.",
        ) from error


def _split(graph: Path, metadata: Mapping[str, Any]) -> SplitNetwork | None:
    """The network of a graph in its halves; None for one of another kind, and for one that brings its popularity along."""
    max_length = dict(metadata.get("config") or {}).get("max_length")
    if max_length is None or metadata.get("popularity_days") is None:
        return None
    return SplitNetwork.of(float_arrays(graph), int(max_length))


def open_session(graph: bytes | str) -> "onnxruntime.InferenceSession":
    """A session on one thread of the CPU, from a graph or its file's path."""
    import onnxruntime  # 40 MiB that a worker whose network is split does without

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def network_scores(
    session: Session, inputs: Mapping[str, NDArray[Any]], log_popularity: Floats32 | None = None
) -> Floats32:
    """Scores (n, V + 1) of `model_inputs` where so much is popular (V + 1,), column 0 for nothing.

    Networks of older versions bring along what was popular, and take nothing.
    """
    asked = {name: inputs[name] for name in INPUT_NAMES}
    if log_popularity is not None:
        asked[POPULARITY_NAME] = log_popularity
    scores: Floats32 = session.run([OUTPUT_NAME], asked)[0]
    return scores
