"""The column of times comes in; UTC moments go out, and a refusal where all of a file is in another unit than was said."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import InputError
from features.events.rules import Problem
from features.events.values import EARLIEST, LATEST, shorten
from features.sources.epochs import EPOCHS, is_number
from features.sources.mapping_config import MappingConfig
from features.sources.parsing import Problems, numeric_texts, parse_moments
from features.vocabulary import Columns

_LIKELY_FROM: Final = datetime(2000, 1, 1, tzinfo=UTC)
_US: Final = 10**6


class TimeReader:
    """Reads the moments of a file's batches, and remembers whether any of them is likely."""

    def __init__(self, config: MappingConfig, place: str) -> None:
        """`place` is for messages."""
        self._config, self._place = config, place
        self._likely = 0
        self._example: float | None = None
        self._until = datetime.now(UTC) + timedelta(days=1)

    def read(self, column: pa.ChunkedArray, problems: Problems) -> pa.Array:
        """UTC moments (n,). Raises InputError for numbers whose unit nobody says."""
        config = self._config
        if config.time_format is None:
            self._refuse_numbers(column)
        moments = parse_moments(
            Columns.OCCURRED_AT, column, problems, config.time_zone, config.time_format, config.ambiguous
        )
        us = pc.fill_null(moments.cast(pa.int64()), 0).to_numpy()
        beyond = (us < EARLIEST.timestamp() * _US) | (us >= LATEST.timestamp() * _US)
        for place in np.flatnonzero(beyond).tolist():
            reason = f"is {shorten(column[place].as_py())}, which does not lie in {EARLIEST.year} to {LATEST.year}."
            problems.setdefault(place, Problem(Columns.OCCURRED_AT, reason))
        if config.time_format in EPOCHS:
            likely = (us >= _LIKELY_FROM.timestamp() * _US) & (us < self._until.timestamp() * _US)
            self._likely += int(likely.sum())
            if self._example is None:
                self._example = next(
                    (number for number in map(_number, column.to_pylist()) if number is not None), None
                )
        return moments

    def finish(self) -> None:
        """Raises InputError where all numbers of the file, in the unit that was said, are moments of another age."""
        if self._config.time_format not in EPOCHS or self._likely or self._example is None:
            return
        unit = self._likely_unit(self._example)
        guess = f'time_format = "{unit}" fits them.' if unit else "No unit of an epoch fits them: check the column."
        raise InputError(
            f"{self._place}: as {self._config.time_format} every time, such as {_show(self._example)}, lies before"
            f" {_LIKELY_FROM.year} or after tomorrow, so the unit is another one.",
            repair=guess,
        )

    def _refuse_numbers(self, column: pa.ChunkedArray) -> None:
        """Numbers, also those that are text, need their unit said."""
        if pa.types.is_string(column.type):
            given = column.is_valid().to_numpy()
            numbers = numeric_texts(column)
            if not numbers.any() or not numbers[given].all():
                return
            example = column[int(np.flatnonzero(numbers)[0])].as_py()
        elif is_number(column.type) and column.null_count < len(column):
            example = column.drop_null()[0].as_py()
        else:
            return
        unit = self._likely_unit(float(example))
        fits = f'time_format = "{unit}" fits them' if unit else "of an epoch no unit fits them"
        raise InputError(
            f"{self._place}: times are numbers, such as {_show(example)}, and time_format does not say their unit.",
            repair=f'Say time_format = "epoch_s", "epoch_ms", "epoch_us" or "epoch_ns", or a pattern such as "%Y%m%d";'
            f" {fits}.",
        )

    def _likely_unit(self, number: float) -> str | None:
        until = self._until.timestamp()
        fitting = [unit for unit, scale in EPOCHS.items() if _LIKELY_FROM.timestamp() <= number / scale < until]
        return fitting[0] if fitting else None


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _show(number: Any) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)
