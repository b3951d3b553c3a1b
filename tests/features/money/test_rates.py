from pathlib import Path

import numpy as np
import pytest

from features.errors import InputError
from features.money.rates import read_rates

GOOD = "date,currency,rate\n2024-05-03,USD,0.94\n2024-05-01,USD,0.93\n\n2024-05-01,JPY,0.006\n2024-05-01,EUR,1\n"


def day(text: str) -> int:
    return int(np.datetime64(text, "D").astype(np.int64))


def test_the_newest_rate_on_or_before_a_day_counts(tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    file.write_text(GOOD)
    rates = read_rates(file, "EUR")
    days = np.array([day(text) for text in ("2024-04-30", "2024-05-01", "2024-05-02", "2024-05-03", "2030-01-01")])
    np.testing.assert_array_equal(rates.on("USD", days), [np.nan, 0.93, 0.93, 0.94, 0.94])
    np.testing.assert_array_equal(rates.on("JPY", days[1:2]), [0.006])
    np.testing.assert_array_equal(rates.on("GBP", days[1:2]), [np.nan])


def test_no_file_is_no_rates(tmp_path: Path) -> None:
    assert read_rates(tmp_path / "rates.csv", "EUR").by_currency == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("day,currency,rate\n", "line 1: the header is 'day,currency,rate'"),
        ("", "line 1: the header is ''"),
        ("date,currency,rate\n2024-13-01,USD,1\n", "line 2: '2024-13-01' is no date"),
        ("date,currency,rate\n2024-05-01,usd,1\n", "line 2: 'usd' is not three capital letters"),
        ("date,currency,rate\n2024-05-01,USD,0\n", "line 2: '0' is no rate above 0"),
        ("date,currency,rate\n2024-05-01,USD,nan\n", "line 2: 'nan' is no rate above 0"),
        ("date,currency,rate\n2024-05-01,USD,0;93\n", "line 2: '0;93' is no rate above 0"),
        ("date,currency,rate\n2024-05-01,USD,0,93\n", "line 2: it has 4 fields, not 3"),
        ("date,currency,rate\n2024-05-01,USD,1\n2024-05-01,USD,2\n", "line 3: USD has another rate on that day"),
        ("date,currency,rate\n2024-05-01,EUR,2\n", "line 2: EUR is the currency of this home"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "rates.csv"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_rates(file, "EUR")
    assert words in str(caught.value)
