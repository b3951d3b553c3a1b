"""Do the report's intervals hold the known lift in 95 of 100 logs, and how much narrower is the adjusted one?

    python tests/benchmarks/bench_holdout.py           # 20 logs: about 20 s
    python tests/benchmarks/bench_holdout.py --full    # what the README states: 300 logs

Every log is of other customers: their usual orders differ (gamma), a fifth is held out, the others get four e-mails and buy
one order more in 28 days than they would have.
"""

import argparse
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from bench_policy import held

sys.path.insert(0, str(Path(__file__).parent.parent))

from made_log import CONTACT_COST, DAYS, ORDER_VALUE, SENDS, START, made_log, write_timeline

from features.evaluation.resampling import Metric
from training.report.config import ReportConfig
from training.report.holdout import ADJUSTED, REVENUE, compare_with_holdout
from training.report.scan import Period, timeline_connection
from training.report.success import make_contacts

FIRST_SEED = 30_000
LIFT = 1.0
SPEND = "return on spend"
TRUTH = {REVENUE: LIFT * ORDER_VALUE, ADJUSTED: LIFT * ORDER_VALUE, SPEND: LIFT * ORDER_VALUE / (SENDS * CONTACT_COST)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--logs", type=int)
    parser.add_argument("--customers", type=int, default=1_500)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timeline.parquet"
        logs = [judge(path, FIRST_SEED + i, args.customers) for i in range(args.logs or (300 if args.full else 20))]
    print(f"{len(logs)} logs of {args.customers:,} customers; share of the intervals that hold the truth, mean width")
    for name, truth in TRUTH.items():
        covered = pd.Series([log[name].low <= truth <= log[name].high for log in logs])
        width = float(np.mean([log[name].high - log[name].low for log in logs]))
        print(f"  {name:32} {held(covered)}  {width:.2f}")


def judge(path: Path, seed: int, customers: int) -> dict[str, Metric]:
    """One log: the differences and the return on spend, with their intervals."""
    write_timeline(path, made_log(seed, n=customers, share=0.2, lift=LIFT))
    period, config = Period(START, START + timedelta(days=DAYS)), ReportConfig(costs={"email": CONTACT_COST})
    with timeline_connection(path) as connection:
        make_contacts(connection, config, period.start, period.end)
        found = compare_with_holdout(connection, config, period)
    assert found is not None and found.return_on_spend is not None
    return {SPEND: found.return_on_spend, **{one.name: one.difference for one in found.comparisons}}


if __name__ == "__main__":
    main()
