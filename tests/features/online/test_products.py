"""The products' rows: every purchase of the log is in them, once, whatever is interrupted, repeated or built anew."""

import numpy as np
import pytest

from features.errors import StoreError
from features.log.engines import open_log
from features.online.checkpoint import Checkpoint
from features.online.products import EVERY_S, LiveProducts
from features.online.reader import OnlineReader
from features.state.products import ProductStates, fold_purchases, purchases


@pytest.fixture(params=["sqlite", "redis"])
def shop(request, tmp_path, kit):
    """A log, an empty store and its reader."""
    engines = {"sqlite": {}, "redis": {"OMNI_ONLINE_STORE": "redis"}}[request.param]
    if engines:
        engines["OMNI_REDIS"] = request.getfixturevalue("new_redis")()
    store, settings = kit.make_store(tmp_path / "home", [], engines)
    log, reader = open_log(settings), OnlineReader(settings)
    yield log, store, reader, settings
    reader.close()
    log.close()


def assert_level(log, reader) -> None:
    """What is online is what the whole log says."""
    expected = ProductStates.empty()
    for events in log.read():
        code, time_s, _ = purchases(events)
        expected = fold_purchases(expected, code, time_s)
    found = reader.read_products().states
    assert found.code.tolist() == expected.code.tolist()
    for name in ("count", "first_s", "last_s"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)


def test_purchases_reach_the_online_store_piece_by_piece(shop, kit):
    log, store, reader, settings = shop
    live = LiveProducts(log, store.online, reader, settings)
    happenings = kit.random_happenings(seed=11, customers=3, events=90)

    for start in range(0, 90, 9):
        log.append(kit.to_events(happenings[start : start + 9], prefix=f"batch{start}-"))
        live.run_once()
        assert_level(log, reader)
    assert Checkpoint(settings, of="products").read() == log.last_seq()
    assert live.run_once() == 0


def test_only_what_sold_is_written_anew(shop, kit):
    log, store, reader, settings = shop
    live = LiveProducts(log, store.online, reader, settings)
    log.append(kit.to_events(kit.WORLD))
    assert live.run_once() == 5

    log.append(kit.to_events([kit.Happening("anna", 70, "purchase", product="p1", value=1.0)], prefix="new"))
    log.append(kit.to_events([kit.Happening("anna", 71, "view", product="p2")], prefix="seen"))

    assert live.run_once() == 1
    assert_level(log, reader)


def test_another_process_goes_on_where_one_ended(shop, kit):
    log, store, reader, settings = shop
    log.append(kit.to_events(kit.WORLD[:40], prefix="a"))
    LiveProducts(log, store.online, reader, settings).run_once()
    log.append(kit.to_events(kit.WORLD[40:], prefix="b"))

    LiveProducts(log, store.online, reader, settings).run_once()

    assert_level(log, reader)


class Failing:
    """A store whose next write fails, before or after it is done."""

    def __init__(self, store, *, after: bool) -> None:
        self.store, self.after, self.fails = store, after, True

    def write_products(self, blocks) -> None:
        if self.after or not self.fails:
            self.store.write_products(blocks)
        if self.fails:
            self.fails = False
            raise StoreError("the store is away")


@pytest.mark.parametrize("after", [False, True])
def test_a_write_that_fails_is_done_again_and_counts_once(shop, kit, after):
    log, store, reader, settings = shop
    live = LiveProducts(log, Failing(store.online, after=after), reader, settings)
    log.append(kit.to_events(kit.WORLD))

    with pytest.raises(StoreError, match="away"):
        live.run_once()
    assert live.run_once() in (0, 5)

    assert_level(log, reader)


def test_a_checkpoint_that_was_set_back_changes_nothing(shop, kit):
    log, store, reader, settings = shop
    live = LiveProducts(log, store.online, reader, settings)
    log.append(kit.to_events(kit.WORLD))
    live.run_once()

    Checkpoint(settings, of="products").write(10)

    assert live.run_once() == 0
    assert_level(log, reader)


def test_after_a_build_it_goes_on_from_what_was_built(shop, kit):
    log, store, reader, settings = shop
    live = LiveProducts(log, store.online, reader, settings)
    log.append(kit.to_events(kit.WORLD[:40], prefix="a"))
    live.run_once()
    store.materialize(lambda _: None)  # of an empty timeline: sets everything back to the beginning

    log.append(kit.to_events(kit.WORLD[40:], prefix="b"))
    live.run_once()

    assert_level(log, reader)


def test_customers_and_products_have_a_checkpoint_each(shop):
    _, _, _, settings = shop
    Checkpoint(settings).write(7)
    Checkpoint(settings, of="products").write(9)

    assert (Checkpoint(settings).read(), Checkpoint(settings, of="products").read()) == (7, 9)


def test_the_log_is_looked_at_every_few_seconds(shop, kit):
    log, store, reader, settings = shop
    now = [100.0]
    live = LiveProducts(log, store.online, reader, settings, clock=lambda: now[0])
    live.run_due()
    log.append(kit.to_events(kit.WORLD))

    live.run_due()
    assert len(reader.read_products().states) == 0
    now[0] += EVERY_S
    live.run_due()

    assert_level(log, reader)
