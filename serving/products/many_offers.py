"""`product_to_offer` of many customers at once: ranked in blocks, and looked up in all their states together.

What a state has forgotten, and what speaks for a product that is new to somebody, is found out for that customer alone, by
the way that one customer is answered by.
"""

from dataclasses import dataclass

import numpy as np

from features.arrays import BoolArray, FloatArray, IntArray
from features.online.live import LiveState
from features.online.many import LiveBatch
from features.state import layout
from features.state.batch import Ragged, StateBatch
from features.state.kernel_products import in_filter
from features.vocabulary import CHANNELS, DAY_S
from serving.decision.rests import Exposure, many_rest_days, product_rest_at_most, product_rest_reason
from serving.decision.rules import RHYTHM_OCCASIONS, ProductHistory, Rules, product_refusal
from serving.products.catalogue import Catalogue
from serving.products.eligibility import allowed_to_all, product_table
from serving.products.history import SEEN_VERBS, done_in_words, history_of_row, purchase_history
from serving.products.ranking import FIRST, TOLD_PASSED_OVER, Offer, offer_of, product_of
from serving.schemas import ProductFilter
from serving.scorers.next_product import ProductScorer, Ranked, RankedBlock

_ALLOWED, _RESTS, _BOUGHT, _ASK = range(4)
"""What the rules say of a product: it may be offered, it rests, it was bought just now, or only the log knows."""


@dataclass(frozen=True)
class ManyOffers:
    """The offers of one question, for any customers."""

    scorer: ProductScorer
    wanted: ProductFilter
    catalogue: Catalogue
    rules: Rules

    def of(self, batch: LiveBatch, as_of_s: FloatArray) -> list[Offer]:
        """The best product that each of n customers may be offered now, and which better ones the rules forbid."""
        offers = [Offer(None)] * len(batch)
        table = product_table(self.scorer.product_ids, self.catalogue)
        for rows, allowed in allowed_to_all(table, self.wanted, self.rules, as_of_s):
            part, moments, begin = batch.take(rows), as_of_s[rows], 0
            for block in self.scorer.rank_blocks(part.scored, moments, allowed):
                end = begin + len(block)
                found = self._of_block(block, part, moments, begin)
                for row, offer in zip(rows[begin:end].tolist(), found, strict=True):
                    offers[row] = offer
                begin = end
        return offers

    def _of_block(self, block: RankedBlock, batch: LiveBatch, moments: FloatArray, begin: int) -> list[Offer]:
        """The offers of those customers of a batch whose products are ranked in a block; the first of them is `begin`."""
        end = begin + len(block)
        states, scored, as_of_s = batch.states.part(begin, end), batch.scored.part(begin, end), moments[begin:end]
        columns = block.best(FIRST[0])
        known = _Known.of(states, scored, as_of_s, np.where(columns >= 0, self.scorer.codes[columns], 0), self.rules)
        says = np.where(columns >= 0, known.says(), _ASK)
        if batch.reserving:  # what is decided and not sent rests, too
            says[[name in batch.reserving for name in batch.names[begin:end]]] = _ASK
        stops = np.column_stack([(says == _ALLOWED) | (says == _ASK), np.ones(len(says), np.bool_)])
        first = stops.argmax(axis=1)
        chosen = known.code[np.arange(len(says)), np.minimum(first, says.shape[1] - 1)]
        in_cart = places_of(scored.cart_product, chosen) >= 0
        seen_s = {kind: _newest(scored, chosen, kind) for kind in SEEN_VERBS}
        offers = []
        for row, place in enumerate(first.tolist()):
            reasons: list[str] = []
            if place < says.shape[1] and says[row, place] == _ALLOWED and self.wanted.explain:
                at_s = float(as_of_s[row])
                seen_days = {
                    kind: max(0.0, at_s - last_s) / DAY_S
                    for kind, moments in seen_s.items()
                    if (last_s := float(moments[row])) > -np.inf
                }
                history = known.history(row, place)
                reasons = done_in_words(history, bool(in_cart[row]), seen_days, self.rules)
            if place == says.shape[1] or says[row, place] == _ASK or (self.wanted.explain and not reasons):
                offers.append(self._alone(block.one(row), batch.live(begin + row), float(as_of_s[row])))
                continue
            column = int(columns[row, place])
            info = self.catalogue.get(self.scorer.product_ids[column])
            product = product_of(info, float(block.scores[row, column + 1]), reasons)
            passed = columns[row, : min(place, TOLD_PASSED_OVER)].tolist()
            offers.append(Offer(product, tuple(self._passed(known, row, at, other) for at, other in enumerate(passed))))
        return offers

    def _alone(self, ordered: Ranked, live: LiveState, as_of_s: float) -> Offer:
        histories = purchase_history(live, as_of_s)
        return offer_of(
            self.scorer,
            ordered,
            live,
            as_of_s,
            histories,
            explain=self.wanted.explain,
            catalogue=self.catalogue,
            rules=self.rules,
        )

    def _passed(self, known: "_Known", row: int, place: int, column: int) -> str:
        exposure = known.contact(row, place)
        refusal = None if exposure is None else product_rest_reason(exposure, self.rules)
        refusal = refusal or product_refusal(known.history(row, place), self.rules)
        product_id = self.scorer.product_ids[column]
        return f"not {self.catalogue.get(product_id).name or product_id}: {refusal}"


@dataclass(frozen=True)
class _Known:
    """What the states of n customers tell of k products each."""

    states: StateBatch  # (n,)
    scored: StateBatch  # (n,) what models may look at
    as_of_s: FloatArray  # (n,)
    code: IntArray  # (n, k)
    habit: IntArray  # (n, k) rows of the habits' values, -1 where a product is none
    exposure: IntArray  # (n, k) likewise
    rules: Rules

    @classmethod
    def of(cls, states: StateBatch, scored: StateBatch, as_of_s: FloatArray, code: IntArray, rules: Rules) -> "_Known":
        habit = np.column_stack([places_of(scored.habit_product, own) for own in code.T])
        exposure = np.column_stack([places_of(states.exposure_code, own) for own in code.T])
        return cls(states, scored, as_of_s, code, habit, exposure, rules)

    def says(self) -> IntArray:
        """What the rules say of each (n, k): see `product_rest` and `product_refusal`, whose numbers these are."""
        return np.where(self._rests() == _ALLOWED, self._bought(), self._rests())

    def history(self, row: int, place: int) -> ProductHistory | None:
        """What the state holds of a customer's purchases of a product."""
        at = int(self.habit[row, place])
        return None if at < 0 else history_of_row(self.scored.habit_stats.values[at], float(self.as_of_s[row]))

    def contact(self, row: int, place: int) -> Exposure | None:
        """What the state holds of contacts about a product."""
        at = int(self.exposure[row, place])
        if at < 0:
            return None
        last_s, ignored, channel, earlier = self.states.exposure_stats.values[at].tolist()
        last_days = max(0.0, (float(self.as_of_s[row]) - last_s) / DAY_S)
        return Exposure(last_days, int(ignored), CHANNELS[int(channel)], earlier > 0)

    def _rests(self) -> IntArray:
        longest_days = product_rest_at_most(self.rules)
        if longest_days <= 0:
            return np.full(self.code.shape, _ALLOWED)
        stats = _rows(self.states.exposure_stats, self.exposure)
        last_days = self._days_since(stats[..., layout.EXPOSURE_LAST])
        rest = many_rest_days(stats[..., layout.EXPOSURE_IGNORED], self.rules)
        forgotten = self._days_since(self.states.scalar("exposures_until")[:, None]) < longest_days
        earlier = (stats[..., layout.EXPOSURE_EARLIER] > 0) & (last_days < longest_days)
        asks = np.where(self.exposure < 0, forgotten, earlier)
        return np.where(asks, _ASK, np.where((self.exposure >= 0) & (last_days < rest), _RESTS, _ALLOWED))

    def _bought(self) -> IntArray:
        recently_days, states = self.rules.bought_recently_days, self.scored
        stats = _rows(states.habit_stats, self.habit)
        last_days = self._days_since(stats[..., layout.HABIT_LAST])
        count = stats[..., layout.HABIT_OCCASIONS]
        gap = (stats[..., layout.HABIT_BEGAN] - stats[..., layout.HABIT_FIRST]) / DAY_S / np.maximum(count - 1, 1)
        is_due = (count >= RHYTHM_OCCASIONS) & (last_days >= self.rules.due_after * gap)
        forgotten = self._days_since(states.scalar("forgotten_until")[:, None]) < recently_days
        unsure = np.argwhere(forgotten & (self.habit < 0))
        asks = (stats[..., layout.HABIT_EARLIER] > 0) & (last_days < recently_days) & (self.habit >= 0)
        for row, place in unsure.tolist():
            asks[row, place] = in_filter(states.forgotten[row], int(self.code[row, place]))
        recently = (self.habit >= 0) & (last_days < recently_days) & ~is_due
        return np.where(asks, _ASK, np.where(recently, _BOUGHT, _ALLOWED))

    def _days_since(self, at_s: FloatArray) -> FloatArray:
        """Days from moments (n, k) on, none below 0; of what never was (NaN), NaN."""
        return np.maximum(0.0, (self.as_of_s[:, None] - at_s) / DAY_S)


def places_of(lists: Ragged, codes: IntArray, which: BoolArray | None = None) -> IntArray:
    """Where in the lists' values the last one of each customer's code stands (n,), -1 for nowhere; only those of `which`."""
    rows = lists.rows()
    same = lists.values == codes[rows]
    found = np.flatnonzero(same if which is None else same & which)
    places = np.full(len(codes), -1, np.int64)
    places[rows[found]] = found
    return places


def _rows(lists: Ragged, places: IntArray) -> FloatArray:
    """Rows of lists' values (n, k, width); of place -1 any row, or NaN where there is none at all."""
    if not len(lists.values):
        return np.full((*places.shape, lists.values.shape[1]), np.nan)
    return np.asarray(lists.values[places])


def _newest(states: StateBatch, codes: IntArray, kind: int) -> FloatArray:
    """When something of a kind was last done with each one's product (n,), by the sequence; minus infinity for never."""
    of_kind = states.seq_event.values // layout.EVENT_CODE_BASE == kind
    places = places_of(states.seq_product, codes, of_kind)
    return np.where(places >= 0, np.append(states.seq_time.values, -np.inf)[places], -np.inf)
