"""What a command shows: one result on stdout (words, or one JSON object), steps and progress on stderr."""

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from features.errors import OmniError

Progress = Callable[[str], None]
"""What long work calls with a few words about what it is doing now."""

_TOLD_IN_A_LINE = ("mlflow.store.db.utils",)
"""Loggers that write a traceback, with what was asked of the database, beside the exception that becomes our one line."""
_FILE_WIDTH = 120
"""Columns that a table may take when stdout is no terminal."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
"""The `--json` flag, the same on every command: `as_json: JsonOption = False`."""


def emit(result: Any, as_json: bool = False) -> None:
    """Print a command's result to stdout: exactly one JSON object, or words for a person.

    `result` is a mapping, a dataclass or a pydantic model. A person sees what its `__rich__()` gives where it
    has one, otherwise a line per field. NaN and infinity become null in JSON.
    """
    if as_json:
        sys.stdout.write(json.dumps(to_plain(result), ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()
        return
    from rich.console import Console
    from rich.text import Text

    width = None if sys.stdout.isatty() else _FILE_WIDTH
    console = Console(soft_wrap=True, width=width, emoji=False)  # or anon:email:… would lose its word to a picture
    shown = result.__rich__() if hasattr(result, "__rich__") else _as_table(to_plain(result))
    console.print(Text(shown) if isinstance(shown, str) else shown)


def to_plain(value: Any) -> Any:
    """The same value in JSON's own types: dataclasses, pydantic models, enums, times, paths, numpy numbers."""
    if value is None or (isinstance(value, (str, bool, int)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "model_dump"):
        return to_plain(value.model_dump(mode="json"))
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(to_plain(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, (Sequence, set, frozenset)):
        return [to_plain(item) for item in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy here
        return to_plain(value.tolist())
    raise TypeError(f"A result holds a {type(value).__name__}, which has no JSON form.")


def say(message: str) -> None:
    """One line for a person, on stderr."""
    print(message, file=sys.stderr, flush=True)


def fail(error: OmniError) -> None:
    """The one line of an error that the user can mend: what was wrong, where, and what to do."""
    say("omni: " + " ".join(str(error).split()))


@contextmanager
def step(title: str) -> Iterator[Progress]:
    """Show a long step on stderr and time it; the block gets a function that says what is being done now.

    On a terminal this is one live line with a spinner; elsewhere (a file, CI) it is one plain line per message.
    """
    started = time.perf_counter()
    if sys.stderr.isatty():
        with _live_line(title, started) as tell:
            yield tell
    else:
        say(f"{title} …")
        yield lambda message: say(f"  {message}")
    say(f"{title}: {time.perf_counter() - started:.1f} s")


def set_up_logging(verbose: bool = False) -> None:
    """Send log records to stderr; entry points call this, libraries never do."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    if not verbose:
        for chatty in ("alembic", "mlflow", "feast", "bentoml", "matplotlib", "onnxscript"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        for told_in_a_line in _TOLD_IN_A_LINE:
            logging.getLogger(told_in_a_line).setLevel(logging.CRITICAL)


@contextmanager
def _live_line(title: str, started: float) -> Iterator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bars
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        line = bars.add_task(escape(title), total=None)
        yield lambda message: bars.update(line, description=f"{escape(title)} · [dim]{escape(message)}[/dim]")


def _as_table(plain: Any) -> Any:
    from rich.table import Table
    from rich.text import Text  # said as it is: `[reachable]` is a section's name, no markup

    if not isinstance(plain, dict):
        plain = {"result": plain}
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in plain.items():
        table.add_row(Text(name.replace("_", " ")), Text(_as_words(value)))
    return table


def _as_words(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_as_words(item)}" for name, item in value.items()) or "–"
    if isinstance(value, list):
        return "\n".join(_as_words(item) for item in value) or "–"
    return str(value)
