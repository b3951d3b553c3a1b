"""Values of attributes: what a profile event says, which of two counts, and their bytes before a state's own."""

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.attributes.codes import text_code
from features.attributes.columns import attribute_signals, days_to_birthday
from features.attributes.declared import Declared
from features.attributes.values import (
    NOTHING_SAID,
    PREFIX_CODE,
    merged,
    prefix,
    prefix_lengths,
    read_prefix,
    values_said,
)
from features.state.packing import LAYOUT_CODE

DAY_S = 86_400.0
ROWS = st.lists(
    st.tuples(st.sampled_from([1.0, 2.0, 3.0]), st.integers(0, 9).map(float), st.integers(0, 5).map(float)), max_size=12
)


def say(shop: Declared, **properties: object) -> list[tuple[float, float]]:
    return [(code, value) for code, value, _ in values_said(json.dumps(properties), 5.0, shop)]


def test_what_an_event_says(shop: Declared) -> None:
    code = shop.code_of
    assert say(shop, age_band="25-34", colour="red") == [(code["age_band"], text_code("25-34"))]
    assert say(shop, household_size=3, store=12.0) == [
        (code["household_size"], 3.0),
        (code["home_store"], text_code("12")),
    ]
    assert say(shop, birthday="1970-01-31") == [(code["birthday"], 30.0)]
    assert say(shop, household_size="three", birthday="in May", age_band=["25-34"]) == []
    assert say(shop, time_zone="Europe/Berlin") == [(code["time_zone"], text_code("Europe/Berlin"))]
    assert say(shop, time_zone="Middle-earth/Shire") == []


def test_null_takes_a_value_back(shop: Declared) -> None:
    ((_, value),) = say(shop, household_size=None)
    assert math.isnan(value)


def test_signals_of_values(shop: Declared) -> None:
    of_anna = values_said('{"age_band": "65+", "household_size": 2, "birthday": "1960-03-01", "store": "9"}', 0.0, shop)
    values = merged(NOTHING_SAID, of_anna)
    as_of = np.full(2, np.datetime64("2024-02-28").astype("datetime64[s]").astype(float))
    anna, nobody = attribute_signals(np.zeros(len(values), np.int64), values, as_of, shop)
    named = dict(zip((column.name for column in shop.columns), anna.tolist(), strict=True))
    assert [named[f"age_band_is_{band}"] for band in ("19_24", "25_34", "65")] == [0.0, 0.0, 1.0]
    assert (named["household_size"], named["birthday_in_days"], named["home_store_is_12"]) == (2.0, 2.0, 0.0)
    assert round(named["birthday_age_years"], 2) == 64.0
    assert np.isnan(nobody).all()


def test_birthdays_come_once_a_year_also_those_of_29_february() -> None:
    born = np.array([np.datetime64(day).astype(int) for day in ("1996-02-29", "1990-05-01", "1990-05-02")], float)
    as_of = np.full(3, np.datetime64("2023-05-01").astype("datetime64[s]").astype(float) + 7.5 * 3_600)
    assert days_to_birthday(born, as_of).tolist() == [304.0, 0.0, 1.0]  # 29 February 2024


@given(ROWS, ROWS)
def test_in_whatever_parts_values_come_the_latest_of_each_counts(first: list, second: list) -> None:
    rows = sorted([*first, *second], key=lambda row: row[2])
    whole = merged(NOTHING_SAID, rows)
    for cut in range(len(rows) + 1):
        np.testing.assert_array_equal(merged(merged(NOTHING_SAID, rows[:cut]), rows[cut:]), whole)
    newest = {code: max(row[2] for row in rows if row[0] == code) for code, *_ in rows}
    assert {row[0]: row[2] for row in whole.tolist()} == newest


@given(ROWS)
def test_values_come_back_from_before_the_bytes_of_a_state(rows: list) -> None:
    values = merged(NOTHING_SAID, rows)
    own = LAYOUT_CODE.to_bytes(2, "little") + b"state"
    both = np.frombuffer(own + prefix(values) + own, np.uint8)
    spans = np.array([[0, len(own)], [len(own), len(both)]])
    lengths = prefix_lengths(both, spans)
    if not len(values):
        assert lengths is None
    else:
        assert lengths is not None
        assert lengths.tolist() == [0, len(prefix(values))]
        np.testing.assert_array_equal(read_prefix(both, len(own), int(lengths[1])), values)


def test_a_state_of_its_own_is_never_taken_for_attributes() -> None:
    assert LAYOUT_CODE != PREFIX_CODE
