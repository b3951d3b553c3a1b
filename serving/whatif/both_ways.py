"""The same customers under two sets of rules in, what each does with them and who changes from what to what out; pure counting.

Contacts, cost and value are sums of chances, so that no luck is in them. Who changes is counted by drawing once under each with
the same number for a customer: then nobody changes whose chances are the same.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from features.vocabulary import NOTHING
from serving.decision.arm_weighing import WeighedArms
from serving.decision.policy import draw
from serving.decision.refusals import Refusals, rule_of
from serving.decision.rules import Eligibility
from serving.schemas.what_if import Move, Side

EXAMPLES: Final = 3
"""Customers that are named for each change."""


@dataclass
class SideCount:
    """What one set of rules does, counted customer by customer."""

    contacts: float = 0.0
    cost: float = 0.0
    value: float = 0.0
    arms: Counter[str] = field(default_factory=Counter)
    refusals: Refusals = field(default_factory=Refusals)
    alone: Counter[str] = field(default_factory=Counter)

    def add(self, weighed: WeighedArms) -> None:
        """Count one customer."""
        costs = {item.arm.name: item.arm.cost for item in weighed.checked}
        for arm, chance in weighed.chances.items():
            self.arms[arm] += chance  # type: ignore[assignment]  # a share of a customer
            if arm != NOTHING:
                self.contacts += chance
                self.cost += chance * costs[arm]
                self.value += chance * weighed.values[arm]
        self.refusals.add(weighed.checked)
        self.alone.update(alone_in_the_way(weighed.checked))

    def side(self, rules_version: str) -> Side:
        """As it is told."""
        return Side(
            rules_version=rules_version,
            contacts=round(self.contacts, 3),
            cost=round(self.cost, 4),
            expected_value=round(self.value, 4),
            arms={arm: round(n, 3) for arm, n in self.arms.most_common()},
            refused=dict(self.refusals.by_rule.most_common()),
            without_any_arm=self.refusals.without_any_arm,
            alone=dict(self.alone.most_common()),
        )


@dataclass
class Moves:
    """Who changes from what to what."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, customer_id: str, before: WeighedArms, after: WeighedArms, seed: str) -> None:
        """Count one customer, whose luck hangs on `seed`."""
        luck = f"{seed}\x1f{customer_id}"
        pair = draw(before.chances, luck).arm, draw(after.chances, luck).arm
        if pair[0] == pair[1]:
            return
        self.counts[pair] += 1
        named = self.examples.setdefault(pair, [])
        if len(named) < EXAMPLES:
            named.append(customer_id)

    def told(self) -> list[Move]:
        """The most frequent first."""
        return [
            Move(before=before, after=after, customers=n, examples=self.examples[before, after])
            for (before, after), n in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        ]


@dataclass
class BothWays:
    """Customers counted under the old rules and under the new ones."""

    old: SideCount = field(default_factory=SideCount)
    new: SideCount = field(default_factory=SideCount)
    moves: Moves = field(default_factory=Moves)
    customers: int = 0

    def add(self, names: Sequence[str], old: Iterable[WeighedArms], new: Iterable[WeighedArms], seed: str) -> None:
        """Count customers who were weighed under both."""
        for name, before, after in zip(names, old, new, strict=True):
            self.old.add(before)
            self.new.add(after)
            self.moves.add(name, before, after, seed)
            self.customers += 1


def alone_in_the_way(checked: Sequence[Eligibility]) -> set[str]:
    """Rules each of which alone keeps a customer from every contact: there is a way that only it stands against."""
    contacts = [item for item in checked if item.arm.channel is not None]
    if any(item.eligible for item in contacts):
        return set()
    against = ({rule_of(reason) for reason in item.reasons} for item in contacts)
    return {rule for rules in against if len(rules) == 1 for rule in rules}
