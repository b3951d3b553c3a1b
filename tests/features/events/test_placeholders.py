"""What is written where nobody is known: the words, whatever their case, and what is done with an event that has them."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events.placeholders import PLACEHOLDERS, Placeholders
from features.events.schema import Event, events_to_table, parse_events, parse_table, validate_table

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
NOBODY = Placeholders()
VISIT = {"event_id": "e", "occurred_at": NOW, "kind": "visit", "channel": "web"}


@pytest.mark.parametrize(
    "value",
    [
        *("undefined", "null", "NaN", "None", "nil", "[object Object]", "0", "-1", "anonymous", "guest", "", "   "),
        *("UNDEFINED", "Null", " nan ", "NONE", "Guest\t", "'null'", '"undefined"', "N/A", "(not set)", "<NA>", "#N/A"),
        *("0.0", "-1.0", "-0", "00000000-0000-0000-0000-000000000000", "000000000000000", "00:00:00:00:00:00"),
        *(
            "{{customer.id}}",
            "${userId}",
            "%%EMAIL%%",
            "*|EMAIL|*",
            "<%= id %>",
            "{% id %}",
            "{{}}",
            "\u200bnull\ufeff",
        ),
    ],
)
def test_these_name_nobody(value: str) -> None:
    assert value in NOBODY


@pytest.mark.parametrize(
    "value",
    [
        *("1", "7", "00", "007", "0000", "10", "-2", "-10", "0.5", "00000001", "a0000000", "0-0-7", "c0", "1.0"),
        *("guest-17", "anonymous1", "nullah", "anna", "none@example.org", "undefined@x", "{a", "50%", "#1", "Unkünown"),
        *("00000000-0000-0000-0000-000000000001", "0123456789", "é"),
    ],
)
def test_these_are_somebody(value: str) -> None:
    assert value not in NOBODY


def test_the_list_can_be_longer_or_leave_out_what_is_an_id_here() -> None:
    ours = Placeholders((*PLACEHOLDERS, "Walk-In", "Ünbekannt")).without(["0"])
    assert ["walk-in" in ours, "WALK-IN" in ours, "ünbekannt" in ours, "0" in ours, "0.0" in ours, "-1" in ours] == [
        *(True, True, True, False, False, True)
    ]
    assert "" in Placeholders(()) and "null" not in Placeholders(())


_values = st.one_of(
    st.sampled_from(
        [*PLACEHOLDERS, "Null", "0.00", "-1.0", "00000000", "0000-0000", "{{a}}", "a", "007", "\u212aa", "É"]
    ),
    st.text(st.sampled_from("0-:. '\"nulN{}%\u00a0É\u212a"), max_size=12),
)


@given(st.lists(st.one_of(st.none(), _values), max_size=8), st.sampled_from([NOBODY, Placeholders(("É", "null"))]))
def test_the_screen_of_columns_misses_none(values: list[str | None], nobody: Placeholders) -> None:
    suspected = nobody.suspects(pa.chunked_array([pa.array(values, pa.string())])).tolist()
    for value, suspect in zip(values, suspected, strict=True):
        assert suspect or value is None or value not in nobody


def outcome(nobody: Placeholders = NOBODY, **fields: Any) -> tuple[str, str] | None:
    """What both ways in say of an event: the field and the reason, or None."""
    item = {**VISIT, **fields}
    table, rejections = parse_table([item], NOW, nobody)
    assert [len(events) for events in parse_events([item], NOW, nobody)] == [table.num_rows, len(rejections)]
    pairs = None if item.get("identifiers") is None else list(item["identifiers"].items())
    columns = {name: [value] for name, value in item.items() if name != "identifiers"}
    rows = pa.table({**columns, "identifiers": pa.array([pairs], pa.map_(pa.string(), pa.string()))})
    good, rejected = validate_table(rows, NOW, nobody)
    told = [(rejection.field, rejection.reason) for rejection in rejections]
    assert [(row["field"], row["reason"]) for row in rejected.to_pylist()] == told
    assert good.num_rows == table.num_rows == 1 - len(told)
    return told[0] if told else None


@pytest.mark.parametrize("word", ["undefined", "NULL", "NaN", "[object Object]", "0", "-1", "Guest", "{{customer.id}}"])
def test_a_customer_id_that_names_nobody_is_refused_in_a_sentence(word: str) -> None:
    reason = (
        f"is {word!r}, which names nobody: leave it out where the customer is not known (the list of such words is in"
    )
    for identifiers in (None, {"cookie": "c1"}):
        assert outcome(customer_id=word, identifiers=identifiers) == ("customer_id", f"{reason} identity.toml).")


def test_identifiers_that_tell_of_nobody_are_refused_alone_and_kept_beside_what_tells() -> None:
    field, reason = outcome(identifiers={"email": "NULL", "device": "0"}) or ("", "")
    assert field == "identifiers"
    assert reason.startswith("tell of nobody (email 'NULL', device '0'), and there is no customer_id: give one of them")
    assert outcome(identifiers={"email": "NULL", "device": "d-1"}) is None
    assert outcome(identifiers={"email": "NULL"}, customer_id="c1") is None


def test_another_list_decides_otherwise() -> None:
    ours = Placeholders(("walk-in",))
    assert outcome(ours, customer_id="0") is None
    assert (outcome(ours, customer_id="Walk-in") or ("",))[0] == "customer_id"


def test_what_is_made_here_is_not_measured_by_a_list() -> None:
    event = Event(**{**VISIT, "customer_id": "0"})
    assert events_to_table([event])["customer_id"].to_pylist() == ["0"]
