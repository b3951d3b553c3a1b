"""How the fold is compiled: numba's decorators, and a folder of compiled code that belongs to the sources as they are."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from numba import config as numba_config
from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])
SOURCES: Final = (
    "event_values.py",
    "vocabulary.py",
    "details.py",
    "fold_layout.py",
    "fold_parts.py",
    "fold_kernel.py",
    "fold_rows.py",
)
"""The files of this folder that are compiled into the fold."""


def _sources_digest() -> str:
    """Of the files whose words and numbers are compiled in: numba itself looks only at the date of the function's own."""
    sources = (Path(__file__).with_name(name).read_bytes() for name in SOURCES)
    return hashlib.sha256(b"".join(sources)).hexdigest()[:16]


# A channel that is added to the vocabulary must not meet code that was compiled for one channel less.
numba_config.CACHE_DIR = str(Path(__file__).parent / "__pycache__" / f"fold-{_sources_digest()}")  # type: ignore[attr-defined]


def compiled(function: _Function) -> _Function:
    """Compile a function, once for all processes that run these sources."""
    return cast(_Function, njit(cache=True)(function))


def inlined(function: _Function) -> _Function:
    """Compile into the callers: a call hands over dozens of pointers, and costs more than most parts' work."""
    return cast(_Function, njit(cache=True, forceinline=True)(function))
