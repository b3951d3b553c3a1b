"""Opens the event log that the settings name: a SQLite file, or a schema on a PostgreSQL server."""

from pathlib import Path

from features.errors import SettingsError
from features.log.event_log import EventLog
from features.log.identity import identity_rules
from features.log.sqlite import SqliteEventLog
from features.settings import Settings


def open_log(settings: Settings, wait_s: float | None = None) -> EventLog:
    """The log at `settings.event_log_url`, made if it is not there; raises SettingsError for an unknown scheme.

    `wait_s` is how long one statement waits for the server or for another process; None: as long as it takes.
    """
    rules = identity_rules(settings)
    scheme, separator, rest = settings.event_log_url.partition("://")
    if scheme in ("postgresql", "postgres"):
        try:
            from features.log.postgres import PostgresEventLog
        except ImportError as error:
            raise SettingsError(
                "OMNI_EVENT_LOG names a PostgreSQL server, and psycopg is not installed.",
                repair="Install it: pip install -e '.[postgres]' -c constraints.txt",
            ) from error
        return PostgresEventLog(settings.event_log_url, rules, wait_s)
    if not separator or scheme != "sqlite" or not rest.startswith("/") or rest in ("/", "/:memory:"):
        raise SettingsError(
            f"OMNI_EVENT_LOG is {settings.event_log_place!r}, which this version cannot open.",
            repair="Write it as sqlite:///relative/path.db, sqlite:////absolute/path.db or postgresql://host/database,"
            " or leave it out.",
        )
    return SqliteEventLog(Path(rest[1:]), rules, wait_s)
