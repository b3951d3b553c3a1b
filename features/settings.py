"""Where things are: read from a mapping that is given (the environment at the entry points), never at import.

What the environment leaves out may stand in OMNI_HOME/settings.toml, so that one file moves a home to other engines.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from features.config import known_keys, read_toml
from features.errors import InputError, SettingsError
from features.moments import utc
from features.vocabulary import CORE_TASKS, Task

PARENT: Final = "OMNI_PARENT"
"""Environment variable with the process id of whoever starts the stream and wants it to end with them."""

SCHEMA: Final = "omni"
"""The schema of a PostgreSQL database in which the event log's tables lie."""


STARTED_WITH: Final = "OMNI_STARTED_WITH"
"""Environment variable with the folder of the files that a service was started with: see `Settings.files_home`."""
SETTINGS_FILE: Final = "settings.toml"
IDENTITY_FILE: Final = "identity.toml"
ATTRIBUTES_FILE: Final = "attributes.toml"
"""Which attributes of customers are signals, in OMNI_HOME."""
RULES_FILE: Final = "rules.toml"
"""The retailer's own rules, in OMNI_HOME."""
OFFERS_FILE: Final = "offers.toml"
"""The retailer's offers, likewise, where they are kept in a file."""
MAX_TIMEOUT_MS: Final = 25_000
"""The longest that anybody may wait for an answer of the service."""
_VARIABLES: Final = {
    "event_log": "OMNI_EVENT_LOG",
    "online_store": "OMNI_ONLINE_STORE",
    "redis": "OMNI_REDIS",
    "offline_store": "OMNI_OFFLINE_STORE",
    "spark_master": "OMNI_SPARK_MASTER",
    "identifier_key": "OMNI_IDENTIFIER_KEY",
    "bookkeeping_key": "OMNI_BOOKKEEPING_KEY",
    "admin_key": "OMNI_ADMIN_KEY",
    "access": "OMNI_ACCESS",
    "rate_limit": "OMNI_RATE_LIMIT",
    "cors_origins": "OMNI_CORS_ORIGINS",
    "log_format": "OMNI_LOG_FORMAT",
    "tasks": "OMNI_TASKS",
    "currency": "OMNI_CURRENCY",
    "clock_start": "OMNI_CLOCK_START",
    "timeout_ms": "OMNI_TIMEOUT_MS",
    "deadline_ms": "OMNI_DEADLINE_MS",
    "decision_durability": "OMNI_DECISION_DURABILITY",
    "mlflow_tracking_uri": "MLFLOW_TRACKING_URI",
}
"""Keys of the settings file, and the variables that they stand for."""
_SECRET_LENGTH: Final = 16
"""Fewest characters of a secret that somebody could guess at over HTTP."""


@dataclass(frozen=True)
class Settings:
    """Places of all local state; everything under `home` is deletable and rebuilt from the sources."""

    home: Path
    """The folder of all local state."""
    event_log_url: str
    """The event log: SQLite's URL of a file, or PostgreSQL's, `postgresql://…`."""
    mlflow_tracking_uri: str
    """Tracking and registry: a file's URL, or that of an MLflow server."""
    online_store: str = "sqlite"
    """Where states are for the service: `sqlite`, or `redis` for several machines."""
    redis_url: str = "localhost:6379"
    """Redis' address, with its options after commas; used with `redis` only."""
    clock_start: datetime | None = None
    """The moment at which the service's clock starts, for data that ends in the past; left out: the real one."""
    offline_store: str = "duckdb"
    """Who folds the history and answers for training rows: `duckdb` in this process, or `spark`."""
    spark_master: str = "local[2]"
    """Where Spark runs; used with `spark` only."""
    identifier_key: str = field(default="", repr=False)
    """A secret that e-mail addresses and phone numbers are hashed with; `own`: a key that the log makes; empty: none."""
    bookkeeping_key: str = field(default="", repr=False)
    """A secret: who sends it may bring decisions over HTTP; empty: only the service and the command line make any."""
    admin_key: str = field(default="", repr=False)
    """A secret: a key with every scope, for where no key can be made before the service starts; empty: there is none."""
    access: str = "auto"
    """Whether HTTP demands keys: `keys`, `open`, or `auto`, which is keys where it listens beyond this machine."""
    rate_limit: float = 0.0
    """Requests per second of one key, unless the key has a rate of its own; 0: as many as come."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may ask what a browser may ask."""
    log_format: str = "text"
    """What a service logs: `text`, or `json`, a line of JSON for each record and each request."""
    tasks: tuple[Task, ...] = CORE_TASKS
    """The models that this shop needs: the service is ready without the others, and answers with them where they are."""
    currency: str = ""
    """What this home counts in, ISO 4217; empty: the currency of the first value that names one."""
    started_with: Path | None = None
    """Copies of settings, identity and attributes.toml that a running service keeps to, whatever becomes of the files."""

    event_log_schema: str = SCHEMA
    """Another one while a backup is restored beside the log."""
    timeout_ms: int = 200
    """How long one answer of the service waits for the online store, and for the event log, where they are servers."""
    deadline_ms: int = 200
    """How long a question waits for its answer that does not say so itself; after that what needs no model is answered."""
    decision_durability: str = "disk"
    """What an answered decision survives: `disk` a power cut as well, `process` the end of every process of ours."""

    other_timeline: Path | None = None
    """A timeline in place of the home's own, while something is learnt without some customers; never set from outside."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read `OMNI_HOME`, `OMNI_EVENT_LOG`, `OMNI_ONLINE_STORE`, `OMNI_REDIS`, `OMNI_OFFLINE_STORE`,
        `OMNI_SPARK_MASTER`, `OMNI_CLOCK_START`, `OMNI_IDENTIFIER_KEY`, `OMNI_BOOKKEEPING_KEY`, `OMNI_ADMIN_KEY`,
        `OMNI_ACCESS`, `OMNI_RATE_LIMIT`, `OMNI_CORS_ORIGINS`, `OMNI_LOG_FORMAT`, `OMNI_TASKS`, `OMNI_CURRENCY`,
        `OMNI_TIMEOUT_MS`, `OMNI_DEADLINE_MS`, `OMNI_DECISION_DURABILITY`, `MLFLOW_TRACKING_URI`.

        Of what the mapping does not have, the settings file's value counts. Raises SettingsError when a value cannot be
        used.
        """
        home = Path(env.get("OMNI_HOME", ".omni")).expanduser().resolve()
        copies = Path(env[STARTED_WITH]) if env.get(STARTED_WITH) else home
        started_with = copies if copies != home and copies.is_dir() else None
        env = {**_read_file((started_with or home) / SETTINGS_FILE), **env}
        online_store = env.get("OMNI_ONLINE_STORE", "sqlite")
        if online_store not in ("sqlite", "redis"):
            raise SettingsError(
                f"OMNI_ONLINE_STORE is {online_store!r}.", repair="Set it to 'sqlite' or 'redis', or leave it out."
            )
        offline_store = env.get("OMNI_OFFLINE_STORE", "duckdb")
        if offline_store not in ("duckdb", "spark"):
            raise SettingsError(
                f"OMNI_OFFLINE_STORE is {offline_store!r}.", repair="Set it to 'duckdb' or 'spark', or leave it out."
            )
        durability = env.get("OMNI_DECISION_DURABILITY") or "disk"
        if durability not in ("disk", "process"):
            raise SettingsError(
                f"OMNI_DECISION_DURABILITY is {durability!r}.", repair="Set it to 'disk' or 'process', or leave it out."
            )
        return cls(
            home=home,
            event_log_url=env.get("OMNI_EVENT_LOG", f"sqlite:///{home / 'events.db'}"),
            mlflow_tracking_uri=env.get("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"),
            online_store=online_store,
            redis_url=env.get("OMNI_REDIS", "localhost:6379"),
            clock_start=_parse_clock_start(env.get("OMNI_CLOCK_START", "")),
            offline_store=offline_store,
            spark_master=env.get("OMNI_SPARK_MASTER", "local[2]"),
            identifier_key=env.get("OMNI_IDENTIFIER_KEY", ""),
            bookkeeping_key=_parse_secret("OMNI_BOOKKEEPING_KEY", env.get("OMNI_BOOKKEEPING_KEY", "")),
            admin_key=_parse_secret("OMNI_ADMIN_KEY", env.get("OMNI_ADMIN_KEY", "")),
            access=_parse_word("OMNI_ACCESS", env.get("OMNI_ACCESS", ""), ("auto", "keys", "open")),
            rate_limit=_parse_rate(env.get("OMNI_RATE_LIMIT", "")),
            cors_origins=_parse_origins(env.get("OMNI_CORS_ORIGINS", "")),
            log_format=_parse_word("OMNI_LOG_FORMAT", env.get("OMNI_LOG_FORMAT", ""), ("text", "json")),
            tasks=_parse_tasks(env.get("OMNI_TASKS", "")),
            currency=_parse_currency(env.get("OMNI_CURRENCY", "")),
            started_with=started_with,
            timeout_ms=_parse_ms("OMNI_TIMEOUT_MS", env.get("OMNI_TIMEOUT_MS", ""), cls.timeout_ms),
            deadline_ms=_parse_ms("OMNI_DEADLINE_MS", env.get("OMNI_DEADLINE_MS", ""), cls.deadline_ms),
            decision_durability=durability,
        )

    @property
    def files_home(self) -> Path:
        """Where settings.toml, identity.toml and attributes.toml are read."""
        return self.started_with or self.home

    @property
    def event_log_place(self) -> str:
        """The event log's URL without user, password and options: for messages and notes."""
        return without_password(self.event_log_url)

    @property
    def redis_place(self) -> str:
        """Redis' address without password and options: for messages and notes."""
        return ",".join(part for part in self.redis_url.split(",") if "=" not in part or part.startswith("db="))

    @property
    def timeline_path(self) -> Path:
        """One row per event, per customer in time order (Parquet)."""
        return self.other_timeline or self.home / "offline" / "timeline.parquet"

    @property
    def epochs_path(self) -> Path:
        """The timelines of customers who were put together from several, once for every time that this happened."""
        return self.home / "offline" / "epochs.parquet"

    @property
    def products_path(self) -> Path:
        """The product table (Parquet)."""
        return self.home / "offline" / "products.parquet"

    @property
    def stock_path(self) -> Path:
        """Units per product and store, written by the retailer's own systems (Parquet); may be missing."""
        return self.home / "offline" / "stock.parquet"

    @property
    def customer_state_path(self) -> Path:
        """Feast's offline source of the view `customer_state` (Parquet)."""
        return self.home / "offline" / "customer_state.parquet"

    @property
    def customer_products_path(self) -> Path:
        """Feast's offline source of the view `customer_products`: sequence, cart and habitual products (Parquet)."""
        return self.home / "offline" / "customer_products.parquet"

    @property
    def product_sales_path(self) -> Path:
        """Feast's offline source of the view `product_sales` (Parquet)."""
        return self.home / "offline" / "product_sales.parquet"

    @property
    def rejected_dir(self) -> Path:
        """One Parquet file of rejected rows per ingest, with the reasons."""
        return self.home / "rejected"

    @property
    def feast_dir(self) -> Path:
        """Feast's repository folder: feature_store.yaml, the shim that imports the definitions, registry."""
        return self.home / "feast"

    @property
    def online_db_path(self) -> Path:
        """Feast's SQLite online store."""
        return self.feast_dir / "online.db"

    @property
    def mlflow_artifacts_dir(self) -> Path:
        """Model files and plots of every run."""
        return self.home / "mlflow" / "artifacts"


def without_password(url: str) -> str:
    """`url` without user, password and options."""
    return re.sub(r"://.*@", "://", url).partition("?")[0]  # up to the last @: a password may hold any character


def _read_file(file: Path) -> dict[str, str]:
    """The settings file's values by the names of the variables; empty where there is no file."""
    if not file.exists():
        return {}
    try:
        content = read_toml(file)
    except InputError as error:
        raise SettingsError(error.message, repair=error.repair) from error
    for key, value in content.items():
        if key not in _VARIABLES:
            raise SettingsError(f"{file}: there is no key {key}.", repair=known_keys(key, list(_VARIABLES)))
        if not isinstance(value, str):
            raise SettingsError(f"{file}: {key}: Input should be a text.", repair=f'Write it like {key} = "…".')
    return {_VARIABLES[key]: value for key, value in content.items()}


def _parse_tasks(text: str) -> tuple[Task, ...]:
    named = {part.strip() for part in text.split(",")} - {""}
    unknown = sorted(named - set(Task))
    if unknown:
        raise SettingsError(
            f"OMNI_TASKS names {unknown[0]!r}.", repair=f"Name some of {', '.join(Task)}, with commas, or leave it out."
        )
    return tuple(task for task in Task if task in named) or CORE_TASKS


def _parse_word(variable: str, text: str, words: tuple[str, ...]) -> str:
    if text and text not in words:
        listed = ", ".join(repr(word) for word in words[:-1])
        raise SettingsError(
            f"{variable} is {text!r}.", repair=f"Set it to {listed} or {words[-1]!r}, or leave it out for {words[0]!r}."
        )
    return text or words[0]


def _parse_rate(text: str) -> float:
    if not text:
        return Settings.rate_limit
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text):
        raise SettingsError(
            f"OMNI_RATE_LIMIT is {text!r}.", repair="Write requests per second of one key, like 50, or 0 for no limit."
        )
    return float(text)


def _parse_origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", origin):
            raise SettingsError(
                f"OMNI_CORS_ORIGINS names {origin!r}.",
                repair="Write origins as browsers do, with commas: https://shop.example,https://www.shop.example",
            )
    return origins


def _parse_secret(variable: str, text: str) -> str:
    if text and (len(text) < _SECRET_LENGTH or not re.fullmatch("[!-~]+", text)):
        raise SettingsError(
            f"{variable} is no secret that a header can carry: it has {_SECRET_LENGTH} or more letters, digits and"
            " marks of ASCII, and no blanks.",
            repair="Make one: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return text


def _parse_currency(text: str) -> str:
    if text and not re.fullmatch("[A-Z]{3}", text):
        raise SettingsError(
            f"OMNI_CURRENCY is {text!r}.", repair="Write three capital letters of ISO 4217, like EUR, or leave it out."
        )
    return text


def _parse_ms(name: str, text: str, default: int) -> int:
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_TIMEOUT_MS:
        raise SettingsError(
            f"{name} is {text!r}.",
            repair=f"Write whole milliseconds from 1 to {MAX_TIMEOUT_MS}, or leave it out for {default}.",
        )
    return int(text)


def _parse_clock_start(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return utc(text)
    except InputError as error:
        raise SettingsError(
            f"OMNI_CLOCK_START is {text!r}.", repair="Write it as ISO 8601, for example 2018-01-01T00:00:00Z."
        ) from error
