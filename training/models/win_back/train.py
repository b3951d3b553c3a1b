"""Win-back: logged decisions in, whom of the lapsing customers a contact brings back out.

The effect of a contact on a customer's return is learned from decisions whose chances are known, among them those that
left customers alone, and measured on customers whose models did not see them. A model that the log does not prove
advises to leave everybody alone, and the gates refuse it.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import scipy

from features.arrays import FloatArray
from features.scoring import log_linear
from features.scoring.model_files import find_file
from features.scoring.win_back import CONTACT, SCORE_FILE, WinBackScore, advice
from features.vocabulary import Columns, Task
from training.evaluation import plots
from training.models.win_back.data import Moments, WinBackConfig, load_moments
from training.models.win_back.learner import Winback, customer_folds, fit_winback
from training.models.win_back.measure import PRIMARY, measure
from training.run import Run
from training.task import TrainContext, TrainedModel, evaluation_table

PART: Final = "lapsing"


def train_win_back(ctx: TrainContext) -> TrainedModel:
    """Fit and measure; see the module's words for the protocol."""
    config: WinBackConfig = ctx.config
    started = time.perf_counter()
    moments = load_moments(ctx)
    features_s = time.perf_counter() - started
    ctx.progress(f"win-back: learning from {len(moments.rows):,} moments")
    everybody = fit_winback(moments.contacts, config, ctx.seed)
    fit_s = time.perf_counter() - started - features_s
    ctx.progress(f"win-back: measuring on the {int(moments.lapsing.sum()):,} at which somebody was lapsing")
    lapsing = everybody.select(moments.lapsing)
    report = measure(lapsing, moments.contacts.select(moments.lapsing), config.min_uplift, ctx.seed)
    score = WinBackScore(
        signals=moments.signals,
        effect=everybody.effect,
        folds=everybody.effects,
        lapsing=config.lapsing,
        min_uplift=config.min_uplift,
        proven=report.proven,
        wait_days=config.wait_days,
        horizon_days=config.horizon_days,
    )
    values = {"uplift": report.metrics[PRIMARY]} | {way: table[PRIMARY] for way, table in report.baselines.items()}
    ctx.run.log_figure(plots.policy_values(values, "Customers kept per moment, by whom to contact"), "plots/policy.png")
    test = moments.rows.select(moments.lapsing)
    advised = lapsing.advice(config.min_uplift) == CONTACT
    treated = moments.contacts.treated
    metadata = {
        "task": Task.WIN_BACK.value,
        "feature_service": moments.rows.feature_service,
        "signal_names": list(moments.signals),
        "config": config.model_dump(mode="json"),
        "as_of_end": moments.end.isoformat(),
        "horizon_days": config.horizon_days,
        "proven": report.proven,
        "not_delivered": moments.delivery.words(),
        "training_set": moments.rows.fingerprint,
    }
    return TrainedModel(
        task=Task.WIN_BACK,
        metrics=report.metrics,
        baselines=report.baselines,
        gains={way: gains[PRIMARY] for way, gains in report.gains.items()},
        seconds={"features": features_s, "fit": fit_s},
        rows={
            "moments": len(moments.rows),
            "contacts": int(treated.sum()),
            "left_alone": int((1 - treated).sum()),
            "lapsing": len(test),
            "advice_contact": int(advised.sum()),
            **moments.delivery.counts(),
        },
        metadata=metadata,
        log_model=lambda run: _log(run, score, moments, metadata),
        evaluation=evaluation_table(
            test.entities,
            None,  # a mean over moments: what following the advice brings in each
            np.where(advised, lapsing.scores, 0.0),
            PART,
            test.entities["key"].astype(str) + f"+{config.wait_days:g}+{config.horizon_days:g}d",
        ),
        rescore=lambda folder: _rescore(folder, test.features, test.entities, lapsing),
    )


def _rescore(folder: Path, signals: np.ndarray, entities: pd.DataFrame, lapsing: Winback) -> FloatArray:
    """What another version's advice brings in the same moments, each by the model that did not see the customer."""
    score = WinBackScore.from_json(_read(folder), "The champion")
    folds = customer_folds(entities[Columns.CUSTOMER_ID].to_numpy(object), len(score.folds))
    uplift = np.where(score.lapsing.rows(signals), score.held_out_uplift(signals, folds), np.nan)
    return np.where(advice(uplift, score.min_uplift) == CONTACT, lapsing.scores, 0.0)


def _read(folder: Path) -> str:
    return find_file(folder, SCORE_FILE, "The champion").read_text(encoding="utf-8")


def _log(run: Run, score: WinBackScore, moments: Moments, metadata: Mapping[str, Any]) -> str:
    """The score as an MLflow pyfunc that stands alone."""
    names = list(moments.rows.feature_names)
    example = pd.DataFrame(moments.rows.features[:3], columns=names)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "win_back"
        folder.mkdir()
        (folder / SCORE_FILE).write_text(score.to_json(), encoding="utf-8")
        return run.log_pyfunc(
            script=Path(__file__).with_name("pyfunc.py"),
            artifacts={"win_back": folder},
            example=example[[*dict.fromkeys((*score.signals, "overdue_ratio", "days_since_occasion"))]],
            output=score.uplift(moments.rows.features[:3]),
            metadata=metadata,
            requirements=[f"scipy=={scipy.__version__}"],
            modules=[Path(log_linear.__file__)],
        )
