"""A retailer's log in, its purchases as numbered baskets and the next-basket benchmark over them out.

python tests/benchmarks/bench_baskets.py online_retail_II.parquet [--baskets baskets.parquet] [--report report.json]
python tests/benchmarks/bench_baskets.py complete-journey        # from its package
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from rich.console import Console
from rich.table import Table

from features.sources import complete_journey, online_retail_2
from features.vocabulary import Columns, EventKind
from training.benchmarks.next_product import benchmark
from training.data.held_out import NEXT_BASKET

METRICS = ("recall@10", "ndcg@10", "phr@10")


def baskets(source: str) -> pd.DataFrame:
    """user_id, position (the customer's invoices in order of time) and item_id, one row per product of an invoice."""
    log = complete_journey.load() if source == "complete-journey" else online_retail_2.load(Path(source))
    wanted = [Columns.CUSTOMER_ID, Columns.KIND, Columns.OCCURRED_AT, Columns.SESSION_ID, Columns.PRODUCT_ID]
    lines = pd.concat([batch.events.select(wanted).to_pandas() for batch in log], ignore_index=True)
    lines = lines[lines[Columns.KIND] == EventKind.PURCHASE.value]
    lines = lines.rename(columns={Columns.CUSTOMER_ID: "user_id", Columns.PRODUCT_ID: "item_id"})
    invoice = ["user_id", Columns.SESSION_ID]
    first = lines.groupby(invoice, as_index=False)[Columns.OCCURRED_AT].min()
    first = first.sort_values(["user_id", Columns.OCCURRED_AT, Columns.SESSION_ID])
    first["position"] = first.groupby("user_id").cumcount()
    numbered = lines.drop(columns=Columns.OCCURRED_AT).merge(first, on=invoice)
    return numbered[["user_id", "position", "item_id"]].drop_duplicates(ignore_index=True)


def main() -> None:
    """Print the table: each method with intervals, and what ours gains over it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", help="the file of Online Retail II, or complete-journey")
    parser.add_argument("--baskets", type=Path, help="keep the file of baskets here")
    parser.add_argument("--report", type=Path)
    asked = parser.parse_args()
    if asked.source is None:
        print("Needs a source; see --help.")
        return
    with TemporaryDirectory() as folder:
        path = asked.baskets or Path(folder) / "baskets.parquet"
        baskets(asked.source).to_parquet(path)
        report = benchmark(path, NEXT_BASKET, progress=print)
    if asked.report:
        report.write(asked.report)
    table = Table(box=None)
    for column in ("model", *METRICS, "ours minus it, ndcg@10"):
        table.add_column(column)
    for name, metrics in {"ours": report.metrics, **report.baselines}.items():
        table.add_row(name, *(str(metrics[key]) for key in METRICS), str(report.gains.get(name, "")))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
