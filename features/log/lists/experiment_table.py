"""The experiments of a home, in the log's database: experiments in, the same out, and a version that grows with every change.

When one begins and when it ends stands in its row, a moment ahead of the command: by then every worker on every machine has
read it, and all of them change over at the same moment. A row is never changed but for its end, and never taken out: whoever
was drawn stays drawn, and a name cannot draw anew.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from features.errors import InputError
from features.experiments.experiment import Experiment
from features.log.lists.offer_table import Reading, Writing
from features.log.portable_sql import get_meta, insert_all, put_meta

CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS experiments (name {text} PRIMARY KEY, body TEXT NOT NULL, starts_us BIGINT NOT NULL,"
    " stops_us BIGINT)",
)
_VERSION: Final = "experiments"
"""Note of the version."""
_ROWS: Final = "SELECT name, body, starts_us, stops_us FROM experiments ORDER BY starts_us, name"
_OF_EVERYBODY: Final = (
    "SELECT c.customer_id, min(s.id_value) FROM seen_in s JOIN customers c ON c.customer_key = s.customer_key"
    " WHERE s.id_type = ? GROUP BY c.customer_id"
)
_OF_ONE: Final = (
    "SELECT min(s.id_value) FROM customers c JOIN seen_in s ON s.customer_key = c.customer_key"
    " WHERE c.customer_id = ? AND s.id_type = ?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class KeptExperiment:
    """An experiment, and when it is in force: in [starts_s, stops_s), seconds since the epoch."""

    experiment: Experiment
    starts_s: float
    stops_s: float | None = None

    @property
    def starts_at(self) -> datetime:
        """When it begins."""
        return _EPOCH + timedelta(seconds=self.starts_s)

    @property
    def stops_at(self) -> datetime | None:
        """When it ends; None: nobody has said so."""
        return None if self.stops_s is None else _EPOCH + timedelta(seconds=self.stops_s)

    def is_in_force(self, now_s: float) -> bool:
        """Whether it decides who gets what at this moment."""
        return self.starts_s <= now_s and (self.stops_s is None or now_s < self.stops_s)

    def is_over(self, now_s: float) -> bool:
        """Whether it will never decide anything any more."""
        return self.stops_s is not None and self.stops_s <= now_s


@dataclass(frozen=True)
class KeptExperiments:
    """All experiments of one version, oldest first."""

    version: int = 0
    experiments: tuple[KeptExperiment, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Experiments that this version of Omni cannot read, and why not."""

    def get(self, name: str) -> KeptExperiment:
        """One of them. Raises InputError where there is none."""
        known = next((kept for kept in self.experiments if kept.experiment.name == name), None)
        if known is None:
            raise InputError(f"There is no experiment {name}.", repair="See omni experiment list.")
        return known


class ExperimentTable:
    """The table `experiments` of one log; safe to use from several threads and processes."""

    def __init__(self, writing: Writing, reading: Reading) -> None:
        """`writing` opens a write transaction of the log, `reading` answers one query."""
        self._writing, self._reading = writing, reading

    def version(self) -> int:
        """Another number whenever an experiment was started or stopped; 0 before the first one."""
        rows = self._reading("SELECT value FROM meta WHERE name = ?", (_VERSION,))
        return int(rows[0][0]) if rows else 0

    def all(self) -> KeptExperiments:
        """Every experiment, those that are over among them."""
        version = self.version()  # read first: rows that are newer are read again with the next look
        return _kept(version, self._reading(_ROWS, ()))

    def start(
        self, experiment: Experiment, lead_s: float, check: Callable[[KeptExperiments], None] = lambda known: None
    ) -> KeptExperiment:
        """Keep an experiment that begins in `lead_s`.

        `check` is told, within the transaction, of all that there are, and may raise. Raises InputError for a name that was
        taken before.
        """
        with self._writing() as connection:
            known = _kept(int(get_meta(connection, _VERSION, "0")), connection.execute(_ROWS).fetchall())
            taken = {kept.experiment.name for kept in known.experiments} | set(known.unreadable)
            if experiment.name in taken:
                raise InputError(
                    f"There was an experiment {experiment.name} before.",
                    repair="Give it another name: the same name would draw the same customers into other variants.",
                )
            check(known)
            starts_us = _now_us() + round(lead_s * 1e6)
            rows = [(experiment.name, experiment.text, starts_us, None)]
            insert_all(connection, "experiments (name, body, starts_us, stops_us)", rows)
            put_meta(connection, _VERSION, known.version + 1)
        return KeptExperiment(experiment, starts_us / 1e6)

    def stop(self, name: str, lead_s: float) -> KeptExperiment:
        """Have an experiment end in `lead_s`. Raises InputError where there is none, or it ended before."""
        with self._writing() as connection:
            known = _kept(int(get_meta(connection, _VERSION, "0")), connection.execute(_ROWS).fetchall())
            kept = known.get(name)
            if kept.stops_at is not None:
                raise InputError(f"The experiment {name} ended at {kept.stops_at:%Y-%m-%d %H:%M} (UTC).")
            stops_us = _now_us() + round(lead_s * 1e6)
            connection.execute("UPDATE experiments SET stops_us = ? WHERE name = ?", (stops_us, name))
            put_meta(connection, _VERSION, known.version + 1)
        return KeptExperiment(kept.experiment, kept.starts_s, stops_us / 1e6)

    def unit_of(self, customer_id: str, id_type: str) -> str | None:
        """What a customer was seen with of a type of identifier; of several the first by name, None for nothing."""
        rows = self._reading(_OF_ONE, (customer_id, id_type))
        return None if rows[0][0] is None else str(rows[0][0])

    def units(self, id_type: str) -> dict[str, str]:
        """`unit_of` of everybody who has one, in one query."""
        return {str(name): str(unit) for name, unit in self._reading(_OF_EVERYBODY, (id_type,))}


def _kept(version: int, rows: list[tuple[Any, ...]]) -> KeptExperiments:
    experiments: list[KeptExperiment] = []
    unreadable: dict[str, str] = {}
    for name, body, starts_us, stops_us in rows:
        try:
            stops_s = None if stops_us is None else stops_us / 1e6
            experiments.append(KeptExperiment(Experiment.model_validate_json(body), starts_us / 1e6, stops_s))
        except ValidationError as error:
            unreadable[str(name)] = error.errors(include_url=False)[0]["msg"]
    return KeptExperiments(version, tuple(experiments), unreadable)


def _now_us() -> int:
    return time.time_ns() // 1000
