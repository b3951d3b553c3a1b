"""Where everybody stands: looked at once an hour by one worker, and kept in the log, so that all go by the same borders."""

import json
import logging
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import atomic
from features.clock import Clock
from features.errors import StoreError
from features.log.event_log import EventLog
from features.online.live import LiveStates
from features.online.many import LiveBatch
from features.settings import Settings
from features.signals import compute_signals
from features.state.batch import StateBatch
from features.vocabulary import Columns
from serving.offers.columns import CustomerColumns, Standing
from serving.offers.shelf import OfferShelf
from serving.scorers.bundle import Bundle

logger = logging.getLogger(__name__)

EVERY_S: Final = 3600.0
"""How often, at most, everybody is looked at."""
MOST: Final = 20_000
"""Customers who are looked at; of more, so many at even distances in the order of their ids."""
COMPARING: Final = frozenset({"lifecycle", "value_decile"})
"""Columns that compare a customer with all others."""
_BATCH: Final = 256


def needs_standing(shelf: OfferShelf) -> bool:
    """Whether any offer asks for what compares a customer with others."""
    return any(offer.condition is not None and COMPARING & {*offer.condition.columns} for offer in shelf.offers)


class StandingKeeper:
    """Keeps the note of where everybody stands, in the log of one home."""

    def __init__(self, settings: Settings, log: EventLog, clock: Clock) -> None:
        self._settings, self._log, self._clock = settings, log, clock

    def up_to_date(self, states: LiveStates, bundle: Bundle) -> Standing:
        """As the log notes it; looked at anew where that is an hour old, or was never done."""
        standing = self._noted(EVERY_S)
        if standing is not None:
            return standing
        with atomic.locked(self._settings.home / "run" / "standing"):
            standing = self._noted(EVERY_S)  # another worker has done it meanwhile
            if standing is None:
                standing = look_at_everybody(timeline_ids(self._settings), states, bundle, self._clock)
                self._note(standing)
        return standing

    def known(self) -> Standing:
        """As the log notes it, however old that is; nothing known of anybody where it never was."""
        return self._noted(np.inf) or Standing()

    def _noted(self, within_s: float) -> Standing | None:
        noted = json.loads(self._log.offers().standing() or "{}")
        age_s = self._clock.now().timestamp() - noted.get("at_s", -np.inf)
        if not 0 <= age_s <= within_s:
            return None
        return Standing(noted["usual_gap_days"], tuple(np.inf if each is None else each for each in noted["borders"]))

    def _note(self, standing: Standing) -> None:
        borders = [each if np.isfinite(each) else None for each in standing.borders]
        at_s = self._clock.now().timestamp()
        note = {"usual_gap_days": standing.usual_gap_days, "borders": borders, "at_s": at_s}
        self._log.offers().note_standing(json.dumps(note))


def look_at_everybody(ids: Sequence[str], states: LiveStates, bundle: Bundle, clock: Clock) -> Standing:
    """Where these customers stand now."""
    now_s = clock.now().timestamp()
    values, gaps = [], []
    for start in range(0, len(ids), _BATCH):
        part = ids[start : start + _BATCH]
        names, level = states.level(part)
        lives = [live for name in {*part} - {*names} if (live := states.get(name))]
        left = [live.state for live in lives]
        known = [*names, *(live.customer_id for live in lives)]
        batch = LiveBatch(known, StateBatch.concat([level, *left]), states.live_of)
        if not len(batch):
            continue
        signals = compute_signals(batch.scored, np.maximum(now_s, batch.last_event_s))
        columns = CustomerColumns(batch, signals, bundle, Standing())
        bought = ~columns.of("days_since_purchase").missing
        values.append(np.nan_to_num(columns.value())[bought])
        gaps.append(columns.of("usual_gap_days").values)
    nobody = [np.empty(0)]
    return Standing.of(np.concatenate(values or nobody), np.concatenate(gaps or nobody))


def timeline_ids(settings: Settings) -> list[str]:
    """Up to MOST customers of the timeline; none where it is not built. Raises StoreError where it cannot be read."""
    if not settings.timeline_path.exists():
        return []
    found: set[str] = set()
    try:
        for batch in pq.ParquetFile(settings.timeline_path).iter_batches(columns=[Columns.CUSTOMER_ID]):
            found.update(pc.unique(batch[0]).to_pylist())
    except OSError as error:
        raise StoreError(f"{settings.timeline_path} cannot be read.", repair="Run: omni features build") from error
    ids = sorted(found)
    step = -(-len(ids) // MOST) or 1
    return ids[::step]
