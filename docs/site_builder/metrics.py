"""The service's registry comes in, the page of its metrics goes out."""

import os
import subprocess
import sys
from typing import Final

from site_builder.markdown import code, table, text

_ASK: Final = """
from serving.metrics import Metrics
for metric in Metrics()._registry.collect():
    labels = sorted({label for sample in metric.samples for label in sample.labels} - {"le"})
    print(metric.name, metric.type, ",".join(getattr(metric, "_labelnames", labels)), metric.documentation, sep="\\t")
"""
# In a process of its own: feast, once imported, makes prometheus-client write to files.


def body() -> str:
    """Every metric, its type and its words."""
    env = {name: value for name, value in os.environ.items() if not name.lower().startswith("prometheus_multiproc")}
    said = subprocess.run([sys.executable, "-c", _ASK], env=env, capture_output=True, text=True, check=True).stdout
    rows = [(code(_full(name, kind)), kind, text(words)) for name, kind, _, words in map(_cells, said.splitlines())]
    return "What to watch, and what to do about it: [Operations](../operations.md).\n\n" + table(
        ("metric", "type", "what it counts"), rows
    )


def _cells(line: str) -> list[str]:
    return line.split("\t")


def _full(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name
