"""What other packages say of the cases in `tests/same_name_cases.py`, one line each: docs/same-name.md quotes it.

In an environment of its own, because they cannot be installed beside each other and Omni:
`pip install rectools ranx scikit-learn torch torchmetrics catboost lightgbm xgboost scikit-uplift empulse lifetimes`, then
`PYTHONPATH=tests python tests/benchmarks/same_name/compare.py`. A package that is missing says so in its line.
"""

import importlib.metadata
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from same_name_cases import (
    AGE,
    BOUGHT,
    CHANCES,
    CHURNED,
    CONSTANT,
    FIRST_HALF,
    HAPPENED,
    LAST_BASKET,
    ONE_POSITIVE,
    PURCHASES,
    RATES,
    RESPONDED,
    SAME_SCORE,
    SHOWN,
    TREATED,
)


def rectools_ranking(metric: str, **settings: Any) -> float:
    import pandas as pd
    from rectools import Columns, metrics

    shown = pd.DataFrame({Columns.User: 1, Columns.Item: SHOWN, Columns.Rank: range(1, 11)})
    bought = pd.DataFrame({Columns.User: 1, Columns.Item: BOUGHT})
    return float(getattr(metrics, metric)(k=10, **settings).calc(shown, bought))


def rectools_novelty() -> float:
    import pandas as pd
    from rectools import Columns
    from rectools.metrics import MeanInvUserFreq

    past = pd.DataFrame(PURCHASES, columns=[Columns.User, Columns.Item])
    return float(
        MeanInvUserFreq(k=1).calc(pd.DataFrame({Columns.User: [1], Columns.Item: ["b"], Columns.Rank: [1]}), past)
    )


def rectools_last() -> list[str]:
    """Held out of the last basket, as the file has it and with its last two lines turned around."""
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Interactions
    from rectools.model_selection import LastNSplitter

    held_out = []
    for lines in (LAST_BASKET, [*LAST_BASKET[:2], *LAST_BASKET[:1:-1]]):
        frame = pd.DataFrame({Columns.User: 1, Columns.Item: range(4), Columns.Weight: 1.0})
        frame[Columns.Datetime] = pd.to_datetime([day for _, day in lines])
        splitter = LastNSplitter(1, filter_cold_users=False, filter_cold_items=False, filter_already_seen=False)
        _, test, _ = next(splitter.split(Interactions(frame)))
        held_out += [lines[row][0] for row in test]
    return held_out


def ranx_ranking(metric: str) -> float:
    from ranx import Qrels, Run, evaluate

    run = Run({"c": {str(item): float(20 - place) for place, item in enumerate(SHOWN)}})
    return float(evaluate(Qrels({"c": {str(item): 1 for item in BOUGHT}}), run, metric))


def torch_ranking(metric: str) -> float:
    import torch
    from torchmetrics.functional import retrieval

    scores = torch.tensor([20.0 - place for place in range(10)] + [0.0])
    target = torch.tensor([int(item in BOUGHT) for item in SHOWN] + [1])
    return float(getattr(retrieval, metric)(scores, target, top_k=10))


def torch_binary(metric: str, said: np.ndarray, was: np.ndarray, **settings: Any) -> float:
    import torch
    from torchmetrics.functional import classification

    return float(getattr(classification, metric)(torch.tensor(said), torch.tensor(was), **settings))


def sklearn_metric(metric: str, was: np.ndarray, said: np.ndarray, **settings: Any) -> float:
    from sklearn import metrics

    return float(getattr(metrics, metric)(was, said, **settings))


def catboost_ties() -> float:
    from catboost.utils import eval_metric

    return float(eval_metric(ONE_POSITIVE, SAME_SCORE, "PRAUC")[0])


def xgboost_ties() -> float:
    import xgboost

    data, said = xgboost.DMatrix(np.zeros((20, 1)), ONE_POSITIVE), {}
    settings = {"objective": "binary:logistic", "eval_metric": "aucpr"}
    xgboost.train(settings, data, 1, evals=[(data, "t")], evals_result=said, verbose_eval=False)
    return float(said["t"]["aucpr"][0])


def lightgbm_ties() -> float:
    import lightgbm

    data, said = lightgbm.Dataset(np.zeros((20, 1)), ONE_POSITIVE, params={"verbose": -1}), {}
    settings = {"objective": "binary", "metric": "average_precision", "verbose": -1}
    lightgbm.train(settings, data, 1, valid_sets=[data], callbacks=[lightgbm.record_evaluation(said)])
    return float(said["training"]["average_precision"][0])


def sklift_qini(uplift: np.ndarray, **settings: Any) -> float:
    from sklift.metrics import qini_auc_score

    return float(qini_auc_score(RESPONDED, uplift, TREATED, **settings))


def empulse_constant() -> float:
    from empulse.metrics import empc_score

    return float(empc_score(CHURNED, CONSTANT))


def lifetimes_alive(model: str) -> float:
    import lifetimes
    import pandas as pd

    fitter = getattr(lifetimes, model)()
    fitter.params_ = pd.Series(RATES)
    return float(np.ravel(fitter.conditional_probability_alive(0, 0, AGE))[0])


ITEMS = np.array([[int(item in BOUGHT) for item in SHOWN] + [1]])
ASKED: list[tuple[str, str, Callable[[], Any]]] = [
    ("NDCG@10", "rectools", lambda: rectools_ranking("NDCG")),
    ("NDCG@10, divide_by_achievable", "rectools", lambda: rectools_ranking("NDCG", divide_by_achievable=True)),
    ("NDCG@10", "ranx", lambda: ranx_ranking("ndcg@10")),
    ("NDCG@10", "scikit-learn", lambda: sklearn_metric("ndcg_score", ITEMS, np.arange(20.0, 9.0, -1)[None], k=10)),
    ("NDCG@10", "torchmetrics", lambda: torch_ranking("retrieval_normalized_dcg")),
    ("MAP@10", "rectools", lambda: rectools_ranking("MAP")),
    ("MAP@10, divide_by_k", "rectools", lambda: rectools_ranking("MAP", divide_by_k=True)),
    ("MAP@10", "ranx", lambda: ranx_ranking("map@10")),
    ("MAP@10", "torchmetrics", lambda: torch_ranking("retrieval_average_precision")),
    ("hits@10", "ranx", lambda: ranx_ranking("hits@10")),
    ("hit rate@10", "ranx", lambda: ranx_ranking("hit_rate@10")),
    (
        "average precision, ties",
        "scikit-learn",
        lambda: sklearn_metric("average_precision_score", ONE_POSITIVE, SAME_SCORE),
    ),
    (
        "average precision, ties",
        "torchmetrics",
        lambda: torch_binary("binary_average_precision", SAME_SCORE, ONE_POSITIVE),
    ),
    ("average precision, ties", "lightgbm", lightgbm_ties),
    ("average precision, ties", "xgboost", xgboost_ties),
    ("average precision, ties", "catboost", catboost_ties),
    ("Qini", "scikit-uplift", lambda: sklift_qini(FIRST_HALF)),
    ("Qini, negative_effect=False", "scikit-uplift", lambda: sklift_qini(FIRST_HALF, negative_effect=False)),
    ("ECE, 10 bins", "torchmetrics", lambda: torch_binary("binary_calibration_error", CHANCES, HAPPENED, n_bins=10)),
    ("ECE, 15 bins", "torchmetrics", lambda: torch_binary("binary_calibration_error", CHANCES, HAPPENED, n_bins=15)),
    ("expected maximum profit", "empulse", empulse_constant),
    ("alive, BG/NBD", "lifetimes", lambda: lifetimes_alive("BetaGeoFitter")),
    ("alive, modified", "lifetimes", lambda: lifetimes_alive("ModifiedBetaGeoFitter")),
    ("novelty", "rectools", rectools_novelty),
    ("held out of the last basket", "rectools", rectools_last),
]


def main() -> None:
    warnings.simplefilter("ignore")
    for case, package, ask in ASKED:
        try:
            print(f"{case:32}{package} {importlib.metadata.version(package)}: {ask()}")
        except ImportError as error:
            print(f"{case:32}{package}: not here ({error})")


if __name__ == "__main__":
    main()
