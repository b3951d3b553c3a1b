"""What each part of the system is worth: a fitted system and customers in, rankings by one part and by all but one out."""

from collections.abc import Iterator

import numpy as np

from features.arrays import Float32Array, IntArray
from features.scoring.rerank import TRANSFORMER, Inputs, ties
from training.evaluation.ranking import top_k
from training.models.next_product.config import PRIMARY, NextProductConfig
from training.models.next_product.data import ProductVocabulary
from training.models.next_product.reranker import Moment, fit_product_ranker, frequency_scores, rank_moment, scored
from training.models.next_product.system import System
from training.task import Progress


def ablations(
    system: System,
    asked: Moment,
    vocabulary: ProductVocabulary,
    config: NextProductConfig,
    seed: int,
    k: int,
    progress: Progress,
) -> dict[str, IntArray]:
    """The k best products (n, k) by `only PART`, and by trees fitted again `without PART`."""
    tops = {f"only {part}": _by_part(part, system, asked, vocabulary, k) for part in config.parts}
    for left_out in config.parts if len(config.parts) > 1 else ():
        progress(f"ablation: without {left_out}")
        fewer = config.model_copy(update={"parts": tuple(part for part in config.parts if part != left_out)})
        ranker = fit_product_ranker(system.past, system.judging, vocabulary, fewer, PRIMARY, seed)
        if ranker is not None:
            tops[f"without {left_out}"] = rank_moment(system.net, asked, vocabulary, ranker.trees, k, parts=fewer.parts)
    return tops


def _by_part(part: str, system: System, asked: Moment, vocabulary: ProductVocabulary, k: int) -> IntArray:
    tops = [top_k(scores, k) for scores in _scores(part, system, asked)]
    return vocabulary.to_catalogue(np.concatenate(tops))


def _scores(part: str, system: System, asked: Moment) -> Iterator[Float32Array]:
    popularity = asked.log_popularity.numpy()
    for scores, inputs, _ in scored(system.net, asked, (TRANSFORMER,), only_new=False):
        yield scores if part == TRANSFORMER else _of_table(part, inputs, asked, popularity)


def _of_table(part: str, inputs: Inputs, asked: Moment, popularity: Float32Array) -> Float32Array:
    companions = asked.companions
    shape = (len(inputs["item"]), len(popularity))
    if part == "personal_frequency":
        return frequency_scores(inputs, popularity)
    by_popularity = np.broadcast_to(popularity, shape).copy()
    by_popularity[:, 0] = -np.inf
    if part == "recent_popularity":
        return by_popularity
    neighbours, days = (
        (companions.rules, companions.half_life_days[0])
        if part == "rules"
        else (companions.pairs, companions.half_life_days[1])
    )
    return ties(inputs, neighbours, float(days), shape) + np.float32(_TIE_BREAK) * by_popularity


_TIE_BREAK = 1e-6
