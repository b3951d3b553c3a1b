"""Lifts of offers: shrunk step by step, computed by hand, and draws that are the same everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.vocabulary import Channel
from serving.offers.response import Counts, Tally, lifts_of

EMAIL, PUSH = Channel.EMAIL, Channel.PUSH


def test_before_anything_is_known_every_offer_does_as_the_model_says() -> None:
    lifts = lifts_of(Counts(), ["a", "b"], {"a": ["tea"]}, [EMAIL, PUSH])
    assert lifts.mean.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert lifts.shape.tolist() == [[5.0, 5.0], [5.0, 5.0]]


def test_a_new_offer_begins_where_offers_of_its_category_stand_on_its_channel() -> None:
    counts = Counts({("old", "email"): Tally(20.0, 40.0)})
    lifts = lifts_of(counts, ["new", "other"], {"old": ["tea"], "new": ["tea"], "other": ["soap"]}, [EMAIL, PUSH])
    overall = (5 + 40) / (5 + 20)  # 1.8
    on_email = (5 * overall + 40) / 25  # 1.96
    with_tea = (5 * on_email + 40) / 25  # 1.992
    assert lifts.mean[0].tolist() == pytest.approx([with_tea, on_email])
    assert lifts.mean[1].tolist() == pytest.approx([overall, overall])  # on push nothing but the whole is known


def test_what_an_offer_does_on_one_channel_tells_of_the_others_and_outweighs_them_where_it_is_seen() -> None:
    counts = Counts({("a", "email"): Tally(50.0, 150.0), ("b", "email"): Tally(50.0, 0.0)})
    lifts = lifts_of(counts, ["a", "b"], {}, [EMAIL, PUSH])
    overall = (5 + 150) / 105
    on_email = (5 * overall + 150) / 105
    own = (5 + 150) / (5 + 50 * on_email)
    assert lifts.mean[0, 0] == pytest.approx((5 * on_email * own + 150) / 55)
    assert lifts.mean[1, 0] == pytest.approx(overall * own)
    assert lifts.mean[0, 0] == pytest.approx(2.9, abs=0.1)
    assert lifts.mean[0, 1] < 0.2


def test_an_offer_that_goes_to_those_who_answer_anyway_is_not_taken_for_a_good_one() -> None:
    eager, honest = Tally(90.0, 90.0), Tally(10.0, 20.0)
    lifts = lifts_of(Counts({("eager", "email"): eager, ("honest", "email"): honest}), ["eager", "honest"], {}, [EMAIL])
    assert lifts.mean[0, 0] < lifts.mean[0, 1]


def test_an_offer_that_is_known_well_is_drawn_within_narrow_bounds() -> None:
    draws = lifts_of(Counts({("old", "email"): Tally(995.0, 995.0)}), ["old", "new"], {}, [EMAIL]).draws("s", 64).lifts
    assert draws.shape == (1, 2, 64)
    assert draws.mean(axis=2)[0].tolist() == pytest.approx([1.0, 1.0], abs=0.01)
    assert draws[0, 0].std() == pytest.approx(1 / np.sqrt(1000), rel=0.1)
    assert draws[0, 1].std() == pytest.approx(1 / np.sqrt(5), rel=0.1)


@given(st.permutations(["a", "b", "c", "d"]), st.integers(1, 4))
def test_draws_of_an_offer_do_not_hang_on_the_other_offers(order: list[str], n: int) -> None:
    counts = Counts({("a", "email"): Tally(3.0, 5.0), ("c", "email"): Tally(2.0, 0.0)})
    every = lifts_of(counts, ["a", "b", "c", "d"], {}, [EMAIL]).draws("seed", 16).lifts
    some = lifts_of(counts, order[:n], {}, [EMAIL]).draws("seed", 16).lifts
    for column, name in enumerate(order[:n]):
        assert some[0, column].tolist() == every[0, "abcd".index(name)].tolist()
    assert (every >= 0).all()


def test_another_seed_draws_otherwise_and_the_version_is_of_what_was_counted() -> None:
    lifts = lifts_of(Counts(), ["a"], {}, [EMAIL])
    assert lifts.draws("1", 16).lifts.tolist() != lifts.draws("2", 16).lifts.tolist()
    assert np.allclose(np.sort(lifts.draws("1", 16).lifts), np.sort(lifts.draws("2", 16).lifts))
    assert Counts({("a", "email"): Tally(1, 0)}, 5.0).version == Counts({("a", "email"): Tally(1, 0)}, 9.0).version
    assert Counts({("a", "email"): Tally(1, 1)}).version != Counts({("a", "email"): Tally(1, 0)}).version
