"""Next product beside other people's models: RecTools' SASRec, implicit's ALS and ItemKNN; same split, same machine.

pip install 'rectools[torch]' implicit
python tests/benchmarks/bench_peers.py FILE [--users 2000] [--epochs 30]     # FILE: user_id, item_id, position

Times are processor seconds of all threads, so that other work on the machine does not count. Nothing is filtered, as the
protocol says; each peer is also shown with what the user had before left out, which helps it where nobody buys again.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy import sparse

from features.arrays import IntArray
from training.benchmarks.next_product import PRIMARY, load_config, per_user, rank_held_out
from training.data.held_out import LEAVE_ONE_OUT, HeldOut, read_held_out
from training.data.interactions import SECONDS_PER_DAY
from training.evaluation.ranking import paired_gain, with_intervals

K = 20
SEED = 0
WAYS = {"": False, ", known left out": True}
Tops = dict[str, IntArray]
"""Ranked items (n, K) by what is left out."""


def ours(data: HeldOut, users: IntArray) -> tuple[Tops, float]:
    """Items ranked by our model, and the processor time of its search and fit."""
    config = load_config(LEAVE_ONE_OUT)
    started = time.process_time()
    ranked = rank_held_out(data, config, SEED, print)
    return {"": ranked.top[:, :K]}, time.process_time() - started


def implicit_model(data: HeldOut, users: IntArray, make: Callable[[], object]) -> tuple[Tops, float]:
    """Items ranked by a model of `implicit` that knows everything but the last two baskets, and its fitting time.

    What it asks with is everything but the last basket.
    """
    fitted, asked = (_matrix(data, held_out) for held_out in (2, 1))
    model = make()
    started = time.process_time()
    model.fit(fitted, show_progress=False)  # type: ignore[attr-defined]
    seconds = time.process_time() - started
    again = {"recalculate_user": True} if hasattr(model, "user_factors") else {}
    tops = {}
    for label, leave_out in WAYS.items():
        items, _ = model.recommend(users, asked[users], N=K, filter_already_liked_items=leave_out, **again)  # type: ignore[attr-defined]
        tops[label] = items.astype(np.int64)
    return tops, seconds


def sasrec(data: HeldOut, users: IntArray, epochs: int, length: int, negatives: int) -> tuple[Tops, float]:
    """Items ranked by RecTools' SASRec with sampled softmax, and its fitting time."""
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    def interactions(held_out: int) -> pd.DataFrame:
        lines = data.known(held_out)
        return pd.DataFrame(
            {
                Columns.User: lines.customer,
                Columns.Item: lines.item,
                Columns.Weight: 1.0,
                Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(lines.time / SECONDS_PER_DAY, unit="D"),
            }
        )

    model = SASRecModel(
        n_factors=64,
        n_blocks=2,
        n_heads=2,
        session_max_len=length,
        dropout_rate=0.2,
        loss="sampled_softmax",
        n_negatives=negatives,
        lr=1e-3,
        batch_size=128,
        epochs=epochs,
        verbose=1,
        deterministic=True,
    )
    started = time.process_time()
    model.fit(Dataset.construct(interactions(2)))
    seconds = time.process_time() - started
    tops = {}
    for label, leave_out in WAYS.items():
        found = model.recommend(users, Dataset.construct(interactions(1)), k=K, filter_viewed=leave_out)
        top = np.zeros((len(users), K), np.int64)
        row = np.searchsorted(users, found[Columns.User].to_numpy(np.int64))
        top[row, found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy(np.int64)
        tops[label] = top
    return tops, seconds


def _matrix(data: HeldOut, held_out: int) -> sparse.csr_matrix:
    lines = data.known(held_out)
    shape = (lines.n_customers, lines.n_items + 1)
    return sparse.csr_matrix((np.ones(len(lines.item), np.float32), (lines.customer, lines.item)), shape=shape)


def _of_users(path: Path, n_users: int, folder: Path) -> Path:
    table = pd.read_parquet(path)
    users = np.random.default_rng(SEED).permutation(table["user_id"].unique())[:n_users]
    part = folder / "part.parquet"
    table[table["user_id"].isin(users)].to_parquet(part)
    return part


def main() -> None:
    """Print one table: quality with intervals, the gain of ours over each peer, seconds of fitting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--users", type=int, default=0, help="only so many users, drawn at random; 0 for all")
    parser.add_argument("--epochs", type=int, default=30, help="of SASRec")
    parser.add_argument("--length", type=int, default=20, help="newest items that SASRec looks at")
    parser.add_argument("--negatives", type=int, default=128, help="of SASRec, for every position")
    asked = parser.parse_args()
    if asked.file is None:
        print("Needs a file of interactions, and two packages that are not installed with the rest; see --help.")
        return
    warnings.simplefilter("ignore")
    from implicit.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import CosineRecommender

    with TemporaryDirectory() as folder:
        path = _of_users(asked.file, asked.users, Path(folder)) if asked.users else asked.file
        data = read_held_out(path, LEAVE_ONE_OUT)
        users, test = data.targets(0)
        rankings: dict[str, tuple[Tops, float]] = {
            "implicit ItemKNN (cosine, 100)": implicit_model(data, users, lambda: CosineRecommender(K=100)),
            "implicit ALS (64 factors)": implicit_model(
                data, users, lambda: AlternatingLeastSquares(64, random_state=SEED)
            ),
            f"RecTools SASRec ({asked.epochs} epochs)": sasrec(
                data, users, asked.epochs, asked.length, asked.negatives
            ),
        }
        rankings = {"ours": ours(data, users), **rankings}
    own = per_user(rankings["ours"][0][""], test)
    table = Table(box=None)
    for column in ("model", "NDCG@10", "HR@10", "ours minus it", "fit, CPU s"):
        table.add_column(column)
    for name, (tops, seconds) in rankings.items():
        for label, top in tops.items():
            values = per_user(top, test)
            figures = with_intervals(values, SEED)
            gain = "" if name == "ours" else str(paired_gain(own[PRIMARY], values[PRIMARY], SEED))
            table.add_row(name + label, str(figures[PRIMARY]), str(figures["hr@10"]), gain, f"{seconds:.0f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
