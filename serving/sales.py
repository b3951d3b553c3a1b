"""What the online store holds of sales in, a next-product model that knows what is popular now out; off the hot path."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from features.arrays import IntArray
from features.clock import Clock
from features.errors import OmniError
from features.online.reader import OnlineReader
from features.settings import Settings
from features.state.product_blocks import ProductBlocks
from serving.answers import Knowledge
from serving.products.catalogue import Catalogue
from serving.scorers.next_product import ProductScorer

logger = logging.getLogger(__name__)

EVERY_S: Final = 15.0
"""How often, at most, what is popular is read anew."""
NEWCOMERS_S: Final = 60.0
"""How often, at most, products that were first sold lately are taken in: then much is looked up anew, before anybody asks."""
_DECAY_S: Final = 600.0
"""How long the numbers of an unchanged store are used: what fades fastest loses two thousandths in ten minutes."""


class Sales:
    """Keeps the next-product model of a worker's knowledge up to date; `now` tells seconds that pass."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        now: Callable[[], float] = time.monotonic,
        problem: Callable[[], str] = str,
    ) -> None:
        """While `problem` answers anything, the online store does not count."""
        self._problem = problem
        self._reader = OnlineReader(settings, clock)
        self._clock = clock
        self._now = now
        self._told = ""
        self._read_s = self._made_s = self._newcomers_s = -np.inf
        self._last_seq: IntArray = np.empty(0, np.int64)
        self._left_out = False
        """Whether newcomers may have sold that were not looked for yet."""
        self._made_of: tuple[ProductScorer | None, Catalogue | None] = (None, None)

    def up_to_date(self, known: Knowledge) -> Knowledge:
        """`known` with what is popular now; the very same where nothing changed, or nothing is known of sales."""
        product, now_s = known.bundle.product, self._now()
        if product is None or known.states is None:
            return known
        is_new = self._made_of != (product, known.catalogue)
        if not is_new and now_s < self._read_s + EVERY_S:
            return known
        blocks = self._read()
        self._read_s = now_s
        if blocks is None or not len(blocks.states):
            return known
        newcomers = is_new or now_s >= self._newcomers_s + NEWCOMERS_S
        nothing_sold = np.array_equal(blocks.last_seq, self._last_seq) and not (newcomers and self._left_out)
        if not is_new and nothing_sold and now_s < self._made_s + _DECAY_S:
            return known
        at_s = self._clock.now().timestamp()
        made = product.as_of(blocks.states, known.catalogue.facts, at_s, take_newcomers=newcomers)
        self._made_of, self._last_seq, self._made_s = (made, known.catalogue), blocks.last_seq, now_s
        self._newcomers_s, self._left_out = now_s if newcomers else self._newcomers_s, not newcomers
        return known if made is product else replace(known, bundle=replace(known.bundle, product=made))

    def _read(self) -> ProductBlocks | None:
        try:
            problem, blocks = self._problem(), self._reader.read_products()
        except OmniError as error:
            problem = str(error)
        if problem and problem != self._told:
            logger.warning("What is popular stays as it was: %s", problem)
        self._told = problem
        return None if problem else blocks
