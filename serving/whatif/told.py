"""The answer to what would happen, in words for a person."""

from dataclasses import dataclass
from typing import Final

from serving.schemas.what_if import Estimate, LoggedEvidence, Side, WhatIfAnswer

MOVES_TOLD: Final = 12
"""Changes that are listed."""


@dataclass(frozen=True)
class Told:
    """An answer that prints itself."""

    answer: WhatIfAnswer

    def __rich__(self) -> str:
        found = self.answer
        lines = [
            f"{found.customers:,} customers, both ways; {found.moved:,} of them change",
            *_sides(found.old, found.new),
            "",
            "Who changes:" if found.moves else "Nobody changes.",
            *(
                f"  {move.customers:>7,}  {move.before} -> {move.after}   ({', '.join(move.examples)})"
                for move in found.moves[:MOVES_TOLD]
            ),
            "",
            *_logged(found.logged, found.logged_refusal),
            *(f"warning: {text}" for text in found.warnings),
        ]
        return "\n".join(lines)


def _sides(old: Side, new: Side) -> list[str]:
    rows = [
        ("rules", old.rules_version, new.rules_version),
        ("contacts", f"{old.contacts:,.1f}", f"{new.contacts:,.1f}"),
        ("cost", f"{old.cost:,.2f}", f"{new.cost:,.2f}"),
        ("expected value", f"{old.expected_value:,.2f}", f"{new.expected_value:,.2f}"),
        ("no way allowed", f"{old.without_any_arm:,}", f"{new.without_any_arm:,}"),
    ]
    names = [*old.arms, *(arm for arm in new.arms if arm not in old.arms)]
    rows += [(f"  {arm}", f"{old.arms.get(arm, 0):,.1f}", f"{new.arms.get(arm, 0):,.1f}") for arm in names]
    for title, before, after in (("refused by", old.refused, new.refused), ("nothing only for", old.alone, new.alone)):
        rules = [*before, *(rule for rule in after if rule not in before)]
        rows += [(f"{title} {rule}", f"{before.get(rule, 0):,}", f"{after.get(rule, 0):,}") for rule in rules]
    return [f"  {name:<28} {before:>16} {after:>16}" for name, before, after in [("", "in force", "other"), *rows]]


def _logged(found: LoggedEvidence | None, refusal: str) -> list[str]:
    if found is None:
        return [f"The log does not tell what they earn: {refusal}"] if refusal else []
    return [
        f"By {found.decisions:,} logged decisions about {found.customers:,} customers ({found.reward}), per decision:",
        f"  in force {_range(found.old)}, other {_range(found.new)}, difference {_range(found.difference)}",
        f"  as much as {found.effective_decisions:,.0f} decisions drawn by the other rules; "
        f"the rules in force give {found.same_chance:.0%} of them the chance that was logged",
    ]


def _range(found: Estimate) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
