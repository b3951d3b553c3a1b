"""The house's rules and a variant in, the rules that it decides by out; pure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from features.config import check
from features.errors import InputError
from features.experiments.experiment import Experiment, Variant
from serving.decision.rules import Rules

THE_HOUSES: Final = ("holdout_share", "holdout_name")
"""Rules that stand beside every experiment, and are no variant's to change."""
_OF_CONTROL: Final[Mapping[str | None, Mapping[str, Any]]] = {
    None: {},
    "random_allowed": {"exploration": 1.0},
    "levers_off": {"levers": False},
}


def rules_of(rules: Rules, variants: Sequence[Variant]) -> Rules:
    """The rules with what all of these change. Raises InputError for a key or value that no rules can have."""
    changes = [{**variant.rules, **_OF_CONTROL[variant.control]} for variant in variants]
    if not any(changes):
        return rules
    content = rules.model_dump(mode="json")
    for change in changes:
        content = _merged(content, change)
    return check(Rules, content, Path(" and ".join(variant.name for variant in variants)))


def check_variants(experiment: Experiment, rules: Rules) -> None:
    """Raises InputError where one of the variants cannot be decided by under these rules of the house."""
    for variant in experiment.variants:
        own = [key for key in THE_HOUSES if key in variant.rules]
        if own:
            raise InputError(
                f"Variant {variant.name} changes {own[0]}, which is the house's.",
                repair="Set it in rules.toml: who is held out is in no experiment.",
            )
        rules_of(rules, [variant])


def _merged(content: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A table with another on top: tables within are merged, everything else is replaced."""
    both = {
        key: _merged(content[key], value)
        if isinstance(value, Mapping) and isinstance(content.get(key), Mapping)
        else value
        for key, value in change.items()
    }
    return {**content, **both}
