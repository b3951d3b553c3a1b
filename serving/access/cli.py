"""The commands for keys: `omni key create`, `omni key list`, `omni key revoke`."""

import os
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer

from features.console import JsonOption, emit
from features.settings import Settings
from serving.access.keys import ApiKey, Scope, create_key, read_keys, revoke_key


@dataclass(frozen=True)
class Created:
    """A key, shown this once."""

    key: str
    name: str
    scopes: tuple[Scope, ...]
    expires_at: datetime | None
    note: str = "This key is shown once: keep it where secrets are kept."


@dataclass(frozen=True)
class Listed:
    """The keys of a home, without the keys themselves."""

    keys: tuple[ApiKey, ...]

    def __rich__(self) -> Any:
        """As a table."""
        from rich.markup import escape
        from rich.table import Table

        table = Table("name", "id", "scopes", "made", "ends", "requests/s", box=None, pad_edge=False)
        for key in self.keys:
            ends = "never" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M}"
            rate = "as set" if key.rate is None else f"{key.rate:g}"
            name = escape(key.name)
            table.add_row(name, key.key_id, ", ".join(key.scopes), f"{key.created_at:%Y-%m-%d %H:%M}", ends, rate)
        return table


def key_commands() -> typer.Typer:
    """The group `omni key`."""
    group = typer.Typer(help="Keys for the HTTP service: who may ask what. Only hashes of them are kept.")
    group.command("create")(create)
    group.command("list")(list_keys)
    group.command("revoke")(revoke)
    return group


def create(
    name: Annotated[str, typer.Argument(help="What it is for, such as web-shop; requests are logged under this name.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may be used for; can be given more than once.")],
    rate: Annotated[
        float | None, typer.Option(min=0.001, max=1e6, help="Requests per second; OMNI_RATE_LIMIT without it.")
    ] = None,
    expires_days: Annotated[float | None, typer.Option(min=0.001, max=36_500, help="Days after which it ends.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, once. It counts at once, in running services, too."""
    made = create_key(_settings().home, name, tuple(scope), expires_days, rate)
    emit(Created(made.key, name, made.record.scopes, made.record.expires_at), as_json)


def list_keys(as_json: JsonOption = False) -> None:
    """The keys of this home: names, ids, scopes and ends."""
    keys = [key.model_copy(update={"sha256": "…"}) for key in read_keys(_settings().home)]
    emit(Listed(tuple(keys)), as_json)


def revoke(
    name: Annotated[str, typer.Argument(help="The key's name.")],
    as_json: JsonOption = False,
) -> None:
    """Take a key out of use, within a second in running services, too."""
    key = revoke_key(_settings().home, name)
    emit({"revoked": key.name, "key_id": key.key_id}, as_json)


def _settings() -> Settings:
    return Settings.from_env(os.environ)
