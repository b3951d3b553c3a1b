"""What all sources share: samples, requests that cannot be met, titles."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from features.errors import InputError
from features.sources import SOURCES, load_source
from features.sources.batch import sampled


def test_a_sample_is_a_share_of_the_customers_and_the_same_each_time() -> None:
    ids = pa.array([str(number) for number in range(10_000)])
    tenth = sampled(ids, 0.1)
    assert pc.sum(tenth).as_py() == pytest.approx(1_000, abs=100)
    assert tenth.equals(sampled(ids, 0.1))
    assert pc.all(pc.or_(pc.invert(tenth), sampled(ids, 0.3))).as_py()  # a larger sample holds the smaller one
    assert sampled(pa.array([7, None]), 1.0).to_pylist() == [True, True]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("complete-jorney", {}, "Use one of complete-journey"),
        ("complete-journey", {"sample": 0.0}, "above 0 and up to 1"),
        ("starbucks-offers", {}, "Pass --path with the folder"),
        ("online-retail-2", {"path": Path("nowhere.parquet")}, "online_retail_II.parquet"),
    ],
)
def test_a_wrong_request_says_what_would_be_right(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(load_source(name, **options))


def test_every_source_says_what_it_is() -> None:
    assert all(info.title for info in SOURCES.values())
