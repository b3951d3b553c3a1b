"""Events of the log in their order in, the tallies of offers' messages out: a fold, the same wherever the log is cut.

A decision with an offer is a message once its `send` (or `impression`) is there, and has a response with its first `click`,
`purchase` or `outcome` within RESPONSE_DAYS. Whatever comes names the decision in decision_id, and each decision counts once.
Responses come late: of a young message only so many are expected as come in such a time.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import FloatArray
from features.vocabulary import CONTACT_KINDS, DAY_S, Columns, EventKind
from serving.offers.response import Cell, Counts, Tally

RESPONSE_DAYS: Final = 7
"""Days after a message in which a response to it counts."""
STEP_S: Final = 600.0
"""Counts are of whole such steps of the log's time: who reads it a moment later counts the same."""
ANSWERED: Final = (EventKind.CLICK.value, EventKind.PURCHASE.value, EventKind.OUTCOME.value)
_READ: Final = (Columns.KIND, Columns.DECISION_ID, Columns.CHANNEL, Columns.PROPERTIES)
_WHOLE: Final = 1e9
_BEFORE_S: Final = -62_135_596_800.0
"""No event is older than the year 1."""
_SENT: Final = tuple(kind.value for kind in CONTACT_KINDS)
_WINDOW_S: Final = RESPONSE_DAYS * DAY_S
_HOUR_S: Final = 3600.0
_N_HOURS: Final = 24 * RESPONSE_DAYS
_USUAL_DELAY_HOURS: Final = 12.0
_USUAL: Final = 10.0
"""Responses that the usual delay counts for, until the log's own are known."""


@dataclass(slots=True)
class _Open:
    """A decision whose responses are waited for."""

    cell: Cell
    expected: float
    since_s: float
    """When it was decided, and once it was sent, when that was."""
    is_sent: bool = False
    has_response: bool = False


class ResponseFold:
    """Counts so far; `counts` are those of the last whole step."""

    def __init__(self) -> None:
        usual = -np.diff(np.exp(-np.arange(_N_HOURS + 1) / _USUAL_DELAY_HOURS))
        self._delays: FloatArray = _USUAL * usual / usual.sum()
        """Responses by the hours that they took."""
        self._open: dict[str, _Open] = {}
        self._settled: dict[Cell, _Sum] = {}
        self._newest_s = _BEFORE_S
        self.counts = Counts()

    def add(self, events: pa.Table) -> None:
        """Take in events of the log, in its order."""
        if not events.num_rows:
            return
        at_s = events[Columns.OCCURRED_AT].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy() / 1e6
        newest = np.maximum.accumulate(np.append(self._newest_s, at_s))
        steps = newest // STEP_S
        is_over = bool(steps[-1] > steps[0])
        begin = int(np.searchsorted(steps[1:], steps[-1])) if is_over else 0
        self._take(events.slice(0, begin), at_s[:begin], newest[1:])
        if is_over:  # what there was when the last step began; of those between nobody asks any more
            self.counts = self._count(steps[-1].item() * STEP_S)
        self._take(events.slice(begin), at_s[begin:], newest[1 + begin :])
        self._newest_s = newest[-1].item()

    def _take(self, events: pa.Table, at_s: FloatArray, newest_s: FloatArray) -> None:
        rows = np.flatnonzero(_relevant(events)) if events.num_rows else np.empty(0, np.int64)
        if not len(rows):
            return
        told = events.select(list(_READ)).take(pa.array(rows)).to_pydict()
        for kind, decision_id, channel, text, moment_s, now_s in zip(
            *(told[name] for name in _READ), at_s[rows].tolist(), newest_s[rows].tolist(), strict=True
        ):
            if kind == EventKind.DECISION:
                self._decided(decision_id, channel, text, moment_s)
            else:
                self._heard(decision_id, kind in _SENT, moment_s, now_s)

    def _decided(self, decision_id: str, channel: str, text: str, at_s: float) -> None:
        told = _told(text)
        if told is not None and decision_id not in self._open:
            offer_id, expected = told
            self._open[decision_id] = _Open((offer_id, channel), expected, at_s)

    def _heard(self, decision_id: str, is_sent: bool, at_s: float, now_s: float) -> None:
        one = self._open.get(decision_id)
        if one is None or now_s - one.since_s > _WINDOW_S:
            return
        if is_sent:
            if not one.is_sent:
                one.is_sent, one.since_s = True, max(one.since_s, at_s)
        elif not one.has_response:
            one.has_response = True
            if one.is_sent:
                self._delays[min(_N_HOURS - 1, int(max(0.0, at_s - one.since_s) // _HOUR_S))] += 1.0

    def _count(self, now_s: float) -> Counts:
        for name in [name for name, one in self._open.items() if now_s - one.since_s > _WINDOW_S]:
            one = self._open.pop(name)
            if one.is_sent:
                self._settled.setdefault(one.cell, _Sum()).add(one, 1.0)
        sums = {cell: _Sum(total.expected, total.responses) for cell, total in self._settled.items()}
        sent = [one for one in self._open.values() if one.is_sent]
        hours = np.array([now_s - one.since_s for one in sent]) / _HOUR_S
        come = np.append(0.0, np.cumsum(self._delays) / self._delays.sum())  # (hours + 1,)
        for one, share in zip(sent, np.interp(hours, np.arange(_N_HOURS + 1), come).tolist(), strict=True):
            sums.setdefault(one.cell, _Sum()).add(one, share)
        tallies = {cell: total.tally() for cell, total in sums.items()}
        return self.counts if tallies == self.counts.tallies else Counts(tallies, now_s)


@dataclass(slots=True)
class _Sum:
    """What a cell's messages add up to, in whole numbers: the same in whatever order."""

    expected: int = 0
    responses: int = 0

    def add(self, one: _Open, share: float) -> None:
        self.expected += round(one.expected * share * _WHOLE)
        self.responses += one.has_response

    def tally(self) -> Tally:
        return Tally(self.expected / _WHOLE, self.responses)


def _relevant(events: pa.Table) -> Any:
    """Which rows tell of a message with an offer, or of what came of one."""
    kind = events[Columns.KIND].cast(pa.string())
    heard = pc.is_in(kind, value_set=pa.array([*_SENT, *ANSWERED]))
    decided = pc.and_(
        pc.equal(kind, EventKind.DECISION.value),
        pc.fill_null(pc.match_substring(events[Columns.PROPERTIES], '"offer_id"'), False),
    )
    return pc.and_(pc.or_(heard, decided), pc.is_valid(events[Columns.DECISION_ID])).to_numpy()


def _told(text: str) -> tuple[str, float] | None:
    """The offer of a decision's properties and the response that the model expected; None for what is no such decision."""
    properties = json.loads(text)
    offer_id, terms = properties.get("offer_id"), properties.get("terms")
    expected = terms.get("response_probability") if isinstance(terms, dict) else None
    if not isinstance(offer_id, str) or not isinstance(expected, int | float) or not 0 <= expected <= 1:
        return None
    return offer_id, float(expected)
