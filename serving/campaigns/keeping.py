"""Customers in, one decision each out that is in the log with what it reserves: who was decided about meanwhile, anew."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from features.log.event_log import EventLog
from features.online.many import LiveBatch
from serving.campaigns.deciding import Crowds, Decided

ROUNDS: Final = 5
"""Rounds in which those are decided for anew who were decided about meanwhile, or for whom there is no room any more."""
_CROWDED: Final = "others decided about this customer at the same moment, again and again: nobody is contacted unseen"


def decide_for(
    names: Sequence[str], read: Callable[[Sequence[str]], LiveBatch], crowds: Crowds, log: EventLog, *, keep: bool
) -> Iterator[Decided]:
    """The decisions for those of whom anything is known; where they are kept, they come in as many parts as it took rounds."""
    left = list(names)
    for tried in range(ROUNDS + 1):
        held = log.ledger().held_many(left, crowds.now_us)  # before the states: a contact in between is then in both
        batch = read(left).with_held(held)
        if not len(batch):
            return
        decided = crowds.decide(batch, stop=_CROWDED if tried == ROUNDS else None)
        refused: dict[str, Exception] = {}
        if keep:
            for part in decided.parts:
                refusals = log.append_decided(part.events(), part.decided())
                refused |= {name: why for name, why in zip(part.batch.names, refusals, strict=True) if why is not None}
        yield decided.left(refused) if refused else decided
        if not refused:
            return
        left = [name for name in left if name in refused]
