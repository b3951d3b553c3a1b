"""One ingest of a file into a new home, with the seconds of CPU of each stage; a JSON object out.

bench_ingest.py runs it with the package of one tree or another: it names nothing that only one of them has.
"""

import importlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from features.ingest import ingest
from features.settings import Settings

STAGES = {
    "read and map": [("features.ingest", "load_mapped")],
    "check": [("features.intake.checking", "validate_table"), ("features.ingest", "validate_table")],
    "spool": [("features.sources.spool", "Spool.add"), ("features.sources.spool", "Spool.read")],
    "money": [("features.money.home", "HomeCurrency.screen"), ("features.money.home", "HomeCurrency.convert")],
    "append": [("features.log.sqlite", "SqliteEventLog.append")],
    "identity": [("features.log.identity", "IdentityBook.assign")],
    "insert": [("features.log.sqlite", "SqliteEventLog._insert")],
    "segment": [("features.log.sqlite", "dump_segment")],
    "content": [("features.log.portable_sql", "added_content")],
}
"""Where each stage's work is, in one tree or the other; identity, insert and content are of the append, and the segment is of
the insert."""


def timed(work: Callable[..., Any], spent: dict[str, float], stage: str) -> Callable[..., Any]:
    """The same function (or generator), which notes what CPU its thread took for it."""

    @wraps(work)
    def noted(*args: Any, **options: Any) -> Any:
        began = time.thread_time()
        try:
            answer = work(*args, **options)
        finally:
            spent[stage] = spent.get(stage, 0.0) + time.thread_time() - began
        return steps(answer) if hasattr(answer, "__next__") else answer

    def steps(items: Any) -> Any:
        while True:
            began = time.thread_time()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                spent[stage] += time.thread_time() - began
            yield item

    return noted


def watch() -> dict[str, float]:
    """Seconds by stage, filled as the stages are gone through."""
    spent: dict[str, float] = {}
    for stage, (module, name) in ((stage, place) for stage, places in STAGES.items() for place in places):
        *classes, last = name.split(".")
        try:
            owner: Any = importlib.import_module(module)
            for each in classes:
                owner = getattr(owner, each)
            setattr(owner, last, timed(getattr(owner, last), spent, stage))
        except (ImportError, AttributeError):  # this tree does it elsewhere
            continue
    return spent


def main(file: str, mapping: str, folder: str) -> None:
    """Ingest and print."""
    spent = watch()
    with tempfile.TemporaryDirectory(dir=folder) as home:
        settings = replace(Settings.from_env({"OMNI_HOME": home}), home=Path(home))
        wall, cpu = time.perf_counter(), time.process_time()
        report = ingest(file, settings, mapping=Path(mapping))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        size = sum(path.stat().st_size for path in Path(home).rglob("*") if path.is_file())
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"rows": report.rows, "appended": report.appended, "wall_s": wall, "cpu_s": cpu, "stages": spent}
    print(json.dumps({**found, "peak_mib": peak_mib, "home_mib": size / 2**20}))


if __name__ == "__main__":
    main(*sys.argv[1:])
