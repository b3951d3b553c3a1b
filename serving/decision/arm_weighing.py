"""The one way from a customer's state to the chances of the arms: what the models say in, what is allowed and likely out.

Facts about the customer, arms that the rules allow at their best moments, expected values of those, and the chance with which
the policy takes each. `/v1/best-channel`, `/v1/decide` and `omni decide` all answer from it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from features.arrays import FloatArray
from features.online.live import LiveState
from features.vocabulary import Channel
from serving.decision.contacts import (
    NOTHING_ARM,
    allowed_values,
    arm_value,
    check_arms,
    contact_facts,
    known_gains,
    score_arms,
)
from serving.decision.holdout import hold_back
from serving.decision.options import Options
from serving.decision.policy import Choice, choice_chances, draw
from serving.decision.reserved import Limits
from serving.decision.rules import Arm, Eligibility, Rules, refuse_all
from serving.decision.send_time import customer_hours
from serving.decision.send_window import SendWindow
from serving.decision.zones import rules_of
from serving.schemas import ArmScore

NO_OFFER: Final = "no offer in force may be made there"


@dataclass(frozen=True)
class WeighedArms:
    """The arms (n,) of one customer at one moment; `values` and `chances` are those of the allowed ones, nothing among them."""

    checked: tuple[Eligibility, ...]
    moments: tuple[float | None, ...]
    """When each arm would be sent, in seconds since the epoch."""
    probabilities: FloatArray
    gains: FloatArray
    """Over nothing; NaN where not known."""
    values: dict[str, float]
    chances: dict[str, float]
    rules: Rules
    options: Options | None = None
    """The arms with offers, where any are in force."""

    def scores(self, *, explain: bool = True) -> list[ArmScore]:
        """Every arm and nothing, best first; where it does not `explain`, without reasons."""
        values = None if self.options is None else self.values
        return score_arms(
            self.checked, self.probabilities, self.gains, self.rules, self.chances, explain=explain, values=values
        )

    def with_options(self, options: Options) -> "WeighedArms":
        """The same arms with their offers; one that has none which may be made is refused."""
        values = options.best_of_arms()
        checked = tuple(
            item if not item.eligible or item.arm.name in values else Eligibility(item.arm, False, (NO_OFFER,))
            for item in self.checked
        )
        return replace(self, checked=checked, values=values, chances=options.of_arms(), options=options)

    def probability_of_arm(self) -> dict[str, float]:
        """The probability of a response to each arm, in the order of `scores`."""
        chances, gains = self.probabilities.tolist(), self.gains.tolist()
        rows = [
            (not item.eligible, -self._value(item.arm, chance, gain), item.arm.name, chance)
            for item, chance, gain in zip(self.checked, chances, gains, strict=True)
        ]
        return {name: chance for _, _, name, chance in sorted(rows)}

    def _value(self, arm: Arm, chance: float, gain: float) -> float:
        known = self.values.get(arm.name)
        return arm_value(arm, chance, self.rules, gain) if known is None else known

    def draw(self, seed: str) -> Choice:
        """One arm by the chances, with its offer where there are any, the same for the same seed."""
        return draw(self.chances, seed) if self.options is None else self.options.draw(seed)

    def best(self) -> Choice:
        """The arm of the highest value, for sure: for who looks and does not act."""
        if self.options is not None:
            return self.options.best()
        arm = max(self.values, key=lambda name: (self.values[name], name))
        return Choice(arm, 1.0, {name: float(name == arm) for name in self.chances})

    def chosen(self, choice: Choice) -> tuple[Arm, int | None]:
        """The arm that was drawn and its number; nothing has none."""
        numbers = {item.arm.name: number for number, item in enumerate(self.checked)}
        number = numbers.get(choice.arm)
        return (NOTHING_ARM, None) if number is None else (self.checked[number].arm, number)


def weigh_arms(
    live: LiveState,
    as_of_s: float,
    arms: Sequence[Arm],
    probabilities: FloatArray,
    gains: FloatArray,
    population_hours: FloatArray,
    rules: Rules,
    *,
    channels: Collection[Channel] | None = None,
    held_out: bool = False,
    refusal: str | None = None,
    unadvertised: str | None = None,
    not_before_s: float | None = None,
    window: SendWindow | None = None,
    limits: Limits | None = None,
) -> WeighedArms:
    """Weigh the arms (n,) of one customer, of whom models say `probabilities` and `gains` (n,).

    `channels` are the only ones asked for; who is `held_out` gets nothing, and so does everybody where there is a
    `refusal` of all contacts, in words; where it is `unadvertised`, in words, arms that show no product are left.
    `population_hours` (168,) stand for a customer whose hours are not known. Nothing is sent before `not_before_s`, in
    seconds, nor outside the `window`. Whoever acts on it gives `limits`.
    """
    rules = rules_of(live.state, rules)
    facts = contact_facts(live.state, live.customer_id)
    hours = customer_hours(live.scored, population_hours)
    checked, moments = check_arms(
        arms, facts, hours, rules, as_of_s, channels=channels, not_before_s=not_before_s, window=window
    )
    if held_out:
        checked = hold_back(checked, rules)
    elif refusal is not None:
        checked = refuse_all(checked, refusal)
    elif unadvertised is not None:
        checked = refuse_all(checked, unadvertised, rules.arms_without_product)
    if limits is not None:
        checked = [*limits.apply(lambda: live, live.held, checked, moments)]
    gains = known_gains(arms, gains, facts)
    values = allowed_values(checked, probabilities, gains, rules)
    chances = choice_chances(values, exploration=rules.exploration, temperature=rules.temperature)
    return WeighedArms(tuple(checked), tuple(moments), probabilities, gains, values, chances, rules)
