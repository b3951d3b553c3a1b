"""What an ingest would bring: sums, the first events, and everything that would not come in."""

from collections import Counter
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import numpy as np
import pyarrow as pa

from features.errors import InputError
from features.events.rules import NOBODY, Problem
from features.intake.preview import Preview, RepeatedId, Sum, preview
from features.money.home import Screened
from features.sources.batch import SourceBatch
from features.sources.providers.outcomes import event_table

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def event(number: int, month: int, kind: str = "purchase", **more: Any) -> dict[str, Any]:
    moment = datetime(2025, month, 1, tzinfo=UTC)
    return {"event_id": f"e{number}", "occurred_at": moment, "kind": kind, "channel": "web", "customer_id": "c", **more}


def as_they_are(events: pa.Table) -> Screened:
    return Screened(events, {})


def without_yen(events: pa.Table) -> Screened:
    yen = [place for place, code in enumerate(events["currency"].to_pylist()) if code == "JPY"]
    kept = [place for place in range(events.num_rows) if place not in yen]
    return Screened(events.take(kept), {place: Problem("currency", "has no rate.") for place in yen})


def look(*batches: SourceBatch) -> Preview:
    return preview("file", batches, NOW, NOBODY, as_they_are)


def test_sums_are_by_kind_channel_and_month() -> None:
    bought = [event(1, 1, value=2.0, currency="EUR"), event(2, 2, value=3.5, currency="EUR")]
    events = [*bought, event(3, 2, "view", channel="app", product_id="p", value=9.0)]
    found = look(SourceBatch(event_table(events), rows_total=4, skipped=Counter(draft=1)))
    assert found.by_kind == {"purchase": Sum(2, {"EUR": 5.5}), "view": Sum(1, {"no currency": 9.0})}
    assert found.by_month == {"2025-01": Sum(1, {"EUR": 2.0}), "2025-02": Sum(2, {"EUR": 3.5})}
    assert found.by_channel["app"].events == 1
    assert (found.rows, found.events, found.skipped_by_word) == (4, 3, {"draft": 1})
    assert found.first[0] == {**event(1, 1, value=2.0, currency="EUR"), "occurred_at": "2025-01-01T00:00:00Z"}


def test_rejected_rows_that_say_the_same_are_counted_as_one() -> None:
    events = [event(n, 1, value=-float(n)) for n in range(1, 4)] + [event(9, 1, "view")]
    found = look(SourceBatch(event_table(events)))
    assert (found.events, found.rejected) == (0, 4)
    assert sorted(found.rejected_by_reason.values()) == [1, 3]
    assert any("value is -1.0" in reason for reason in found.rejected_by_reason)


def test_ids_that_repeat_are_named_those_of_differing_rows_first() -> None:
    events = [event(n, 1, value=1.0) for n in (1, 2, 1, 2, 3)]
    contents = np.array([7, 1, 7, 2, 3], np.uint64)
    found = look(SourceBatch(event_table(events), contents=contents, repeats="refuse"))
    assert (found.repeated, found.repeated_ids) == (2, (RepeatedId("e2", 2, True), RepeatedId("e1", 2, False)))
    assert "e2" in str(found.problem)


def test_ids_that_repeat_in_another_batch_are_named() -> None:
    parts = [
        SourceBatch(event_table([event(n, 1, value=1.0) for n in numbers])) for numbers in ((1, 2), (3, 4), (4, 2))
    ]
    found = look(*parts)
    assert (found.repeated, found.repeated_ids) == (2, (RepeatedId("e2", 2, False), RepeatedId("e4", 2, False)))


def test_money_that_cannot_be_counted_is_rejected_as_it_would_be() -> None:
    events = [event(1, 1, value=1.0, currency="EUR"), event(2, 1, value=1.0, currency="JPY")]
    batch = SourceBatch(event_table(events), contents=np.array([1, 2], np.uint64), repeats="refuse")
    found = preview("file", [batch], NOW, NOBODY, without_yen)
    assert (found.events, found.rejected_by_reason) == (1, {"currency has no rate.": 1})


def test_what_the_source_is_refused_for_is_told() -> None:
    def batches() -> Any:
        yield SourceBatch(event_table([event(1, 1, value=1.0)]))
        raise InputError("The unit is another one.", repair="Say epoch_ms.")

    found = preview("file", batches(), NOW, NOBODY, as_they_are)
    assert found.events == 1
    assert "another one" in str(found.problem)


def test_a_person_sees_the_same() -> None:
    from rich.console import Console

    console = Console(width=120, record=True, file=StringIO())
    console.print(
        look(SourceBatch(event_table([event(1, 1, value=2.0, currency="EUR", session_id="[s]")]), rows_total=1))
    )
    text = console.export_text()
    assert "2.00 EUR" in text
    assert "[s]" in text
