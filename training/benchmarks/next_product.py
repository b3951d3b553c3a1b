"""A file of user-item interactions and a published protocol in, a benchmark report out: all items ranked, nothing filtered."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from features.arrays import FloatArray, IntArray
from features.config import load_toml
from features.errors import InputError
from features.evaluation.resampling import Metric
from features.scoring.rerank import TRANSFORMER
from features.vocabulary import Task
from training.benchmarks.report import BenchmarkReport
from training.data.held_out import LEAVE_ONE_OUT, PROTOCOLS, HeldOut, read_held_out
from training.data.interactions import Interactions
from training.evaluation.ranking import (
    DEFAULT_KS,
    Targets,
    coverage_at_k,
    paired_gain,
    ranking_values,
    with_intervals,
)
from training.models.next_product.ablation import ablations
from training.models.next_product.config import PRIMARY, NextProductConfig
from training.models.next_product.data import ProductVocabulary
from training.models.next_product.published import published_dataset
from training.models.next_product.reranker import Moment, rank_moment
from training.models.next_product.system import Laps, System, fit_system, go_on, n_tuning
from training.models.recommenders.baselines import METHODS, recommend
from training.models.recommenders.ease import fits
from training.models.recommenders.lambdamart import sample
from training.models.recommenders.search import Tuned, search
from training.task import Progress

CONFIG_FILE: Final = Path(__file__).resolve().parent.parent / "configs" / "next-product-benchmark.toml"
_DEEPEST: Final = max(DEFAULT_KS)
_OURS: Final = "ours"


def benchmark(
    interactions: Path,
    protocol: str = LEAVE_ONE_OUT,
    *,
    refit: bool = False,
    seed: int = 0,
    progress: Progress = lambda _: None,
    config: NextProductConfig | None = None,
    ablation: bool = False,
    checkpoint: Path | None = None,
) -> BenchmarkReport:
    """Measure the model and the simple methods on a CSV or Parquet with user_id, item_id, and position or timestamp.

    Settings are chosen on the validation basket, which is fitted only with `refit`, and then after all choices.
    `ablation` adds the model without each of its parts. Raises InputError for another protocol or an unusable file.
    """
    data = read_held_out(interactions, protocol)
    config = config or load_config(protocol)
    ours = rank_held_out(data, config, seed, progress, refit=refit, checkpoint=checkpoint)
    left_out = ours.ablations(config, seed, progress) if ablation else {}
    users, test = ours.asked.examples.customers, ours.asked.examples.targets
    started = perf_counter()
    tuned, tops = rank_baselines(data, config, users, seed, progress, refit=refit)
    ours.seconds["baselines"] = perf_counter() - started
    values = {name: per_user(top, test) for name, top in {**tops, _OURS: ours.top}.items()}
    return BenchmarkReport(
        task=Task.NEXT_PRODUCT,
        metrics=summary(ours.top, values[_OURS], data, seed),
        baselines={name: summary(top, values[name], data, seed) for name, top in tops.items()},
        gains={name: paired_gain(values[_OURS][PRIMARY], values[name][PRIMARY], seed) for name in tops},
        seconds=ours.seconds,
        protocol={
            "name": protocol,
            "refit": refit,
            "filtered": False,
            "all_items": True,
            "chosen": TRANSFORMER if ours.system.ranker is None else "ranker",
            "validation": {name: method.value for name, method in tuned.items()} | ours.system.valid,
            "settings": {name: method.settings for name, method in tuned.items()}
            | {"tables": ours.system.tables.to_dict()},
        },
        rows={"interactions": len(data.lines.customer), "users": len(users), "items": data.lines.n_items},
        seed=seed,
        ablation={name: summary(top, per_user(top, test), data, seed) for name, top in left_out.items()},
    )


@dataclass(frozen=True)
class RankedHeldOut:
    """The fitted system, the customers of the test with what was known then, and the best items (n, 20) by the system."""

    system: System
    asked: Moment
    vocabulary: ProductVocabulary
    top: IntArray
    seconds: dict[str, float]

    def ablations(self, config: NextProductConfig, seed: int, progress: Progress) -> dict[str, IntArray]:
        """The best items (n, 20) by each part alone, and without each part."""
        return ablations(self.system, self.asked, self.vocabulary, config, seed, _DEEPEST, progress)


def rank_held_out(
    data: HeldOut,
    config: NextProductConfig,
    seed: int,
    progress: Progress,
    *,
    refit: bool = False,
    checkpoint: Path | None = None,
) -> RankedHeldOut:
    """Fit on all but the last two baskets, choose on the validation basket, rank for the test; `refit` fits that one too."""
    late, early, last = (published_dataset(data, n_left, config) for n_left in (1, 2, 0))
    clock = Laps()
    with clock.lap("fit"):
        if len(early.valid):
            system = fit_system(late, config, seed, progress, before=early, checkpoint=checkpoint)
        else:  # Nobody has a basket that trees could learn from, but for the one that validates.
            without_trees = config.model_copy(update={"with_ranker": False})
            system = fit_system(late, without_trees, seed, progress, checkpoint=checkpoint)
    with clock.lap("predict"):
        progress("ranking for the test")
        known_at = late.valid_at
        if refit:
            net, _ = go_on(system.net, last, config, 1, seed, progress, blindly=True)
            system, known_at = replace(system, net=net), last.valid_at
        asked = late.moment(last.valid, known_at, system.tables, config)
        trees = None if system.ranker is None else system.ranker.trees
        top = rank_moment(system.net, asked, late.vocabulary, trees, _DEEPEST, parts=config.parts)
    seconds = clock.seconds | {f"fit.{name}": seconds for name, seconds in system.seconds.items()}
    return RankedHeldOut(system, asked, late.vocabulary, top, seconds)


def load_config(
    protocol: str, overrides: Mapping[str, Any] | None = None, path: Path = CONFIG_FILE
) -> NextProductConfig:
    """The protocol's section of the TOML file with top-level keys replaced. Raises InputError."""
    if protocol not in PROTOCOLS:
        raise InputError(f"The protocol {protocol!r} is not available.", repair=f"Use one of {', '.join(PROTOCOLS)}.")
    return load_toml(NextProductConfig, path, overrides, section=protocol)


def per_user(top: IntArray, targets: Targets) -> dict[str, FloatArray]:
    """Every metric's value per user; `phr@k` (whether anything was found) is the next-basket name of `hr@k`."""
    values = ranking_values(top, targets)
    return values | {f"phr@{k}": values[f"hr@{k}"] for k in DEFAULT_KS}


def summary(top: IntArray, values: Mapping[str, FloatArray], data: HeldOut, seed: int) -> dict[str, Metric]:
    """Means with intervals, and the share of the catalogue that is shown to anybody."""
    shares = {f"coverage@{k}": coverage_at_k(top, data.lines.n_items, k) for k in DEFAULT_KS}
    return with_intervals(values, seed) | {key: Metric(share, share, share) for key, share in shares.items()}


def rank_baselines(
    data: HeldOut, config: NextProductConfig, users: IntArray, seed: int, progress: Progress, *, refit: bool = False
) -> tuple[dict[str, Tuned], dict[str, IntArray]]:
    """Each simple method with its best settings on validation baskets, and what it ranks for the users."""
    customers, targets = data.targets(1)
    rows = sample(len(customers), n_tuning(config, data.lines.n_items), seed)
    tuned: dict[str, Tuned] = {}
    tops = {}
    for name, axes in config.baselines.items():
        if name == "ease" and not fits(data.lines.n_items):
            progress(f"{name}: left out, {data.lines.n_items:,} items are too many")
            continue
        progress(f"baseline {name}")
        tuned[name] = search(name, axes, *_seen_by(name, data, 2), customers[rows], targets.take(rows), PRIMARY)
        if refit:
            model = METHODS[name](*_seen_by(name, data, 1), **tuned[name].settings)
        else:
            model = tuned[name].model.about(data.known(1), data.at(0))
        tops[name] = recommend(model, users, _DEEPEST)
    return tuned, tops


def _seen_by(method: str, data: HeldOut, held_out: int) -> tuple[Interactions, float]:
    """All but the last `held_out` baskets, and when that was: by the file's own clock where what is popular is asked."""
    if method.endswith("popularity"):
        return data.dated(held_out)
    return data.known(held_out), data.at(held_out - 1)
