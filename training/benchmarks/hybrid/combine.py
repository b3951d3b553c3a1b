"""Histories with held-out baskets in, a recommender out that combines several: candidates of every part, one ranker.

The ranker learns on the basket before the validation basket, from parts that have not seen it; then the parts are fitted
again with that basket, and the validation basket decides settings and when to stop. Nothing is fitted to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from features.arrays import FloatArray, IntArray
from training.benchmarks.hybrid.held_out import HeldOut
from training.benchmarks.hybrid.sasrec_fit import TransformerConfig, TransformerRecommender, fit_transformer
from training.benchmarks.hybrid.search import Tuned, search
from training.benchmarks.hybrid.variants import RANKER, Variant, choose
from training.data.interactions import Interactions, Recommender
from training.evaluation.ranking import Targets, ranking_values
from training.models.recommenders.baselines import METHODS, Popularity, recommend
from training.models.recommenders.candidates import Candidates, Histories, collect
from training.models.recommenders.ease import fits
from training.models.recommenders.lambdamart import Ranker, RankerConfig, fit_ranker, sample
from training.task import Progress

PRIMARY: Final = "ndcg@10"
TRANSFORMER: Final = "transformer"
_K: Final = 10
_RECENT_DAYS: Final = 60.0
_RANK_BATCH: Final = 4096
_TUNED_CELLS: Final = 50_000_000
_MIN_TUNED: Final = 500


class PartConfig(BaseModel):
    """One simple method and the values that its settings may have; the first of each is where the search begins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    """A name of `baselines.METHODS`."""
    axes: dict[str, list[Any]] = {}
    """Setting -> values to choose from on the validation basket."""


class HybridConfig(BaseModel):
    """What is combined and how; every part can be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: tuple[str, ...]
    """Names from `methods`, and `transformer`: who puts candidates forward."""
    methods: dict[str, PartConfig]
    """The simple methods, of which those in `baselines` are also reported beside the result."""
    baselines: tuple[str, ...]
    """Names from `methods` that are measured as baselines."""
    transformer: TransformerConfig = TransformerConfig()
    """The sequence model."""
    n_more_epochs: int = Field(4, ge=1)
    """Most passes of the sequence model when it goes on with one more basket."""
    ranker: RankerConfig = RankerConfig()
    """The ranker."""
    min_share: float = Field(0.15, ge=0, lt=1)
    """A part whose validation value is below this share of the best one's puts no candidates forward."""
    n_tuning_users: int = Field(4_000, ge=1)
    """Most users on whose validation baskets the methods' settings are chosen."""
    n_checked_users: int = Field(6_000, ge=1)
    """Most users on whose validation baskets a fit is stopped and the final choice is made."""


@dataclass(frozen=True)
class Fitted:
    """Everything after the fit: parts that know all but the last two baskets, the ranker, and what was chosen."""

    parts: dict[str, Recommender]
    settings: dict[str, dict[str, Any]]
    ranker: Ranker | None
    valid: dict[str, float]
    """Validation NDCG@10 of the ranker and of each part."""
    chosen: tuple[str, ...]
    """What answers: the ranker, or the best part and its equals where the ranker is not clearly better."""
    tables: "Tables"
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Tables:
    """Candidates and targets that the ranker learns from and is checked on."""

    train: tuple[Candidates, Targets]
    valid: tuple[Candidates, Targets]


def tune_methods(data: HeldOut, config: HybridConfig, seed: int, progress: Progress) -> dict[str, Tuned]:
    """Each method with its best settings on validation baskets, fitted without them."""
    # Every trial scores users times items: a large catalogue is tuned on fewer users.
    n_affordable = max(_MIN_TUNED, _TUNED_CELLS // data.lines.n_items)
    users, targets = _sampled(*data.targets(1), min(config.n_tuning_users, n_affordable), seed)
    found: dict[str, Tuned] = {}
    for name, part in config.methods.items():
        if name not in (*config.parts, *config.baselines):
            continue
        if part.method == "ease" and not fits(data.lines.n_items):
            progress(f"{name}: left out, {data.lines.n_items:,} items are too many")
            continue
        progress(f"tuning {name}")
        found[name] = search(part.method, part.axes, *_seen_by(part.method, data, 2), users, targets, PRIMARY)
    return found


def fit_method(
    name: str, settings: Mapping[str, Any], config: HybridConfig, data: HeldOut, held_out: int
) -> Recommender:
    """One simple method on all but the last `held_out` baskets."""
    part = config.methods[name]
    return METHODS[part.method](*_seen_by(part.method, data, held_out), **settings)


def fit(
    data: HeldOut,
    config: HybridConfig,
    tuned: Mapping[str, Tuned],
    seed: int,
    progress: Progress,
    checkpoint: Path | None = None,
) -> Fitted:
    """Parts and ranker, as the module's words say; `tuned` is what `tune_methods` found."""
    simple = {name: tuned[name] for name in config.parts if name in tuned}
    floor = config.min_share * max((one.value for one in simple.values()), default=0.0)
    simple = {name: one for name, one in simple.items() if one.value >= floor}
    seconds: dict[str, float] = {}
    started = perf_counter()
    users, targets = data.targets(1)
    checked = sample(len(users), config.n_checked_users, seed)
    users, targets = users[checked], targets.take(checked)
    learners = data.targets(2)
    # Where nobody has a history before that basket there is nothing for a ranker, and the best part answers alone.
    before = 3 if len(learners[0]) else 2
    early, late = data.known(before), data.known(2)

    parts_before = {name: fit_method(name, one.settings, config, data, before) for name, one in simple.items()}
    parts = {name: one.model for name, one in simple.items()}
    seconds["methods"] = perf_counter() - started
    if TRANSFORMER in config.parts:
        started = perf_counter()

        def value(model: TransformerRecommender) -> float:
            return _value(recommend(model.about(late, data.now), users, _K), targets)

        first = fit_transformer(early, data.now, config.transformer, seed, checkpoint=checkpoint, progress=progress)
        again = config.transformer.model_copy(update={"max_epochs": config.n_more_epochs})
        parts_before[TRANSFORMER] = first
        parts[TRANSFORMER] = fit_transformer(
            late,
            data.now,
            again,
            seed,
            validate=value,
            start_from=first,
            checkpoint=checkpoint and checkpoint.with_name(f"{checkpoint.name}.more"),
            progress=progress,
        )
        seconds[TRANSFORMER] = perf_counter() - started

    started = perf_counter()
    progress("candidates")
    tables = Tables(
        train=_table(parts_before, data, before, *_sampled(*learners, config.ranker.max_customers, seed), config),
        valid=_table(parts, data, 2, users, targets, config),
    )
    seconds["candidates"] = perf_counter() - started
    started = perf_counter()
    progress("ranker")
    ranker = fit_ranker(tables.train, tables.valid, config.ranker, seed)
    values = {name: _values(recommend(part, users, _K), targets) for name, part in parts.items()}
    if ranker is not None:
        values[RANKER] = _values(tables.valid[0].best(ranker.scores(tables.valid[0]), _K), targets)
    seconds[RANKER] = perf_counter() - started
    valid = {name: float(value.mean()) for name, value in values.items()}
    settings = {name: one.settings for name, one in simple.items()}
    return Fitted(parts, settings, ranker, valid, choose(values), tables, seconds)


def best_variant(fitted: Fitted) -> Variant:
    """What was chosen on the validation basket."""
    if fitted.chosen == (RANKER,):
        return Variant(tuple(fitted.parts), fitted.ranker)
    return Variant(fitted.chosen, None)


def ablations(fitted: Fitted, config: HybridConfig, seed: int, progress: Progress) -> dict[str, Variant]:
    """Every part alone, and the ranker fitted again without one part after the other."""
    found = {f"only {name}": Variant((name,), None) for name in fitted.parts}
    for left_out in fitted.parts if len(fitted.parts) > 1 else ():
        progress(f"ablation: without {left_out}")
        kept = tuple(name for name in fitted.parts if name != left_out)
        train, valid = (
            (table.of_parts(kept), targets) for table, targets in (fitted.tables.train, fitted.tables.valid)
        )
        ranker = fit_ranker(train, valid, config.ranker, seed)
        if ranker is not None:
            found[f"without {left_out}"] = Variant(kept, ranker)
    return found


def rank(
    fitted: Fitted,
    variants: Mapping[str, Variant],
    data: HeldOut,
    users: IntArray,
    config: HybridConfig,
    k: int,
    refit: bool = False,
) -> dict[str, IntArray]:
    """The k best items (n, k) by each variant for the last basket of users (n,), who are known up to the one before it."""
    parts = _asked(fitted, data, config, refit)
    histories = _histories(data, 1, fitted_on=1 if refit else 2)
    tops: dict[str, list[IntArray]] = {name: [] for name in variants}
    for first in range(0, len(users), _RANK_BATCH):
        found = collect(parts, histories, users[first : first + _RANK_BATCH], config.ranker.n_candidates)
        for name, variant in variants.items():
            own = found if len(variant.parts) == len(parts) else found.of_parts(variant.parts)
            tops[name].append(own.best(variant.scores(own), k))
    return {name: complete(np.concatenate(chunks), data) for name, chunks in tops.items()}


def complete(top: IntArray, data: HeldOut) -> IntArray:
    """Places that no candidate fills get the most popular items that the row does not have yet."""
    short = np.flatnonzero((top == 0).any(axis=1))
    popular = recommend(Popularity.fit(data.known(2), data.now), np.zeros(1, np.int64), 2 * top.shape[1])[0]
    top = top.copy()
    for row in short:
        own = top[row][top[row] > 0]
        more = popular[~np.isin(popular, own)]
        joined = np.concatenate((own, more))[: top.shape[1]]
        top[row, : len(joined)] = joined
    return top


def _asked(fitted: Fitted, data: HeldOut, config: HybridConfig, refit: bool) -> dict[str, Recommender]:
    if not refit:
        return {name: part.about(data.known(1), data.now) for name, part in fitted.parts.items()}
    found: dict[str, Recommender] = {}
    for name, part in fitted.parts.items():
        if isinstance(part, TransformerRecommender):
            again = config.transformer.model_copy(update={"max_epochs": 1})
            found[name] = fit_transformer(data.known(1), data.now, again, 0, start_from=part)
        else:
            found[name] = fit_method(name, fitted.settings[name], config, data, 1)
    return found


def _table(
    parts: Mapping[str, Recommender],
    data: HeldOut,
    held_out: int,
    users: IntArray,
    targets: Targets,
    config: HybridConfig,
) -> tuple[Candidates, Targets]:
    return collect(parts, _histories(data, held_out, held_out), users, config.ranker.n_candidates), targets


def _histories(data: HeldOut, held_out: int, fitted_on: int) -> Histories:
    dated, end = data.dated(fitted_on)
    popularity = Popularity.fit(dated, end).score
    recent = Popularity.fit(dated, end, _RECENT_DAYS).score
    return Histories.of(data.known(held_out), popularity, recent)


def _seen_by(method: str, data: HeldOut, held_out: int) -> tuple[Interactions, float]:
    return data.dated(held_out) if method.endswith("popularity") else (data.known(held_out), data.now)


def _sampled(users: IntArray, targets: Targets, at_most: int, seed: int) -> tuple[IntArray, Targets]:
    rows = sample(len(users), at_most, seed)
    return users[rows], targets.take(rows)


def _values(top: IntArray, targets: Targets) -> FloatArray:
    return ranking_values(top, targets, (_K,))[PRIMARY]


def _value(top: IntArray, targets: Targets) -> float:
    return float(_values(top, targets).mean())
