"""One day of a simulated world after the other: who leaves, who is contacted and answers, who comes by and buys."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from scipy.special import expit

from features.arrays import BoolArray, FloatArray, IntArray
from features.simulator.arms import ARM_CHANNEL, ARM_HOUR, Arms, reachable_arms
from features.simulator.config import WorldConfig
from features.simulator.decisions import DecisionBuffer, logging_chances
from features.simulator.events import CARD, COOKIE, DEVICE, EMAIL, NONE, PHONE, EventBuffer, clipped_day_time
from features.simulator.memory import Memory
from features.simulator.people import CONTACT, N_HABITS, ORGANIC, People
from features.simulator.shop import ONLINE, Shop
from features.vocabulary import CHANNEL_CODES, KIND_CODES, Channel, EventKind

CONTACT_DAYS: Final = 14
"""Days for which a contact changes the hazard of leaving."""
RETENTION_DAYS: Final = 28
"""Horizon of the retention figures."""
DECISION_HOUR: Final = 6.0
OPENING_HOUR: Final = 6.5
"""Nothing but decisions happens earlier in the day, so a decision knows exactly the days before."""
_CONTACT_CODES: Final = np.array([CHANNEL_CODES[channel] for channel in CONTACT])
_ORGANIC_CODES: Final = np.array([CHANNEL_CODES[channel] for channel in ORGANIC])
_CONTACT_IDS: Final = np.array([EMAIL, DEVICE, PHONE, COOKIE, CARD])
_BUYS_ON: Final = np.array(
    [CHANNEL_CODES[c] for c in (Channel.WEB, Channel.APP, Channel.WEB, Channel.WEB, Channel.STORE)]
)
_WEB, _APP, _STORE, _SOCIAL, _CHAT, _CALL = range(len(ORGANIC))
_BUY_LOGIT: Final = np.array([-1.9, -1.5, 1.8, -9.0, -9.0, -9.0])
_MARGIN_SHARE: Final = 0.3
"""Margin as a share of what the customer pays."""


@dataclass
class DayLoop:
    """The world's present state: arrays over customers that change from day to day."""

    config: WorldConfig
    people: People
    shop: Shop
    arms: Arms
    events: EventBuffer
    rng: np.random.Generator
    log: DecisionBuffer = field(default_factory=DecisionBuffer)

    def __post_init__(self) -> None:
        n = len(self.people)
        self.memory = Memory(n)
        self.left_day: FloatArray = np.full(n, np.inf)
        self.consent: BoolArray = self.people.consent.copy()
        self.cookies: IntArray = np.zeros(n, np.int64)
        self.web_login = np.zeros(n, bool)
        self.app_login = np.zeros(n, bool)
        self.next_due: FloatArray = self.rng.random((n, N_HABITS)) * self.people.cycle_days

    def run(self, day: int) -> None:
        """Everything of one day."""
        self.shop.new_day(day, self.rng)
        self.memory.forget()
        self._welcome(
            np.flatnonzero(self.people.joined_day == day) if day else np.flatnonzero(self.people.joined_day <= 0), day
        )
        self._leave(day)
        active = np.flatnonzero((self.people.joined_day <= day) & np.isinf(self.left_day))
        if day >= self.config.warmup_days:
            due = self.rng.random(len(active)) < 1.0 / self.config.decision_every_days
            self._decide(active[due], day)
        self._visit(active, day)

    def retention(self, who: IntArray, days_since_contact: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Chance to be there `RETENTION_DAYS` later without and with a contact today, each (n,)."""
        hazard, ratio = self.people.hazard[who], np.exp(self.people.contact_hazard[who])
        exposed = np.clip(CONTACT_DAYS - days_since_contact, 0, CONTACT_DAYS)
        nothing = np.exp(-hazard * (exposed * ratio + RETENTION_DAYS - exposed))
        contact = np.exp(-hazard * (CONTACT_DAYS * ratio + RETENTION_DAYS - CONTACT_DAYS))
        return nothing, contact

    def _known(self, who: IntArray, day: int) -> dict[str, np.ndarray]:
        """The features of a decision: behaviour, consents, what is due, and the customer's master data."""
        return self.memory.features(who, day) | {
            **{f"consent_{ch.value}": self.consent[who, i].astype(np.float64) for i, ch in enumerate(CONTACT[:3])},
            "due_products": (self.next_due[who] <= day).sum(axis=1).astype(np.float64),
            "tenure_days": day - self.people.joined_day[who].astype(np.float64),
            "margin": self.people.margin[who],
            "source": self.people.source[who],
        }

    def _welcome(self, who: IntArray, day: int) -> None:
        came_by = np.array([CHANNEL_CODES[Channel(name)] for name in self.people.source[who]], dtype=np.int64)
        at = clipped_day_time(np.full(len(who), DECISION_HOUR - 1.0), day)
        for i in who:
            said = {channel.value: bool(self.consent[i, c]) for c, channel in enumerate(CONTACT[:3])}
            self.events.texts[KIND_CODES[EventKind.PROFILE], int(i)] = json.dumps({"consent": said})
        self.events.add(EventKind.IDENTIFY, came_by, at, who, EMAIL | PHONE | CARD)
        self.events.add(EventKind.PROFILE, came_by, at + 1_000_000, who, EMAIL)

    def _leave(self, day: int) -> None:
        rate = self.people.hazard * np.where(
            day - self.memory.last_contact <= CONTACT_DAYS, np.exp(self.people.contact_hazard), 1.0
        )
        there = (self.people.joined_day < day) & np.isinf(self.left_day)
        self.left_day[there & (self.rng.random(len(rate)) < -np.expm1(-rate))] = day

    def _decide(self, who: IntArray, day: int) -> None:
        if len(who) == 0:
            return
        n, people, rng = len(who), self.people, self.rng
        rows = np.arange(n)
        reachable = reachable_arms(self.consent[who])
        due = np.where((self.next_due[who] <= day).any(axis=1), 0.7, 0.0)
        probability = self.arms.probabilities(people, who, due, self.memory.pressure[who], reachable)
        unsubscribe = self.arms.unsubscribes(people, who, self.memory.pressure[who], reachable)
        chances = logging_chances(self.memory.open_rates(who), self.config.exploration)
        arm = np.minimum((rng.random(n)[:, None] >= np.cumsum(chances, axis=1)).sum(axis=1), chances.shape[1] - 1)
        converted = rng.random(n) < probability[rows, arm]
        sent = reachable[rows, arm] & (arm > 0)
        left = rng.random(n) < unsubscribe[rows, arm]
        reward = converted * people.margin[who] - self.arms.cost(reachable)[rows, arm] - self.arms.penalty * left
        expected = self.arms.rewards(probability, unsubscribe, people.margin[who], reachable)
        nothing, contact = self.retention(who, day - self.memory.last_contact[who])
        numbers = self.log.add(
            who, clipped_day_time(np.full(n, DECISION_HOUR), day), arm, chances[rows, arm], reward,
            self._known(who, day), reachable, expected, probability, people.margin[who], nothing, contact,
        )  # fmt: skip
        self._emit_contacts(who, arm, numbers, chances[rows, arm], sent, converted, left, day)

    def _emit_contacts(
        self,
        who: IntArray,
        arm: IntArray,
        numbers: IntArray,
        pscore: FloatArray,
        sent: BoolArray,
        converted: BoolArray,
        left: BoolArray,
        day: int,
    ) -> None:
        n, rng, events = len(who), self.rng, self.events
        channel = ARM_CHANNEL[arm]
        code = np.where(channel >= 0, _CONTACT_CODES[channel], CHANNEL_CODES[Channel.WEB])
        self.log.describe(events.texts, numbers, arm, pscore)
        at = clipped_day_time(np.full(n, DECISION_HOUR), day)
        events.add(EventKind.DECISION, code, at, who, 0, decision=numbers)
        hour = np.where(np.isfinite(ARM_HOUR[arm]), ARM_HOUR[arm], np.clip(self.people.peak_hour[who], 8, 20))
        noticed = (rng.random(n) < expit(self.people.notice[who, np.maximum(channel, 0)])) | converted
        opened = sent & (noticed | left)
        seen = np.minimum(hour + rng.exponential(1.5, n), 22.5)

        def emit(kind: EventKind, mask: BoolArray, after: FloatArray, on: IntArray = code, **columns: Any) -> None:
            picked = {name: np.asarray(value)[mask] if np.ndim(value) else value for name, value in columns.items()}
            events.add(
                kind,
                on[mask],
                clipped_day_time(after, day)[mask],
                who[mask],
                _CONTACT_IDS[channel[mask]],
                decision=numbers[mask],
                **picked,
            )

        emit(EventKind.SEND, sent, hour)
        emit(EventKind.OPEN, opened, seen)
        clicked = opened & (converted | (rng.random(n) < 0.15)) & ~np.isin(channel, [CONTACT.index(Channel.POST)])
        emit(EventKind.CLICK, clicked, seen + 0.02)
        emit(EventKind.UNSUBSCRIBE, left, seen + 0.03)
        self.consent[who[left], channel[left]] = False
        buys_on = np.where(channel >= 0, _BUYS_ON[channel], CHANNEL_CODES[Channel.WEB])
        product = self._wanted(who, day)
        value = np.round(self.people.margin[who] / _MARGIN_SHARE, 2)
        place = np.where(buys_on == CHANNEL_CODES[Channel.STORE], self.people.home_store[who], NONE)
        session = np.full(n, NONE)
        session[converted] = events.new_sessions(int(converted.sum()))
        ids = np.where(place >= 0, CARD, EMAIL)
        c = converted
        events.add(EventKind.PURCHASE, buys_on[c], clipped_day_time(seen + 0.2, day)[c], who[c], ids[c], product=product[c],
                   quantity=1.0, value=value[c], store=place[c], session=session[c], decision=numbers[c])  # fmt: skip
        emit(EventKind.OUTCOME, converted & sent, seen + 0.21, value=np.round(self.people.margin[who], 2))
        self._bought(who[c], product[c], value[c], day)
        self.shop.sell(product[c], np.where(place[c] >= 0, place[c], ONLINE))
        self.memory.last_action[who[opened | c]] = day
        reached, on = who[sent], channel[sent]
        self.memory.sends_90d[reached, on] += 1
        self.memory.opens_90d[who[opened], channel[opened]] += 1
        for sums in (self.memory.pressure, self.memory.contacts_7d, self.memory.contacts_30d):
            sums[reached] += 1
        self.memory.last_contact[reached] = day

    def _visit(self, active: IntArray, day: int) -> None:
        rng, people, events = self.rng, self.people, self.events
        weekend = day % 7 >= 5
        rate = people.visit_rate[active] * (people.weekend[active] if weekend else 1.0)
        rate = rate * np.where((self.next_due[active] <= day).any(axis=1), 1.5, 1.0)
        who = active[rng.random(len(active)) < -np.expm1(-rate)]
        n = len(who)
        way = np.minimum((rng.random(n)[:, None] > people.visit_mix[who]).sum(axis=1), len(ORGANIC) - 1)
        hour = np.clip(people.peak_hour[who] + 2.2 * rng.standard_normal(n), OPENING_HOUR, 22.5)
        session = events.new_sessions(n)
        place = np.where(way == _STORE, people.home_store[who], NONE)
        code = _ORGANIC_CODES[way]
        named, ids = self._who_is_it(who, way, session, hour, day)
        start = clipped_day_time(hour, day)
        for kind, mask in (
            (EventKind.VISIT, np.isin(way, [_WEB, _APP, _STORE])),
            (EventKind.CHAT, way == _CHAT),
            (EventKind.CALL, way == _CALL),
        ):
            events.add(
                kind,
                code[mask],
                start[mask],
                who[mask],
                ids[mask],
                session=session[mask],
                store=place[mask],
                named=named[mask],
            )
        looked = np.where(np.isin(way, [_WEB, _APP]), 1 + rng.poisson(1.3, n), (way == _SOCIAL).astype(np.int64))
        self._look(who, way, looked, start, session, ids, named)
        product = self._wanted(who, day)
        price = self.shop.paid(product)
        push = self.config.price_sensitivity * (
            (0.3 + 0.5 * people.traits[who, 3]) * self.shop.promoted[product]
            - 0.25 * people.traits[who, 3] * np.log(price / 6.0)
        )
        wants = rng.random(n) < 1 / (
            1 + np.exp(-(_BUY_LOGIT[way] + push + 0.5 * (self.next_due[who] <= day).any(axis=1)))
        )
        shelf = np.where(place >= 0, place, ONLINE)
        missing = wants & ~self.shop.in_stock(product, shelf)
        product = np.where(missing, self.shop.pick(self.shop.category[product], rng.random(n)), product)
        wants &= ~missing | (self.shop.in_stock(product, shelf) & (rng.random(n) < 0.5))
        online = np.isin(way, [_WEB, _APP])
        carted = online & (wants | (rng.random(n) < 0.15))
        self._buy(who, code, product, wants, carted, start, session, place, ids, named, day)
        part = np.digitize(hour, [11.0, 16.0])
        self.memory.day_part_90d[who, part] += 1
        self.memory.weekend_90d[who] += weekend
        self.memory.visits_30d[who, way] += 1
        self.memory.last_action[who] = day

    def _who_is_it(
        self, who: IntArray, way: IntArray, session: IntArray, hour: FloatArray, day: int
    ) -> tuple[BoolArray, IntArray]:
        """Whether each visit names its customer, and the identifiers that it carries."""
        rng, events = self.rng, self.events
        named = ~((way == _WEB) & (rng.random(len(who)) < self.config.anonymous_share))
        web, app = way == _WEB, way == _APP
        changed = web & (rng.random(len(who)) < 0.02)
        self.cookies[who[changed]] += 1
        self.web_login[who[changed]] = False
        logs_in = web & named & ~self.web_login[who]
        self.web_login[who[logs_in]] = True
        first_app = app & ~self.app_login[who]
        self.app_login[who[first_app]] = True
        before = clipped_day_time(hour - 0.01, day)
        for mask, bits, channel in ((logs_in, COOKIE | EMAIL, Channel.WEB), (first_app, DEVICE | EMAIL, Channel.APP)):
            events.add(EventKind.IDENTIFY, channel, before[mask], who[mask], bits, session=session[mask])
        ids = np.array([COOKIE, DEVICE, CARD, EMAIL, EMAIL, PHONE])[way]
        return named, ids

    def _look(
        self,
        who: IntArray,
        way: IntArray,
        looked: IntArray,
        start: IntArray,
        session: IntArray,
        ids: IntArray,
        named: BoolArray,
    ) -> None:
        rows = np.repeat(np.arange(len(who)), looked)
        nth = np.arange(len(rows)) - np.repeat(np.cumsum(looked) - looked, looked)
        product = self._browsed(who[rows])
        code = _ORGANIC_CODES[way[rows]]
        at = start[rows] + (1 + nth) * 40_000_000
        self.events.add(
            EventKind.VIEW, code, at, who[rows], ids[rows], product=product, session=session[rows], named=named[rows]
        )
        searched = self.rng.random(len(who)) < 0.15
        searched &= looked > 0
        self.events.add(EventKind.SEARCH, _ORGANIC_CODES[way[searched]], start[searched] + 20_000_000, who[searched],
                        ids[searched], session=session[searched], named=named[searched])  # fmt: skip

    def _buy(
        self, who: IntArray, code: IntArray, product: IntArray, wants: BoolArray, carted: BoolArray, start: IntArray,
        session: IntArray, place: IntArray, ids: IntArray, named: BoolArray, day: int,
    ) -> None:  # fmt: skip
        rng, events = self.rng, self.events
        later = start + 400_000_000
        common = {"product": product, "session": session, "named": named, "store": place}

        def emit(kind: EventKind, mask: BoolArray, at: IntArray, **columns: Any) -> None:
            picked = {name: np.asarray(value)[mask] for name, value in {**common, **columns}.items()}
            events.add(kind, code[mask], at[mask], who[mask], ids[mask], **picked)

        units = 1.0 + rng.poisson(0.3, len(who))
        value = np.asarray(np.round(self.shop.paid(product) * units, 2), dtype=np.float64)
        emit(EventKind.ADD_TO_CART, carted, later, quantity=units)
        emit(
            EventKind.REMOVE_FROM_CART,
            carted & ~wants & (rng.random(len(who)) < 0.3),
            later + 60_000_000,
            quantity=units,
        )
        emit(EventKind.PURCHASE, wants, later + 120_000_000, quantity=units, value=value)
        self._bought(who[wants], product[wants], value[wants], day)
        self.shop.sell(product[wants], np.where(place[wants] >= 0, place[wants], ONLINE))
        in_store = wants & (place >= 0)
        lines = np.where(in_store, rng.poisson(1.2, len(who)), 0)
        rows = np.repeat(np.arange(len(who)), lines)
        more = self._browsed(who[rows])
        there = self.shop.in_stock(more, place[rows])
        rows, more = rows[there], more[there]
        paid = np.asarray(self.shop.paid(more), dtype=np.float64)
        events.add(EventKind.PURCHASE, code[rows], later[rows] + 120_000_000, who[rows], ids[rows], product=more,
                   quantity=1.0, value=paid, store=place[rows], session=session[rows], named=named[rows])  # fmt: skip
        self._bought(who[rows], more, paid, day)
        self.shop.sell(more, place[rows])
        emit(
            EventKind.RETURN, wants & (rng.random(len(who)) < 0.02), later + 3_600_000_000, quantity=units, value=value
        )
        rates = np.flatnonzero(wants & (rng.random(len(who)) < 0.03))
        stars = np.clip(
            np.round(4.2 - 0.3 * self.memory.pressure[who[rates]] + 0.8 * rng.standard_normal(len(rates))), 1, 5
        )
        for number, rating in zip(session[rates], stars, strict=True):
            events.texts[KIND_CODES[EventKind.FEEDBACK], int(number)] = json.dumps({"rating": int(rating)})
        emit(EventKind.FEEDBACK, np.isin(np.arange(len(who)), rates), later + 600_000_000)

    def _wanted(self, who: IntArray, day: int) -> IntArray:
        """The habitual product that is most overdue, or something browsed."""
        overdue = day - self.next_due[who]
        first = np.argmax(overdue, axis=1)
        rows = np.arange(len(who))
        return np.where(overdue[rows, first] >= 0, self.people.habits[who, first], self._browsed(who))

    def _browsed(self, who: IntArray) -> IntArray:
        """A product to each customer's taste."""
        category = (self.rng.random(len(who))[:, None] > self.people.taste[who]).sum(axis=1)
        return self.shop.pick(np.minimum(category, self.people.taste.shape[1] - 1), self.rng.random(len(who)))

    def _bought(self, who: IntArray, product: IntArray, value: FloatArray, day: int) -> None:
        np.add.at(self.memory.spend_90d, who, value)
        np.add.at(self.memory.purchases_90d, who, 1.0)
        np.add.at(self.memory.promoted_90d, who, self.shop.promoted[product])
        self.memory.last_purchase[who] = day
        rows, habit = np.nonzero(self.people.habits[who] == product[:, None])
        cycle = self.people.cycle_days[who[rows], habit]
        self.next_due[who[rows], habit] = day + cycle * np.exp(0.2 * self.rng.standard_normal(len(rows)))
