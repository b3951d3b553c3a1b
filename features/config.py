"""TOML files as checked configs: a file and a pydantic model come in, the model's values or one line of complaint go out.

A config is a pydantic model, best a `Config`, in the file of what it configures; nested models are the file's sections.
Five callers' needs are met here: a file that must be there (`load_toml`), one of the user's own that may replace defaults
(`load_own`), content that is in hand already (`check`), the words for a key that nobody knows (`known_keys`), and
`key=value` texts from a command line (`parse_overrides`).
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import EllipsisType, NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from features.errors import InputError

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[int | str, ...]
"""Where in a file a value lies: names of sections and keys, indices of lists."""

MIN_DAYS, MAX_DAYS = 1 / 1440, 100_000
"""The shortest and the longest time that a key of a config may name, if it is not 0; for ever is 99,999 days."""
_BAD_KEY = "[key]"
"""pydantic's last step of a place where not the value but the key of a table is wrong."""


class Config(BaseModel):
    """A file or section of which every key is known: others are refused, old names with the new ones.

    A number is finite, and no switch: pydantic would take true for 1. What ends in `days` is a length of time that can be
    added to a date.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    RENAMED: ClassVar[Mapping[str, str]] = {}
    """Old name -> new name of keys of this section, such as {"lambda_l2": "l2"}; any pydantic model may have one."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _alternatives(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError("Input should be a number, not true or false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _days_that_a_calendar_holds(cls, value: Any, info: ValidationInfo) -> Any:
        for days in value if isinstance(value, tuple) else (value,):
            is_length = str(info.field_name).endswith("days") and isinstance(days, int | float)
            if is_length and days > 0 and not MIN_DAYS <= days <= MAX_DAYS:
                raise ValueError(f"Input should be from a minute to {MAX_DAYS:,} days")
        return value


def load_toml(
    model: type[Model], file: Path, overrides: Mapping[str, Any] | None = None, *, section: str | None = None
) -> Model:
    """The file, or one of its sections, with `overrides` (dotted key -> value) in place of what it says.

    Raises InputError for a file that cannot be read, a missing section, an unknown or renamed key and a wrong value.
    """
    content = read_toml(file)
    if section is not None:
        if not isinstance(content.get(section), dict):
            raise InputError(f"{file}: there is no section {section}.", repair=known_keys(section, list(content)))
        content = content[section]
    for key, value in (overrides or {}).items():
        _replace(content, key, value)
    return check(model, content, file, () if section is None else (section,), overrides or {})


def load_own(model: type[Model], own: Path, given: Path | None = None) -> Model:
    """What `given` says, else what the user's `own` file says if it is there, else the defaults. Raises InputError."""
    if given is None and not own.exists():
        return model()
    return load_toml(model, given or own)


def read_toml(file: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises InputError for one that cannot be read or is not TOML."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}.", repair="Give a readable TOML file.") from error
    return parse_toml(content, file)


def parse_toml(content: bytes, file: Path) -> dict[str, Any]:
    """What TOML that was read from `file` says. Raises InputError for what is not TOML.

    Nothing at all is TOML and would mean the defaults: but it is what a power cut leaves of a file, and refused.
    """
    if not content:
        raise InputError(f"{file} is empty.", repair="Fill it, or delete it for the defaults.")
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not TOML: {error}.", repair="Mend that line.") from error
    except RecursionError as error:
        raise InputError(f"{file} is not TOML: lists in lists without end.", repair="Mend the file.") from error


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts as dotted key -> value: a value is TOML, or else the text itself. Raises InputError."""
    overrides = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise InputError(f"--set {text!r} has no value.", repair="Write it as key=value.")
        if not key.strip():
            raise InputError(f"--set {text!r} has no key.", repair="Write it as key=value.")
        overrides[key.strip()] = _parse_value(value.strip())
    return overrides


def check(
    model: type[Model],
    content: Any,
    file: Path,
    inside: Place = (),
    overrides: Mapping[str, Any] | None = None,
) -> Model:
    """`content`, which lies in `file` at `inside`, as a model; raises InputError with the one key to mend first."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        worst = min(errors, key=lambda each: not _is_wrong_key(each))  # a misspelt key is also a missing one
        raise _complaint(model, worst, file, inside, overrides or {}) from error


def known_keys(key: str, known: Sequence[str]) -> str:
    """The keys that there are, after the one that was probably meant."""
    longer = [each for each in known if len(key) > 3 and key in each]  # max_age is max_age_days before it is max_value
    nearest = difflib.get_close_matches(key, longer, n=1, cutoff=0.0) or difflib.get_close_matches(key, known, n=1)
    guess = f"Did you mean {nearest[0]}? " if nearest else ""
    return f"{guess}Known keys: {', '.join(known)}."


def _complaint(
    model: type[BaseModel], error: ErrorDetails, file: Path, inside: Place, overrides: Mapping[str, Any]
) -> InputError:
    place = tuple(part for part in error["loc"] if part != _BAD_KEY)
    above = [_dotted(place[:end]) for end in range(1, len(place) + 1)]
    below = [key for key in overrides if key.startswith(f"{_dotted(place)}.")]  # a section that only they name
    named = [*(key for key in above if key in overrides), *(below if error["type"] == "extra_forbidden" else ())]
    source = f"--set {named[0]}" if named else str(file)
    name = _dotted((*inside, *place))
    if not _is_wrong_key(error):
        is_section = error["type"] in ("model_type", "dict_type")
        words = "Input should be a section" if is_section else error["msg"].removeprefix("Value error, ")
        return InputError(f"{source}: {name + ': ' if name else ''}{words}.", repair="Mend the value.")
    section = _type_at(model, place[:-1])
    renamed = getattr(section, "RENAMED", {})
    key = str(place[-1])
    if key in renamed:
        new = _dotted((*inside, *place[:-1], renamed[key]))
        return InputError(f"{source}: {name} is now {new}.", repair="Use the new name.")
    return InputError(f"{source}: there is no key {name}.", repair=known_keys(key, _keys(section)))


def _is_wrong_key(error: ErrorDetails) -> bool:
    """Whether a key is not one of those that are known; a key of a wrong form is judged like a value."""
    if error["loc"][-1:] == (_BAD_KEY,):
        return error["type"] in ("literal_error", "enum")
    return error["type"] == "extra_forbidden"


def _keys(section: Any) -> list[str]:
    """The keys that a value of this type may have."""
    if isinstance(section, type) and issubclass(section, BaseModel):
        return list(section.model_fields)
    if isinstance(section, type) and issubclass(section, Enum):
        return [str(member.value) for member in section]
    if get_origin(section) is Literal:
        return [str(value) for value in get_args(section)]
    inner = get_args(section)
    return _keys(inner[0]) if inner else []  # of a table, the type of its keys


def _type_at(kind: Any, place: Place) -> Any:
    """The type of the value at `place` of a value of type `kind`; None where it is not to be told."""
    for part in place:
        kind = _plain(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = None if field is None else field.annotation
        else:
            inner = [each for each in get_args(kind) if not isinstance(each, EllipsisType)]
            kind = inner[-1] if inner else None  # the items of a list, the values of a table
    return _plain(kind)


def _plain(kind: Any) -> Any:
    """A type without what is said about it, and without None beside it."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return _plain(next(each for each in get_args(kind) if each is not NoneType))
    return kind


def _alternatives(kind: Any) -> set[Any]:
    """The types that a value may have: {int, NoneType} of int | None."""
    return set(get_args(kind)) if get_origin(kind) in (Union, UnionType) else {kind}


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place)


def _replace(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for name in sections:
        content = content.setdefault(name, {})
        if not isinstance(content, dict):
            raise InputError(f"--set {key}: {name} is not a section.", repair="See the TOML file for its keys.")
    content[last] = value


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
