"""Guesses of a mapping come in, each with the reason for it; a mapping.toml with a comment for each goes out."""

import json
from dataclasses import dataclass, field
from typing import Any

KeyValue = dict[str, tuple[Any, str]]
"""Key -> value, and why."""


@dataclass
class Draft:
    """A mapping as it comes about; `notes` are what somebody should look at."""

    top: KeyValue = field(default_factory=dict)
    columns: KeyValue = field(default_factory=dict)
    constants: KeyValue = field(default_factory=dict)
    identifiers: KeyValue = field(default_factory=dict)
    properties: KeyValue = field(default_factory=dict)
    consent: KeyValue = field(default_factory=dict)
    products: KeyValue = field(default_factory=dict)
    kinds: KeyValue = field(default_factory=dict)
    channels: KeyValue = field(default_factory=dict)
    skip: KeyValue = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def used(self) -> set[str]:
        """Paths that something is taken from."""
        sections = (self.columns, self.identifiers, self.properties, self.consent, self.products)
        values = [value for section in sections for value, _ in section.values()]
        return {path for value in values for path in ([value["column"]] if isinstance(value, dict) else [value])}

    def to_toml(self, title: str) -> str:
        """The text of the mapping."""
        lines = [f"# {title}", *(f"# CHECK: {note}" for note in self.notes), ""]
        lines += _pairs(self.top)
        for name in (
            "columns",
            "constants",
            "identifiers",
            "properties",
            "consent",
            "products",
            "kinds",
            "channels",
            "skip",
        ):
            section: KeyValue = getattr(self, name)
            if section:
                lines += ["", f"[{name}]", *_pairs(section)]
        return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def _pairs(section: KeyValue) -> list[str]:
    written = [(f"{_key(key)} = {_value(value)}", why) for key, (value, why) in section.items()]
    width = min(max((len(pair) for pair, _ in written), default=0), 60)
    return [f"{pair:<{width}}  # {' '.join(why.split())}" if why else pair for pair, why in written]


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _value(key)


def _value(value: Any) -> str:
    """A value as TOML writes it: JSON's texts and numbers are TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
