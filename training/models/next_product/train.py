"""Next product: the timeline in, an ONNX network out that scores every product for a customer's next basket.

Learned on many (customer, cutoff) pairs: the state as of the cutoff, through the feature store, and the products of the
first basket after it. Global time: validation and test are the last two horizons of the data; the whole catalogue is
ranked and nothing is filtered. A product that was first sold after the training period is ranked from its first sale on.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from features.arrays import Float32Array, FloatArray
from features.errors import InputError
from features.scoring.item_tables import COMPANIONS_FILE, Companions
from features.scoring.next_product import (
    OUTPUT_NAME,
    POPULARITY_NAME,
    VOCABULARY_FILE,
    network_scores,
    open_session,
)
from features.scoring.rerank import PARTS, RANKER_FILE
from features.vocabulary import Columns, Task
from training.evaluation.ranking import ranking_values
from training.models.next_product.baselines import Rankings, rank_baselines
from training.models.next_product.champion import catalogue_rows, champion_at
from training.models.next_product.cold_start import with_spare
from training.models.next_product.config import PRIMARY, NextProductConfig
from training.models.next_product.data import ProductVocabulary, seconds, vocabulary_json
from training.models.next_product.dataset import prepare
from training.models.next_product.fit import FitHistory
from training.models.next_product.measure import KS, measure
from training.models.next_product.onnx_export import as_arrays, export_onnx
from training.models.next_product.rank_files import rank_with_files
from training.models.next_product.reranker import ProductRanker, rank_moment
from training.models.next_product.system import fit_system
from training.run import Run
from training.task import TrainContext, TrainedModel, evaluation_table

logger = logging.getLogger(__name__)

PART: Final = "all"
_LATENCY_CALLS: Final = 200


def train_next_product(ctx: TrainContext) -> TrainedModel:
    """Fit, measure and export; see the module's words for the protocol."""
    config: NextProductConfig = ctx.config
    if set(config.parts) != set(PARTS):
        raise InputError("What serves has all parts.", repair="Leave parts out of the config; benchmarks take --parts.")
    clock = _Stopwatch()
    data = prepare(ctx)
    dataset, periods, test = data.dataset, data.periods, data.test
    vocabulary, lines = dataset.vocabulary, dataset.lines
    test_at, end = periods.test[0].timestamp(), periods.test[1].timestamp()
    clock.lap("features")

    system = fit_system(dataset, config, ctx.seed, ctx.progress)
    net, ranker, history = system.net, system.ranker, system.history
    clock.seconds |= {"fit": system.seconds["network"], "trees": system.seconds["trees"]}
    clock.lap()
    at_test = dataset.moment(test, test_at, system.tables, config)
    trees = None if ranker is None else ranker.trees
    top, top_new = (
        rank_moment(net, at_test, vocabulary, trees, max(KS), only_new=only_new) for only_new in (False, True)
    )
    clock.lap("predict")
    ctx.progress("next-product: baselines")
    baselines = rank_baselines(
        lines,
        (dataset.valid, dataset.valid_at),
        (test, test_at),
        config.baselines,
        config.n_tuning_customers,
        PRIMARY,
        max(KS),
        ctx.seed,
    )
    clock.lap("baselines")
    own = Rankings({"": top}, {"": top_new}, {})
    report = measure(own, baselines, test, lines, test_at, config.horizon_days, PRIMARY, ctx.seed)
    # The file that serves knows what is popular at the end of the data, until it is told what is now, and has rows for
    # products that are first sold later; nothing else differs from what was measured.
    net.log_popularity.copy_(dataset.popularity(end, config))
    net = with_spare(net, config.n_spare)
    ctx.progress("next-product: writing the graph")
    example = test.batch(np.arange(2) % len(test))
    graph = export_onnx(net, example)
    clock.lap("export")
    popularity = net.log_popularity.numpy()
    latency = _latency_ms(graph.SerializeToString(), as_arrays(tuple(part[:1] for part in example)), popularity)
    _log_history(ctx.run, history, latency)
    metadata = {
        "task": Task.NEXT_PRODUCT.value,
        "feature_service": ctx.store.feature_service_name(Task.NEXT_PRODUCT),
        "signal_names": [],
        "config": config.model_dump(mode="json"),
        "tables": system.tables.to_dict(),
        "as_of_end": periods.test[1].isoformat(),
        "test_cutoff": periods.test[0].isoformat(),
        "n_products": len(vocabulary),
        "baseline_settings": baselines.settings,
        "latency_ms": latency,
        "ranker": ranker is not None,
        "trees_from_network": config.ranker.from_network,
        "popularity_days": config.popularity_half_life_days,
        "n_spare": config.n_spare,
    }
    if ranker is not None:
        ctx.run.keep({"valid_network": ranker.valid_network, "valid_ranker": ranker.valid_ranker})

    def rescore(folder: Path) -> FloatArray:
        as_of = seconds(data.test_entities[Columns.AS_OF])
        files = champion_at(folder, data.purchases, periods.test[0], ctx.settings, ctx.store)
        rows = np.concatenate(([0], catalogue_rows(files.product_ids, data.purchases.product_ids)))
        top = rank_with_files(files, data.test_states, as_of, max(KS))
        return ranking_values(rows[top], test.targets, KS)[PRIMARY]

    return TrainedModel(
        task=Task.NEXT_PRODUCT,
        metrics=report.metrics,
        baselines=report.baselines,
        gains=report.gains,
        seconds=clock.seconds,
        rows={
            "train": len(dataset.train),
            "valid": len(dataset.valid),
            "test": len(test),
            "products": len(vocabulary),
            "catalogue": vocabulary.n_catalogue,
            "best_epoch": history.best + 1,
        },
        metadata=metadata,
        log_model=lambda run: log_model(
            run, graph, (example, popularity), vocabulary, metadata, ranker, dataset.builder.at(end, system.tables)
        ),
        evaluation=evaluation_table(data.test_entities, None, report.values, PART),
        rescore=rescore,
    )


def log_model(
    run: Run,
    graph: Any,
    example: tuple[tuple[torch.Tensor, ...], Float32Array],
    vocabulary: ProductVocabulary,
    metadata: Mapping[str, Any],
    ranker: ProductRanker | None,
    companions: Companions,
) -> str:
    """The graph with its vocabulary, its companions and, where they help, the trees beside it; answers the model's URI.

    `example` is what it may be asked: customers, and what is popular.
    """
    inputs = as_arrays(example[0])
    output = {OUTPUT_NAME: network_scores(open_session(graph.SerializeToString()), inputs, example[1])}
    inputs[POPULARITY_NAME] = example[1]
    with TemporaryDirectory() as folder:
        path = Path(folder) / VOCABULARY_FILE
        path.write_text(vocabulary_json(vocabulary), encoding="utf-8")
        beside = [path, Path(folder) / COMPANIONS_FILE]
        companions.save(beside[1])
        if ranker is not None:
            beside.append(Path(folder) / RANKER_FILE)
            ranker.booster.save_model(str(beside[2]))
        return run.log_onnx(graph, inputs, output, metadata, beside)


def _log_history(run: Run, history: FitHistory, latency: Mapping[str, float]) -> None:
    run.log_history("train_loss", history.loss)
    run.log_history("valid_ndcg_at_10", history.valid)
    run.keep({f"latency_ms.{name}": value for name, value in latency.items()})


def _latency_ms(model: bytes, one: Mapping[str, NDArray[Any]], popularity: Float32Array) -> dict[str, float]:
    session = open_session(model)
    times = []
    for _ in range(_LATENCY_CALLS):
        started = time.perf_counter()
        network_scores(session, one, popularity)
        times.append((time.perf_counter() - started) * 1000)
    p50, p99 = np.percentile(times[10:], [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


class _Stopwatch:
    """Seconds per part, in the order of the laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str | None = None) -> None:
        """Close the part `name`; one without a name is not told."""
        now = time.perf_counter()
        if name is not None:
            self.seconds[name] = now - self._last
        self._last = now
