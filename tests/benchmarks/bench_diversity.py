"""What spreading an answer over categories costs: the champion's ranking of the test customers at several settings of the knob.

omni demo --once && python tests/benchmarks/bench_diversity.py    # OMNI_HOME names the state; needs a next-product champion

The champion knows what is popular at the end of the data, a little more than it could have known at the cutoff, so that the
differences are what counts here, not the level; `omni train` prints the honest level.
"""

import os

import numpy as np
from rich.console import Console
from rich.table import Table

from features.settings import Settings
from features.vocabulary import Columns, Task
from serving.products.catalogue import load_catalogue
from serving.products.diversity import DEPTH, diversify
from serving.scorers.bundle import Bundle
from serving.scorers.registry import mlflow_fetch, next_bundle
from training.data.baskets import load_purchases
from training.data.labels import data_span
from training.evaluation.ranking import paired_gain, ranking_values
from training.models.next_product.config import split_periods
from training.models.next_product.data import ProductVocabulary, load_examples, seconds
from training.pipeline import load_config, open_store

K = 10
KNOB = (0.0, 0.1, 0.25, 0.5, 1.0)


def main() -> None:
    """Print NDCG@10 and the number of categories among ten products for every setting."""
    settings = Settings.from_env(os.environ)
    scorer = next_bundle(Bundle(), mlflow_fetch(settings)).need_product()
    catalogue = load_catalogue(settings.products_path)
    purchases = load_purchases(settings.timeline_path)
    window = split_periods(data_span(settings.timeline_path), load_config(Task.NEXT_PRODUCT)).test  # type: ignore[arg-type]
    row_of = {str(name): row for row, name in enumerate(purchases.product_ids, start=1)}
    rows = np.array([row_of[name] for name in scorer.product_ids])
    vocabulary = ProductVocabulary(scorer.product_ids, rows, purchases.lines.n_items)
    examples, states, entities = load_examples(open_store(settings), purchases, vocabulary, [window], print)
    categories = [catalogue.get(name).category or "" for name in scorer.product_ids]
    as_of = seconds(entities[Columns.AS_OF])
    tops = {knob: np.zeros((len(states), K), np.int64) for knob in KNOB}
    for i in range(len(states)):
        one = np.array([i])
        ranked = scorer.rank(scorer.score(states.take(one), as_of[one]))
        columns = ranked.best(K * DEPTH)
        groups = [categories[column] for column in columns]
        for knob, top in tops.items():
            chosen = diversify(columns, ranked.scores, groups, K, knob)
            top[i, : len(chosen)] = rows[chosen]
    values = {knob: ranking_values(top, examples.targets, (K,))[f"ndcg@{K}"] for knob, top in tops.items()}
    named = np.concatenate(([""], np.full(purchases.lines.n_items, "", dtype=object)))
    named[rows] = categories
    table = Table("diversity", f"NDCG@{K}", "less than without", f"categories among {K}", box=None)
    for knob, top in tops.items():
        spread = np.mean([len(set(named[line[line > 0]])) for line in top])
        cost = paired_gain(values[0.0], values[knob])
        table.add_row(f"{knob:g}", f"{np.nanmean(values[knob]):.4f}", str(cost), f"{spread:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
