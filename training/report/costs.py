"""The arms of best-channel and the user's own costs in, SQL for what a contact costs out."""

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from features.config import check, read_toml
from features.errors import InputError
from features.sql import sql_contact, sql_text
from features.vocabulary import Channel, EventKind
from training.report.config import ReportConfig

ARMS: Final = Path(__file__).resolve().parent.parent / "configs" / "best-channel.toml"


class _Arm(BaseModel):
    """What an arm's entry says about the contact and its cost; other keys are the model's."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    channel: Channel
    kind: EventKind
    properties: dict[str, tuple[str, ...]] = {}
    cost: float = 0.0


def contact_cost(config: ReportConfig, arm: str = "arm") -> str:
    """SQL for the cost of a contact, an event with channel, kind, properties and `arm` (its decision's, or null).

    The decision's arm counts first, then the first arm that describes the event, then the channel's own cost; null where
    none is known. Raises InputError for a file of arms that cannot be used and for costs of nothing that is there.
    """
    arms = _read_arms(config.arms or ARMS)
    names = {one.name for one in arms} | {channel.value for channel in Channel}
    unknown = [name for name in config.costs if name not in names]
    if unknown:
        raise InputError(
            f"costs: {unknown[0]!r} is neither an arm nor a channel.", repair=f"Known: {', '.join(sorted(names))}."
        )
    cost = {one.name: config.costs.get(one.name, one.cost) for one in arms}
    cases = [f"WHEN {arm} = {sql_text(name)} THEN {float(money)}" for name, money in cost.items()]
    cases += [
        f"WHEN {sql_contact(one.channel.value, one.kind.value, one.properties)} THEN {float(cost[one.name])}"
        for one in arms
        if one.kind != EventKind.DECISION
    ]
    cases += [
        f"WHEN channel = {sql_text(name)} THEN {float(money)}"
        for name, money in config.costs.items()
        if name in set(Channel)
    ]
    return f"CASE {' '.join(cases)} END::DOUBLE" if cases else "NULL::DOUBLE"


def _read_arms(path: Path) -> list[_Arm]:
    entries = read_toml(path).get("arms", [])
    return [check(_Arm, entry, path, ("arms", place)) for place, entry in enumerate(entries)]
