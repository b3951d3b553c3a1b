"""A file of offers comes in, TOML, CSV, JSONL or Parquet; its offers go out, and what was refused, with its place and reason.

TOML holds a list `[[offers]]`, or sections `[offers.ID]`. In a table each row is an offer: a nested field is a column with dots
(`caps.per_customer.max`), a list is text with `;` between its parts, what is said is a column for each channel and language
(`creatives.email.de`, `creatives.any`), and an empty field says nothing.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from features.config import known_keys, parse_toml
from features.errors import InputError
from features.offers.offer import Offer, OfferCaps

OFFERS: Final = "offers"
"""The key of the list, or of the sections, in TOML."""
_LISTS: Final = ("channels", "products", "categories", "brands", "store_ids", "tags")
_CREATIVES: Final = "creatives"
_ANY: Final = "any"
_ID: Final = "offer_id"


@dataclass(frozen=True)
class RefusedOffer:
    """What is no offer, and why."""

    place: str
    """Where it stands: `row 3`, `offers.spring`."""
    reason: str


@dataclass(frozen=True)
class ReadOffers:
    """What a file holds."""

    offers: tuple[Offer, ...] = ()
    refused: tuple[RefusedOffer, ...] = ()


def read_offers(file: Path) -> ReadOffers:
    """The offers of a file. Raises InputError for one that cannot be read, or has a column that no offer has."""
    if file.suffix.lower() == ".toml":
        try:
            return parse_offers(file.read_bytes(), file)
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}.", repair="Give a readable file of offers.") from error
    if not file.exists():
        raise InputError(f"There is no file {str(file)!r}.", repair="Give the path of a file of offers.")
    return _checked(_table_rows(file))


def parse_offers(content: bytes, file: Path) -> ReadOffers:
    """The offers of TOML that was read from `file`. Raises InputError for what holds no list of them."""
    whole = parse_toml(content, file)
    others = [key for key in whole if key != OFFERS]
    if others:
        raise InputError(f"{file}: there is no key {others[0]}.", repair="Offers are [[offers]], or [offers.ID].")
    items = whole.get(OFFERS, [])
    if isinstance(items, dict):
        return _checked((f"{OFFERS}.{key}", _with_id(key, value)) for key, value in items.items())
    if not isinstance(items, list):
        raise InputError(f"{file}: {OFFERS} is no list.", repair="Offers are [[offers]], or [offers.ID].")
    return _checked((f"{OFFERS}, number {number}", item) for number, item in enumerate(items, 1))


def reason_of(error: ValidationError) -> str:
    """What is wrong with an offer, in one line: the field first."""
    item = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    place = [str(part) for part in item["loc"] if not str(part).startswith(("constrained-", "literal["))]
    words = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        section: Mapping[str, Any] = (OfferCaps if place[0] == "caps" else Offer).model_fields
        return f"there is no field {'.'.join(place)}. {known_keys(place[-1], list(section))}"
    return f"{'.'.join(place)}: {words}" if place else words


def _with_id(key: str, value: Any) -> Any:
    return {_ID: key, **value} if isinstance(value, dict) and _ID not in value else value


def _checked(items: Iterator[tuple[str, Any]]) -> ReadOffers:
    offers: dict[str, Offer] = {}
    refused = []
    for place, item in items:
        if isinstance(item, RefusedOffer):
            refused.append(item)
            continue
        try:
            offer = Offer.model_validate(item)
        except ValidationError as error:
            refused.append(RefusedOffer(place, reason_of(error)))
            continue
        if offer.offer_id in offers:
            refused.append(RefusedOffer(place, f"offer_id: {offer.offer_id} came before"))
        else:
            offers[offer.offer_id] = offer
    return ReadOffers(tuple(offers.values()), tuple(refused))


def _table_rows(file: Path) -> Iterator[tuple[str, Any]]:
    from features.sources.readers import ReadOptions, read_rows  # brings pandas and DuckDB, which no worker needs

    for raw in read_rows(file, ReadOptions()):
        for row in raw.rejected.to_pylist():
            yield f"row {row['index'] + 1}", RefusedOffer(f"row {row['index'] + 1}", str(row["reason"]))
        unknown = [name for name in raw.names if not _is_column(name)]
        if unknown:
            columns = [*(name for name in Offer.model_fields if name not in ("caps",)), "caps.per_day"]
            raise InputError(f"{file}: no offer has a column {unknown[0]}.", repair=known_keys(unknown[0], columns))
        for number, item in zip(raw.numbers.tolist(), raw.objects(), strict=True):
            yield f"row {number + 1}", _nested(item)


def _is_column(name: str) -> bool:
    first, *rest = name.split(".")
    if first == _CREATIVES:
        return len(rest) <= 2
    model: Any = Offer
    for part in (first, *rest):
        fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
        if part not in fields:
            return False
        kinds = getattr(fields[part].annotation, "__args__", (fields[part].annotation,))
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return True


def _nested(item: Mapping[str, Any]) -> dict[str, Any]:
    """A row as an offer is written in JSON."""
    offer: dict[str, Any] = {}
    said = []
    for name, value in item.items():
        value = _plain(value)
        if value is None:
            continue
        first, *rest = name.split(".")
        if first == _CREATIVES and rest:
            place = {} if rest[0] == _ANY else {"channel": rest[0]}
            said.append({**place, **({"language": rest[1]} if len(rest) > 1 else {}), "text": value})
        elif isinstance(value, str) and first == _CREATIVES:
            said += _json(value)
        elif isinstance(value, str) and first in _LISTS:
            offer[first] = [part.strip() for part in value.split(";") if part.strip()]
        else:
            section = offer
            for part in (first, *rest)[:-1]:
                section = section.setdefault(part, {})
            section[(first, *rest)[-1]] = value
    return {**offer, _CREATIVES: said} if said else offer


def _plain(value: Any) -> Any:
    """A value without what says nothing: blanks, NaN, and parts that are null."""
    if isinstance(value, dict):
        parts = {name: _plain(part) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part is not None} or None
    if isinstance(value, list):
        return [part for part in map(_plain, value) if part is not None] or None
    if isinstance(value, float) and math.isnan(value):
        return None
    return (value.strip() or None) if isinstance(value, str) else value


def _json(text: str) -> list[Any]:
    try:
        parts = json.loads(text)
    except ValueError:
        return [text]  # what is no creative is refused where creatives are checked
    return parts if isinstance(parts, list) else [parts]
