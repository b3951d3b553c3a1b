"""A file of user-item interactions and a published protocol in, a benchmark report out: all items ranked, nothing filtered."""

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from features.arrays import FloatArray, IntArray
from features.config import load_toml
from features.errors import InputError
from features.vocabulary import Task
from training.benchmarks.hybrid import combine
from training.benchmarks.hybrid.combine import HybridConfig
from training.benchmarks.hybrid.held_out import LEAVE_ONE_OUT, PROTOCOLS, HeldOut, read_held_out
from training.benchmarks.hybrid.search import Tuned
from training.benchmarks.report import BenchmarkReport
from training.evaluation.metrics import Metric
from training.evaluation.ranking import (
    DEFAULT_KS,
    Targets,
    coverage_at_k,
    paired_gain,
    ranking_values,
    with_intervals,
)
from training.models.recommenders.baselines import recommend
from training.task import Progress

PRIMARY: Final = combine.PRIMARY
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
    config: HybridConfig | None = None,
    ablation: bool = False,
    checkpoint: Path | None = None,
) -> BenchmarkReport:
    """Measure the model and the simple methods on a CSV or Parquet with user_id, item_id, and position or timestamp.

    Settings are chosen on the validation basket, which is fitted only with `refit`, and then after all choices.
    `ablation` adds the model without each of its parts. Raises InputError for another protocol or an unusable file.
    """
    data = read_held_out(interactions, protocol)
    config = config or load_config(protocol)
    users, test = data.targets(0)
    spent: dict[str, float] = {}
    started = perf_counter()
    tuned = combine.tune_methods(data, config, seed, progress)
    spent["tune"] = perf_counter() - started
    started = perf_counter()
    fitted = combine.fit(data, config, tuned, seed, progress, checkpoint)
    spent["fit"] = perf_counter() - started
    started = perf_counter()
    progress("ranking for the test")
    variants = {_OURS: combine.best_variant(fitted)}
    if ablation:
        variants |= combine.ablations(fitted, config, seed, progress)
    ranked = combine.rank(fitted, variants, data, users, config, _DEEPEST, refit)
    ours = ranked.pop(_OURS)
    spent["predict"] = perf_counter() - started
    spent |= {f"fit.{name}": seconds for name, seconds in fitted.seconds.items()}
    started = perf_counter()
    tops = _baselines(config, tuned, data, users, refit, progress)
    spent["baselines"] = perf_counter() - started
    values = {name: per_user(top, test) for name, top in {**tops, _OURS: ours}.items()}
    return BenchmarkReport(
        task=Task.NEXT_PRODUCT,
        metrics=summary(ours, values[_OURS], data, seed),
        baselines={name: summary(top, values[name], data, seed) for name, top in tops.items()},
        gains={name: paired_gain(values[_OURS][PRIMARY], values[name][PRIMARY], seed) for name in tops},
        seconds=spent,
        protocol={
            "name": protocol,
            "refit": refit,
            "filtered": False,
            "all_items": True,
            "chosen": " + ".join(fitted.chosen),
            "validation": {**{name: one.value for name, one in tuned.items()}, **fitted.valid},
            "settings": {name: one.settings for name, one in tuned.items()},
        },
        rows={"interactions": len(data.lines.customer), "users": len(users), "items": data.lines.n_items},
        seed=seed,
        ablation={name: summary(top, per_user(top, test), data, seed) for name, top in ranked.items()},
    )


def load_config(protocol: str, overrides: Mapping[str, Any] | None = None, path: Path = CONFIG_FILE) -> HybridConfig:
    """The protocol's section of the TOML file with top-level keys replaced. Raises InputError."""
    if protocol not in PROTOCOLS:
        raise InputError(f"The protocol {protocol!r} is not available.", repair=f"Use one of {', '.join(PROTOCOLS)}.")
    return load_toml(HybridConfig, path, overrides, section=protocol)


def per_user(top: IntArray, targets: Targets) -> dict[str, FloatArray]:
    """Every metric's value per user; `phr@k` (whether anything was found) is the next-basket name of `hr@k`."""
    values = ranking_values(top, targets)
    return values | {f"phr@{k}": values[f"hr@{k}"] for k in DEFAULT_KS}


def summary(top: IntArray, values: Mapping[str, FloatArray], data: HeldOut, seed: int) -> dict[str, Metric]:
    """Means with intervals, and the share of the catalogue that is shown to anybody."""
    shares = {f"coverage@{k}": coverage_at_k(top, data.lines.n_items, k) for k in DEFAULT_KS}
    return with_intervals(values, seed) | {key: Metric(share, share, share) for key, share in shares.items()}


def _baselines(
    config: HybridConfig,
    tuned: Mapping[str, Tuned],
    data: HeldOut,
    users: IntArray,
    refit: bool,
    progress: Progress,
) -> dict[str, IntArray]:
    tops = {}
    for name in config.baselines:
        if name not in tuned:
            continue
        progress(f"baseline {name}")
        if refit:
            model = combine.fit_method(name, tuned[name].settings, config, data, 1)
        else:
            model = tuned[name].model.about(data.known(1), data.now)
        tops[name] = recommend(model, users, _DEEPEST)
    return tops
