"""The products' part of parity: it finds nothing where folds agree, and what is wrong where they do not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pytest import MonkeyPatch

from features.build import fold_to_parquet
from features.checks import product_parity
from features.checks.parity import check_parity, relative_difference
from features.checks.product_parity import PRODUCT_NAMES, product_numbers
from features.log.engines import open_log
from features.offline.timeline import build_timeline
from features.settings import Settings
from features.simulator.world import WorldConfig, simulate
from features.state.products import ProductStates


@pytest.fixture
def built(settings: Settings) -> Settings:
    """The folded timeline of a small simulated shop."""
    log = open_log(settings)
    log.append(simulate(WorldConfig(n_customers=30, n_days=30, seed=2)).events)
    fold_to_parquet(settings, build_timeline(log, settings, lambda _: None), lambda _: None)
    log.close()
    return settings


def test_every_product_that_sold_is_compared_and_agrees(built: Settings) -> None:
    pairs = product_numbers(built, np.random.default_rng(0))

    assert len(pairs) == 5
    assert max(len(batch) for batch, _ in pairs) > 20
    for batch, live in pairs:
        assert batch.shape == (len(batch), len(PRODUCT_NAMES))
        assert relative_difference(batch, live).max(initial=0.0) < 1e-9


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda states: replace(states, count=states.count * (1.0, 1.0, 1.0, 1.01, 1.0)), "purchases_28d"),
        (lambda states: replace(states, first_s=states.first_s + 86_400.0), "first_sold"),
        (lambda states: states.take(np.arange(1, len(states))), "purchases_3d"),
    ],
)
def test_what_serving_gets_wrong_is_named(
    built: Settings, monkeypatch: MonkeyPatch, wrong: Callable[[ProductStates], ProductStates], named: str
) -> None:
    arrived = product_parity._arrived
    monkeypatch.setattr(product_parity, "_arrived", lambda *arguments: wrong(arrived(*arguments)))

    report = check_parity(built, customers=2, seed=0, progress=lambda _: None)

    assert (report.equal, report.worst_signal) == (False, named)
    assert report.different > 5
