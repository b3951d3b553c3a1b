"""The classes that read configuration come in, tables of their keys go out, in the words that stand under each field."""

import ast
import dataclasses
import inspect
import re
import textwrap
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from features import settings as places
from features.settings import Settings
from features.sources.mapping_config import MappingConfig
from serving.decision import rules as house_rules
from serving.decision.rules import Rules
from site_builder.markdown import code, table, text


def mapping() -> str:
    """The keys of a mapping."""
    return (
        "What they do, with examples: [Your data](../your-data.md#the-keys-of-a-mapping).\n\n"
        f"{_sentence(MappingConfig)}\n\n{_models(MappingConfig)}"
    )


def rules() -> str:
    """The keys of rules.toml, and the file as it is shipped."""
    shipped = Path(house_rules.__file__).with_name("rules.toml").read_text(encoding="utf-8")
    return (
        "What is done with them: [Decisions](../decisions.md#rules).\n\n"
        f"{_models(Rules)}\n\n## The file as shipped\n\n```toml\n{shipped.rstrip()}\n```"
    )


def settings() -> str:
    """The variables, their keys in settings.toml, and what they say."""
    keys = dict(places._VARIABLES)
    variables = re.findall(r'env\.get\("([A-Z_]+)"', inspect.getsource(Settings.from_env))
    key_of = {variable: key for key, variable in keys.items()}
    words = attribute_words(Settings)
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    rows = []
    for variable in dict.fromkeys(variables):
        key = key_of.get(variable, "")
        name = _FIELDS.get(variable, key)
        rows.append((code(variable), code(key) if key else "", _shown(defaults.get(name)), text(words.get(name, ""))))
    return (
        "How they work together, and the other files of a home: [Settings](../operations.md#settings). The environment goes "
        "before the file.\n\n" + table(("variable", "key in settings.toml", "default", "what it says"), rows)
    )


_FIELDS = {"OMNI_HOME": "home", "OMNI_EVENT_LOG": "event_log_url", "OMNI_REDIS": "redis_url"}
"""Fields of `Settings` whose name is not the key's."""


_FEW = 4
"""So many choices stand in the column of types."""


def attribute_words(kind: type) -> dict[str, str]:
    """The docstrings that stand under the fields of a class, its bases' too, by the field's name."""
    words: dict[str, str] = {}
    for part in (part for part in reversed(kind.__mro__) if part.__module__ == kind.__module__):
        tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
        statements = next(node.body for node in tree.body if isinstance(node, ast.ClassDef))
        for statement, after in pairwise(statements):
            match statement, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    words[name] = " ".join(said.split())
    return words


def _models(model: type[BaseModel]) -> str:
    """The table of a config and one for each of its sections."""
    parts = [_table(model)]
    for section, keys in _sections(model).items():
        title = ", ".join(f"[{key}]" for key in keys)
        parts.append(f"## {text(title)}\n\n{_sentence(section)}\n\n{_table(section)}")
    return "\n\n".join(parts)


def _table(model: type[BaseModel]) -> str:
    """A row per key; where no field of a section has words of its own, its sentence says all."""
    words = attribute_words(model)
    heading = ("key", "type", "default", "what it says")
    rows = [
        (
            code(name),
            text(_type(field.annotation)),
            "needed" if field.is_required() else _shown(field.get_default(call_default_factory=True)),
            text(_with_choices(words.get(name, field.description or _of_section(field.annotation)), field.annotation)),
        )
        for name, field in model.model_fields.items()
    ]
    n_columns = 4 if any(row[3] for row in rows) else 3
    return table(heading[:n_columns], [row[:n_columns] for row in rows])


def _with_choices(said: str, annotation: Any) -> str:
    """The words of a key, and after them what it may be, where that is too much for the column of types."""
    choices = [value for part in (annotation, *_parts(annotation)) if _is_long(part) for value in part.__args__]
    return f"{said} One of: {', '.join(code(value) for value in choices)}." if choices else said


def _is_long(hint: Any) -> bool:
    return "Literal" in str(getattr(hint, "__origin__", "")) and len(hint.__args__) > _FEW


def _of_section(annotation: Any) -> str:
    is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return " ".join((annotation.__doc__ or "").split()) if is_section else ""


def _sections(model: type[BaseModel], within: str = "") -> dict[type[BaseModel], list[str]]:
    """Sections of a config, and of its sections, with the keys under which they stand."""
    known: dict[type[BaseModel], list[str]] = {}
    for name, hint in get_type_hints(model, include_extras=False).items():
        for kind in (hint, *_parts(hint)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                known.setdefault(kind, []).append(f"{within}{name}")
                known |= _sections(kind, f"{within}{name}.")
    return known


def _parts(hint: Any) -> list[Any]:
    inner = list(getattr(hint, "__args__", ()))
    return inner + [deeper for part in inner for deeper in _parts(part)]


def _sentence(kind: type) -> str:
    return text(" ".join((kind.__doc__ or "").split()))


def _type(annotation: Any) -> str:
    """A type hint as somebody who writes TOML would say it."""
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "left out"}
    if annotation in names:
        return names[annotation]
    origin = getattr(annotation, "__origin__", None)
    inner: list[Any] = list(getattr(annotation, "__args__", ()))
    if hasattr(annotation, "__metadata__"):
        return _type(inner[0] if inner else annotation.__origin__)
    if origin is tuple or origin is list or origin is frozenset:
        return f"list of {_type(inner[0])}"
    if origin is dict or "Mapping" in str(origin):
        return f"{_type(inner[0])} → {_type(inner[1])}"
    if _is_long(annotation):
        return "word"
    if "Literal" in str(origin):
        return " or ".join(code(value) for value in inner)
    if inner:
        return " or ".join(_type(one) for one in inner)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return re.sub(r"(?<!^)(?=[A-Z])", " ", annotation.__name__).lower()
    return getattr(annotation, "__name__", str(annotation))


def _shown(default: Any) -> str:
    """A default as TOML has it; nothing where there is none."""
    if default is None or default is PydanticUndefined or default is dataclasses.MISSING or default in ((), {}, ""):
        return ""
    if isinstance(default, BaseModel):
        return "its own defaults"
    if isinstance(default, tuple | dict):
        return ", ".join(_value(one) for one in default)
    return _value(default)


def _value(value: Any) -> str:
    plain = getattr(value, "value", value)
    return code(str(plain).lower() if isinstance(plain, bool) else plain)
