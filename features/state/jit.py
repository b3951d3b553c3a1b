"""How the fold is compiled: numba's decorators, and a folder of compiled code that belongs to the sources as they are."""

import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import config as numba_config
from numba import njit

from features.fingerprint import fold_code

_njit: Any = njit  # whose stubs leave `_nrt` out
_Function = TypeVar("_Function", bound=Callable[..., Any])

# numba itself looks only at the date of a function's own file: a channel that is added to the vocabulary must not meet
# code that was compiled for one channel less. In an image the sources are not to be written to: NUMBA_CACHE_DIR says where to.
_compiled_in = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parent / "__pycache__")
numba_config.CACHE_DIR = str(_compiled_in / f"fold-{fold_code()}")  # type: ignore[attr-defined]


@contextmanager
def _without_scipy() -> Iterator[None]:
    """Have numba find no linear algebra in SciPy: that takes 30 MiB of every process, and nothing compiled here needs it."""
    wanted = "scipy.linalg"
    if wanted in sys.modules:
        yield
        return
    sys.modules[wanted] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[wanted]


with _without_scipy():
    import numba.np.arraymath  # noqa: F401 - looks for it once


_compiling = threading.RLock()  # before numba's own lock, which a thread that waits for another process must not hold


def compiled(function: _Function) -> _Function:
    """Compile a function, once for all processes that run these sources."""
    return cast(_Function, _once(_njit(cache=True)(function)))


def released(function: _Function) -> _Function:
    """`compiled`, and other threads run meanwhile: the arrays that it is given must not be written to by them."""
    return cast(_Function, _once(_njit(cache=True, nogil=True)(function)))


def in_place(function: _Function) -> _Function:
    """Compile a function that makes no array, and writes into those that it is given.

    Without numba's counts of who holds an array, which a tuple of forty arrays has to keep at every call: the fold takes a
    quarter of the time (numba 0.68.1). numba knows this switch as `_nrt`, and refuses to compile what does make an array.
    """
    return cast(_Function, _once(_njit(cache=True, _nrt=False)(function)))


def inlined(function: _Function) -> _Function:
    """`in_place`, compiled into the callers: a call hands over dozens of pointers, and costs more than most parts' work."""
    return cast(_Function, _once(_njit(cache=True, forceinline=True, _nrt=False)(function)))


def inlined_floats(function: _Function) -> _Function:
    """`inlined`, of a function in which a division by 0 is infinite, as in an array: without the check loops become vectors."""
    return cast(_Function, _once(_njit(cache=True, forceinline=True, error_model="numpy", _nrt=False)(function)))


def bounded(function: _Function) -> _Function:
    """`in_place`, of a function that reads what may be damaged: an index beyond its array raises IndexError."""
    return cast(_Function, _once(_njit(cache=True, boundscheck=True, _nrt=False)(function)))


def bounded_inlined(function: _Function) -> _Function:
    """`bounded`, compiled into the callers."""
    return cast(_Function, _once(_njit(cache=True, boundscheck=True, forceinline=True, _nrt=False)(function)))


def _once(dispatcher: Any) -> Any:
    """Have one process compile a function: others that need it meanwhile wait, and take what it has left on the disk.

    The workers and the stream of a service that starts on a new machine need the same functions at the same time.
    """
    if not hasattr(dispatcher, "compile"):  # with NUMBA_DISABLE_JIT it is the function itself
        return dispatcher
    compile_here = dispatcher.compile

    def compile_in_turn(signature: Any) -> Any:
        with _compiling, _turn(dispatcher):
            return compile_here(signature)

    dispatcher.compile = compile_in_turn
    return dispatcher


@contextmanager
def _turn(dispatcher: Any) -> Iterator[None]:
    """Only one process is in the block with a function; the system ends the turn of one that dies."""
    function = dispatcher.py_func
    lock = Path(dispatcher.stats.cache_path) / f"{function.__module__}.{function.__qualname__}.lock"
    try:
        file = lock.open("w")
    except OSError:  # then whoever needs it compiles it
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
