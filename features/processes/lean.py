"""Nothing in, Arrow that does without pandas out: each process that serves would hold 60 MiB of it for nothing."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


class _NoPandas:
    """A finder of modules that finds no pandas."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not looked for here", name=name)
        return None


def leave_pandas_out() -> None:
    """Have Arrow not import pandas when it makes its first array, to know a Series by sight.

    Nothing else changes: whoever imports pandas gets it, and `to_pandas` does so by itself.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)
