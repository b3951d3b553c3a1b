"""Reasons against arms in, how many customers each rule refused out, with a warning and a cure where it is nearly everybody."""

import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from serving.decision.never import NOTHING_TO_ADVERTISE
from serving.decision.rules import Eligibility

NEARLY_ALL: Final = 0.9
"""The share of customers from which on a rule that refuses them is told loudly."""
RECENT: Final = 1_000
"""Decisions of a worker that its warnings are about."""
_RECENT_LEAST: Final = 100
"""Fewer say nothing about a rule."""
_SETTLED_AT: Final = 64
_RULES: Final = (
    ("consent", r"no consent for \S+ is on record"),
    ("refused", r"the customer refused "),
    ("reachable", r"not reachable on "),
    ("caps", r"\d+ contacts (on|over) .* is the cap"),
    ("campaign caps", r"\d+ contacts for campaign .* is the cap"),
    ("tag caps", r"\d+ contacts tagged .* is the cap"),
    ("volume", r"the volume of "),
    ("fatigue", r"the last \d+ messages on \S+ were not answered"),
    ("quiet hours", r"quiet hours on |\S+ is silent in all hours|sent from \d+ to \d+ o'clock"),
    ("campaign", r"campaign "),
    ("never", NOTHING_TO_ADVERTISE),
    ("hold-out", r"the customer is one of the .* in the hold-out "),
)
"""What each rule says begins so; tests hold it to what the rules say."""
_CURES: Final = {
    "consent": "ingest consents as profile or subscribe events, or take the channel out of opt_in_channels in rules.toml",
    "refused": "their refusals stand in the log; was the consent column of your data mapped the wrong way round?",
    "reachable": "ingest what reaches them (identifiers such as email or phone), or say it in [reachable] of rules.toml",
    "caps": "raise channel_caps or overall_cap in rules.toml, or wait",
    "campaign caps": "raise campaign_caps in rules.toml, or wait",
    "tag caps": "raise tag_caps in rules.toml, or wait",
    "volume": "raise volume in rules.toml; it is free again tomorrow",
    "fatigue": "ingest opens and clicks too, or change max_unanswered or rest_days in rules.toml",
    "quiet hours": "ask at another hour or with --when best, or change quiet_hours or time_zone in rules.toml",
    "campaign": "it rests for them: change campaign_rest_days in rules.toml, or name another campaign",
    "never": "loosen [never] in rules.toml, or name in arms_without_product the arms that show no product",
    "hold-out": "holdout_share in rules.toml keeps them back",
}


@lru_cache(maxsize=4096)  # live decisions have few reasons, again and again
def rule_of(reason: str) -> str:
    """The rule that a reason against an arm is of."""
    return next((rule for rule, words in _RULES if re.match(words, reason)), "others")


@dataclass
class Refusals:
    """Customers whom rules refused."""

    customers: int = 0
    without_any_arm: int = 0
    """To whom nothing but `nothing` was allowed."""
    by_rule: Counter[str] = field(default_factory=Counter)
    """Customers for whom a rule refused at least one arm; several rules may have refused the same one."""
    by_arm: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By rule and arm."""
    counted: str = "customers"
    """What is counted, in words."""

    def add(self, checked: Sequence[Eligibility], n: int = 1) -> None:
        """Count `n` customers whose arms were judged so."""
        self.add_pairs(*_judged(checked), n)

    def add_pairs(self, pairs: Iterable[tuple[str, str]], is_without_any_arm: bool, n: int = 1) -> None:
        """The same of rules and arms that they refused."""
        for pair in pairs:
            self.by_arm[pair] += n
        for rule in {rule for rule, _ in pairs}:
            self.by_rule[rule] += n
        self.customers += n
        self.without_any_arm += n * is_without_any_arm

    def merge(self, others: "Refusals") -> None:
        """Count what others counted, too."""
        self.customers += others.customers
        self.without_any_arm += others.without_any_arm
        self.by_rule.update(others.by_rule)
        self.by_arm.update(others.by_arm)

    def warnings(self) -> list[str]:
        """Rules that refused nearly everybody, the most refusing first: how many, which arms, and what to do."""
        told = [self._warning(rule, arms) for rule, arms in self._nearly_all().items()]
        if self.customers and self.without_any_arm >= NEARLY_ALL * self.customers:
            told.insert(0, f"No way of contact is allowed for {self._share(self.without_any_arm)}.")
        return told

    def _nearly_all(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for (rule, arm), n in self.by_arm.most_common():
            if self.customers and n >= NEARLY_ALL * self.customers:
                found.setdefault(rule, []).append(arm)
        return found

    def _warning(self, rule: str, arms: Iterable[str]) -> str:
        n = max(self.by_arm[rule, arm] for arm in arms)
        cure = _CURES.get(rule)
        return f"The rule {rule!r} refuses {', '.join(sorted(arms))} to {self._share(n)}" + (
            f": {cure}." if cure else "."
        )

    def _share(self, n: int) -> str:
        return f"{n:,} of {self.customers:,} {self.counted} ({n / self.customers:.0%})"


class RecentRefusals:
    """A worker's live decisions as they are answered; `count` is told of each rule in how many it refused a way.

    What a decision costs is that it is put on a list: rules are told apart for many at once.
    """

    def __init__(self, count: Callable[[str, int], None]) -> None:
        self._count = count
        self._waiting: deque[Sequence[Eligibility]] = deque()
        self._recent: deque[tuple[frozenset[tuple[str, str]], bool]] = deque(maxlen=RECENT)
        self._lock = threading.Lock()

    def note(self, checked: Sequence[Eligibility]) -> None:
        """Take in one decision, whose arms were judged so."""
        self._waiting.append(checked)
        if len(self._waiting) >= _SETTLED_AT:
            self.settle()

    def settle(self) -> None:
        """Count what was taken in so far."""
        with self._lock:
            counts: Counter[str] = Counter()
            while self._waiting:
                judged = _judged(self._waiting.popleft())
                self._recent.append(judged)
                counts.update({rule for rule, _ in judged[0]})
            for rule, n in counts.items():
                self._count(rule, n)

    def warnings(self) -> list[str]:
        """Rules that refused nearly all of the newest decisions, and what to do; none where there were few."""
        self.settle()
        with self._lock:
            recent = list(self._recent)
        if len(recent) < _RECENT_LEAST:
            return []
        refusals = Refusals(counted="decisions")
        for pairs, is_without_any_arm in recent:
            refusals.add_pairs(pairs, is_without_any_arm)
        return refusals.warnings()


def _judged(checked: Sequence[Eligibility]) -> tuple[frozenset[tuple[str, str]], bool]:
    """Rules with the arms that they refused, and whether nothing but `nothing` was allowed."""
    refused = frozenset(
        (rule_of(reason), item.arm.name) for item in checked if not item.eligible for reason in item.reasons
    )
    return refused, all(not item.eligible for item in checked if item.arm.channel is not None)
