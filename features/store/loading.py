"""Feast's import, without what it does for others: no module is compiled a second time, and torch stays out."""

import importlib
import sys
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Final

_TORCH: Final = "feast.torch_wrapper"


@cache
def load_feast() -> ModuleType:
    """The package `feast`; call it before anything of it is imported.

    Feast checks its own calls with typeguard, which parses and compiles each of its modules anew, and imports torch for
    answers as tensors, which are not asked for. Without both it is there in a quarter of the time and half the memory.
    """
    if "feast" in sys.modules:  # somebody else imported it
        return sys.modules["feast"]
    typeguard: Any = importlib.import_module("typeguard")
    checked = typeguard.typechecked
    wrapper: Any = ModuleType(_TORCH)
    wrapper.get_torch = lambda: importlib.import_module("torch")
    sys.modules[_TORCH] = wrapper
    typeguard.typechecked = _unchecked
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("feast")
    finally:
        typeguard.typechecked = checked


def _unchecked(target: Any = None, **_: Any) -> Any:
    """In place of `typeguard.typechecked`, with or without arguments."""
    if target is None:
        decorate: Callable[[Any], Any] = _unchecked
        return decorate
    return target
