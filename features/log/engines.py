"""Opens the event log that the settings name: a SQLite file, or a schema on a PostgreSQL server."""

from pathlib import Path

from features.errors import SettingsError
from features.log.event_log import EventLog
from features.log.identity import identity_rules
from features.log.sqlite import SqliteEventLog
from features.money.rates import RATES_FILE, RatesFile
from features.settings import Settings


def sqlite_path(settings: Settings) -> Path | None:
    """The file of the event log; None where the log is not one of SQLite's."""
    scheme, _, rest = settings.event_log_url.partition("://")
    return Path(rest[1:]) if scheme == "sqlite" and rest.startswith("/") and rest not in ("/", "/:memory:") else None


def has_log(settings: Settings) -> bool:
    """False where the file of a SQLite log was not made yet; whether a server has one is only known by asking it."""
    path = sqlite_path(settings)
    return path is None or path.exists()


def open_log(settings: Settings, wait_s: float | None = None) -> EventLog:
    """The log at `settings.event_log_url`, made if it is not there; raises SettingsError for an unknown scheme.

    `wait_s` is how long one statement waits for the server or for another process; None: as long as it takes.
    """
    rules = identity_rules(settings)
    sync_decisions = settings.decision_durability == "disk"
    rates = RatesFile(settings.home / RATES_FILE)
    scheme = settings.event_log_url.partition("://")[0]
    if scheme in ("postgresql", "postgres"):
        try:
            from features.log.postgres import PostgresEventLog
        except ImportError as error:
            raise SettingsError(
                "OMNI_EVENT_LOG names a PostgreSQL server, and psycopg is not installed.",
                repair="Install it: pip install -e '.[postgres]' -c constraints.txt",
            ) from error
        return PostgresEventLog(settings.event_log_url, rules, wait_s, settings.event_log_schema, sync_decisions, rates)
    path = sqlite_path(settings)
    if path is None:
        raise SettingsError(
            f"OMNI_EVENT_LOG is {settings.event_log_place!r}, which this version cannot open.",
            repair="Write it as sqlite:///relative/path.db, sqlite:////absolute/path.db or postgresql://host/database,"
            " or leave it out.",
        )
    return SqliteEventLog(path, rules, wait_s, sync_decisions, rates)
