"""Rules and the keys that are to differ in, other rules out; pure."""

import json
from collections.abc import Mapping
from typing import Any, Final

from serving.decision.rules import Rules

WHOLE: Final = frozenset({"channel_caps"})
"""Sections that are given as a whole: a channel that is left out has no cap."""


def changed_rules(rules: Rules, changes: Mapping[str, Any]) -> Rules:
    """The rules with some keys changed, in sections those alone. Raises pydantic's ValidationError, which names the key."""
    return Rules.model_validate(_over(json.loads(rules.text), changes))


def _over(whole: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    changed = dict(whole)
    for key, value in changes.items():
        inner = changed.get(key)
        is_section = isinstance(inner, Mapping) and isinstance(value, Mapping) and key not in WHOLE
        changed[key] = _over(inner, value) if is_section else value  # type: ignore[arg-type]  # it is one, then
    return changed
