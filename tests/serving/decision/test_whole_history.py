"""What a state of fixed size forgets turns no rule off: answers from states equal those from every event, however many."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.online.live import LiveState, LiveStates
from features.state import layout
from features.state.event_arrays import Contact, product_code
from features.vocabulary import CHANNELS, DAY_S, Channel
from serving.decision.contacts import contact_facts, exposure_history
from serving.decision.rests import Exposure, campaign_refusal, resting_products
from serving.decision.rules import Arm, Cap, ContactFacts, ProductHistory, Rules, check_arm, is_due, product_refusal
from serving.products.catalogue import Catalogue
from serving.products.eligibility import allowed_products, product_table
from serving.products.history import purchase_history
from serving.schemas import ProductFilter

START = datetime(2024, 1, 1, tzinfo=UTC)
PRODUCTS = tuple(f"p{i}" for i in range(400))
TABLE = product_table(PRODUCTS, Catalogue())
CAMPAIGNS = tuple(f"c{i}" for i in range(30))
Row = tuple[
    float, str, str, str | None, float | None
]  # days, kind, channel, product, quantity; and a campaign, where one is


@dataclass(frozen=True)
class Log:
    """An event log of one customer."""

    rows: list[Row]

    def regrouped_seq(self, customer_id: str) -> int:
        return 0

    def read_state(self, customer_id: str) -> None:
        return None

    def customer_events(self, customer_id: str, after_seq: int = 0) -> pa.Table:
        rows = [(*row, None) if len(row) == 5 else row for row in self.rows]
        days, kinds, channels, products, quantities, campaigns = zip(*rows, strict=True)
        moments = [START + timedelta(seconds=round(day * DAY_S)) for day in days]
        return pa.table(
            {
                "occurred_at": pa.array(moments, pa.timestamp("us", "UTC")),
                "seq": pa.array(range(1, len(days) + 1), pa.int64()),
                "kind": pa.array(kinds, pa.string()),
                "channel": pa.array(channels, pa.string()),
                "product_id": pa.array(products, pa.string()),
                "quantity": pa.array(quantities, pa.float64()),
                "value": pa.nulls(len(days), pa.float64()),
                "campaign_id": pa.array(campaigns, pa.string()),
            }
        )

    def purchases(self, customer_id: str) -> pa.Table:
        events = self.customer_events(customer_id)
        return events.filter(pc.is_in(events["kind"], pa.array(["purchase", "return"])))

    def contacts(self, customer_id: str) -> list[Contact]:
        columns = self.customer_events(customer_id).to_pylist()
        return [
            Contact(
                round(row["occurred_at"].timestamp() * 1e6),
                *(row[name] for name in ("kind", "channel", "product_id", "campaign_id")),
                None,
                row["seq"],
            )
            for row in columns
        ]


def live_of(rows: list[Row]) -> LiveState:
    log = Log(rows)
    live = LiveStates(log, log).get("ada")
    assert live is not None
    return live


def allowed(live: LiveState, day: float, rebuys: str = "any", recent_days: float = 0.0) -> set[str]:
    wanted = ProductFilter(customer_id="ada", rebuys=rebuys)
    as_of_s = START.timestamp() + day * DAY_S
    mask = allowed_products(TABLE, wanted, purchase_history(live, as_of_s), recent_days, Rules(), as_of_s)
    return {name for name, fine in zip(PRODUCTS, mask, strict=True) if fine}


def check(live: LiveState, channel: Channel, day: float, rules: Rules) -> tuple[str, ...]:
    arm = Arm("arm", channel)
    return check_arm(arm, contact_facts(live.state), rules, START.timestamp() + day * DAY_S).reasons


@pytest.mark.parametrize("others", [10, 16, 40])
def test_a_cap_holds_after_any_number_of_contacts_elsewhere(others: int) -> None:
    elsewhere = [(i * 29 / others, "send", ("post", "ads", "social")[i % 3], None, None) for i in range(others)]
    live = live_of(sorted([(0.0, "send", "call_center", None, None), *elsewhere]))
    rules = Rules(channel_caps={Channel.CALL_CENTER: Cap(max=1, days=30)}, overall_cap=Cap(max=16, days=1))
    assert check(live, Channel.CALL_CENTER, 29.5, rules)[0] == "1 contacts on call_center in 30 days is the cap"


def test_a_channel_rests_after_silence_whatever_went_out_elsewhere() -> None:
    mails = [(2 + i / 100, "send", "email", None, None) for i in range(8)]
    elsewhere = [(3 + i, "send", "post", None, None) for i in range(16)]
    live = live_of([(0.0, "subscribe", "email", None, None), *mails, *elsewhere])
    rules = Rules(overall_cap=Cap(max=16, days=1))
    assert check(live, Channel.EMAIL, 29.8, rules) == ("the last 8 messages on email were not answered",)
    assert check(live, Channel.EMAIL, 32.2, rules) == ()


@pytest.mark.parametrize("n", [layout.N_HABITS, layout.N_HABITS + 1, 200])
def test_no_product_that_was_bought_is_answered_where_none_may_be(n: int) -> None:
    live = live_of([(0.0, "purchase", "store", name, 1.0) for name in PRODUCTS[:n]])
    expected = set(PRODUCTS[n:])
    assert allowed(live, 3, "never") == expected
    assert allowed(live, 3, "due") == expected
    assert allowed(live, 3, recent_days=7) == expected
    assert allowed(live, 3) == set(PRODUCTS)
    history = purchase_history(live, START.timestamp() + 3 * DAY_S)
    refusals = [product_refusal(history.lately(int(code), 7.0), Rules()) for code in product_code(PRODUCTS)]
    assert refusals == ["bought 3 days ago"] * n + [None] * (400 - n)


def test_a_product_that_comes_back_after_it_was_forgotten_keeps_its_rhythm() -> None:
    rebought = [(day, "purchase", "store", "p0", 1.0) for day in (0.0, 2.0, 4.0)]
    others = [(5 + i / 10, "purchase", "store", name, 1.0) for i, name in enumerate(PRODUCTS[1:] * 3) if name != "p0"]
    last = others[-1][0] + 1
    live = live_of([*rebought, *others, (last, "purchase", "store", "p0", 1.0)])
    code = int(product_code(["p0"])[0])
    history = purchase_history(live, START.timestamp() + (last + 5) * DAY_S)
    assert (history.remembered[code].count, history.remembered[code].earlier) == (1, True)
    found = history.lately(code, 7.0)
    assert (found.count, found.gap_days) == (4, pytest.approx(last / 3))


def test_a_product_that_was_never_bought_is_rarely_taken_for_a_forgotten_one() -> None:
    bought = [f"b{i}" for i in range(layout.N_HABITS + 300)]
    live = live_of([(i / 10, "purchase", "store", name, 1.0) for i, name in enumerate(bought)])
    history = purchase_history(live, START.timestamp() + 50 * DAY_S)
    codes = product_code([f"never{i}" for i in range(5_000)]).tolist()
    assert np.mean([history.is_new(code) for code in codes]) == pytest.approx(1 - 0.045, abs=0.015)
    assert not any(history.is_new(code) for code in product_code(bought).tolist())
    again = live_of([(i / 10, "purchase", "store", name, 1.0) for i, name in enumerate([*bought, "never0", "b0"])])
    remembered = purchase_history(again, START.timestamp() + 50 * DAY_S).remembered
    assert [remembered[int(product_code([name])[0])].earlier for name in ("never0", "b0")] == [False, True]


def random_rows(seed: int, n: int, n_products: int, days: float) -> list[Row]:
    rng = np.random.default_rng(seed)
    kinds = np.array(["purchase", "return", "view", "send", "open", "subscribe", "unsubscribe", "add_to_cart"])
    drawn = kinds[rng.choice(len(kinds), n, p=[0.45, 0.05, 0.1, 0.25, 0.05, 0.03, 0.02, 0.05])]
    channels = np.array([channel.value for channel in CHANNELS])[rng.integers(0, len(CHANNELS), n)]
    products = rng.integers(0, n_products, n)
    of_product = np.isin(drawn, ["purchase", "return", "view", "add_to_cart"])
    quantities = rng.integers(1, 4, n)
    seconds = np.sort(rng.integers(0, int(days * DAY_S), n) // 60 * 60)
    return [
        (
            seconds[i] / DAY_S,
            str(drawn[i]),
            str(channels[i]),
            PRODUCTS[products[i]] if of_product[i] else None,
            float(quantities[i]) if of_product[i] and quantities[i] < 3 else None,
        )
        for i in range(n)
    ]


def facts_by_hand(rows: list[Row]) -> ContactFacts:
    """What the rules look at, from every event."""
    consents: dict[Channel, bool] = {}
    unanswered: dict[Channel, int] = defaultdict(int)
    contacts, refused_at = [], {}
    for day, kind, name, *_ in rows:
        channel = Channel(name)
        if kind == "send":
            contacts.append((channel, START.timestamp() + round(day * DAY_S)))
            unanswered[channel] += 1
        elif kind == "open":
            unanswered[channel] = 0
        elif kind == "unsubscribe":
            consents[channel], refused_at[channel] = False, day
        elif kind == "subscribe" and refused_at.get(channel) != day:
            consents[channel] = True
    return ContactFacts(consents, contacts, unanswered)


def histories_by_hand(rows: list[Row], as_of_s: float) -> dict[str, ProductHistory]:
    """Every product that was bought and kept, from every event."""
    bought: dict[str, list[list[float]]] = defaultdict(list)
    for at, kind, _, product, quantity, *_ in rows:
        if kind == "purchase":
            bought[product].append([at, quantity or 1.0])
        elif kind == "return":
            left = quantity
            while bought[product] and (left is None or left > 0):
                taken = bought[product][-1][1] if left is None else min(left, bought[product][-1][1])
                bought[product][-1][1] -= taken
                if bought[product][-1][1] == 0:
                    bought[product].pop()
                if left is None:
                    break
                left -= taken
    found = {}
    for product, lines in bought.items():
        moments = sorted(START.timestamp() + round(at * DAY_S) for at, _ in lines)
        begun = [at for before, at in pairwise([-np.inf, *moments]) if at - before >= DAY_S]
        if begun:
            gap = (begun[-1] - begun[0]) / DAY_S / (len(begun) - 1) if len(begun) > 1 else None
            found[product] = ProductHistory(len(begun), gap, (as_of_s - moments[-1]) / DAY_S)
    return found


ORDER = {kind: i for i, kind in enumerate(["send", "open", "view", "add_to_cart", "purchase", "return", "subscribe"])}


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([30, 300, 1_500, 5_000]),
    n_products=st.sampled_from([20, 150, 400]),
    days=st.sampled_from([2.0, 40.0, 700.0]),
    cap=st.tuples(st.integers(0, 16), st.sampled_from([1.0, 7.0, 30.0, 400.0])),
    recent_days=st.sampled_from([0.5, 7.0, 90.0]),
)
@example(seed=1, n=5_000, n_products=400, days=2.0, cap=(16, 400.0), recent_days=7.0)
def test_every_rule_answers_as_from_the_whole_log(
    seed: int, n: int, n_products: int, days: float, cap: tuple[int, float], recent_days: float
) -> None:
    rows = random_rows(seed, n, n_products, days)
    rows.sort(key=lambda row: (row[0], ORDER.get(row[1], 9)))
    live, now = live_of(rows), days
    as_of_s = START.timestamp() + now * DAY_S
    rules = Rules(
        overall_cap=Cap(max=cap[0], days=cap[1]),
        channel_caps={channel: Cap(max=16 - cap[0], days=cap[1]) for channel in CHANNELS[::2]},
        bought_recently_days=recent_days,
        rest_days=cap[1],
    )
    facts = facts_by_hand(rows)
    for channel in CHANNELS:
        assert check(live, channel, now, rules) == check_arm(Arm("arm", channel), facts, rules, as_of_s).reasons

    by_hand = histories_by_hand(rows, as_of_s)
    whole = set(PRODUCTS)
    assert allowed(live, now, "never") == whole - by_hand.keys()
    assert allowed(live, now, "due") == whole - {name for name, one in by_hand.items() if not is_due(one, Rules())}
    recent = {name for name, one in by_hand.items() if one.last_days < recent_days}
    assert allowed(live, now, recent_days=recent_days) == whole - recent
    history = purchase_history(live, as_of_s)
    for name, code in zip(PRODUCTS, product_code(PRODUCTS).tolist(), strict=True):
        assert product_refusal(history.lately(code, recent_days), rules) == product_refusal(by_hand.get(name), rules)


def test_what_was_offered_longest_ago_is_forgotten_first_and_rests_all_the_same() -> None:
    n = layout.N_EXPOSURES
    offered = [(i / 100, "send", "email", name, None) for i, name in enumerate(PRODUCTS[: n + 40])]
    live = live_of(offered)
    history = exposure_history(live, START.timestamp() + 3 * DAY_S)
    assert (len(history.remembered), len(history.all)) == (n, n + 40)
    assert resting_products(history, Rules()).keys() == set(product_code(PRODUCTS[: n + 40]).tolist())
    later = exposure_history(live, START.timestamp() + 7.2 * DAY_S)  # those of the first fifth of a day have rested
    assert resting_products(later, Rules()).keys() == set(product_code(PRODUCTS[21 : n + 40]).tolist())


def test_a_product_that_comes_back_after_it_was_forgotten_keeps_its_row_of_ignored_contacts() -> None:
    often = [(float(day), "send", "email", "p0", None) for day in range(3)]
    others = [(3 + i / 100, "send", "push", name, None) for i, name in enumerate(PRODUCTS[1 : layout.N_EXPOSURES + 10])]
    live = live_of([*often, *others, (5.0, "send", "sms", "p0", None)])
    history = exposure_history(live, START.timestamp() + 60 * DAY_S)
    code = int(product_code(["p0"])[0])
    assert (history.remembered[code].ignored, history.remembered[code].earlier) == (1, True)
    assert resting_products(history, Rules()) == {
        code: "last offered 55 days ago on sms, 4 times in a row without a reaction: rests for 56 days"
    }


REACTIONS = ["view", "add_to_cart", "purchase", "click", "outcome", "visit"]
CONTACT_ROWS = ["send", "impression"]
OTHER_ROWS = ["open", "return", "remove_from_cart", "deliver", "decision"]


def random_contacts(seed: int, n: int, n_products: int, days: float) -> list[tuple]:
    """Rows of contacts, answers and other things, half of them without a product, some of a campaign, many at one moment."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice([*CONTACT_ROWS * 4, *REACTIONS, *OTHER_ROWS], n)
    channels = np.array([channel.value for channel in CHANNELS])[rng.integers(0, 3, n)]
    products, campaigns = rng.integers(0, n_products, n), rng.integers(0, len(CAMPAIGNS), n)
    named = (rng.random(n) < 0.6) | np.isin(kinds, ["view", "add_to_cart", "purchase", "return", "remove_from_cart"])
    of_campaign = rng.random(n) < 0.2
    seconds = np.sort(rng.integers(0, int(days * DAY_S), n) // 3_600 * 3_600)
    rows = [
        (
            seconds[i] / DAY_S,
            str(kinds[i]),
            str(channels[i]),
            PRODUCTS[products[i]] if named[i] else None,
            None,
            CAMPAIGNS[campaigns[i]] if of_campaign[i] else None,
        )
        for i in range(n)
    ]
    order = {
        kind: i
        for i, kind in enumerate(["decision", "send", "impression", "deliver", "open", "click", "visit", "view"])
    }
    order |= {
        kind: i for i, kind in enumerate(["add_to_cart", "remove_from_cart", "purchase", "return", "outcome"], 20)
    }
    return sorted(rows, key=lambda row: (row[0], order[row[1]]))


def exposures_by_hand(rows: list[tuple], as_of_s: float) -> dict[str, Exposure]:
    """Every product and campaign of a contact, from every event."""
    streaks: dict[str, int] = {}
    last: dict[str, tuple[float, str]] = {}
    newest_on: dict[str, float] = {}
    for day, kind, channel, product, _, campaign in rows:
        names = [name for name in (product, campaign) if name]
        if kind in CONTACT_ROWS:
            for name in names:
                again = streaks.get(name, 0) and kind == "impression" and round((day - last[name][0]) * DAY_S) < DAY_S
                streaks[name] = streaks.get(name, 0) + (0 if again else 1)
                last[name] = (day, channel)
            newest_on[channel] = day
        elif kind in REACTIONS:
            if not names and kind in ("click", "outcome"):
                names = [name for name, at in last.items() if at == (newest_on.get(channel), channel)]
            for name in names:
                if name in streaks:
                    streaks[name] = 0
    return {
        name: Exposure((as_of_s - START.timestamp() - round(day * DAY_S)) / DAY_S, streaks[name], Channel(channel))
        for name, (day, channel) in last.items()
    }


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([5, 40, 400, 2_000]),
    n_products=st.sampled_from([2, 40, 400]),
    days=st.sampled_from([2.0, 40.0, 700.0]),
    rest=st.tuples(
        st.sampled_from([0.0, 0.5, 7.0, 400.0]), st.sampled_from([1.0, 2.0, 3.5]), st.sampled_from([0.0, 30.0, 365.0])
    ),
)
@example(seed=1, n=2_000, n_products=400, days=40.0, rest=(7.0, 2.0, 180.0))
@example(seed=706, n=2_000, n_products=40, days=40.0, rest=(0.5, 2.0, 30.0))
def test_rests_are_as_from_the_whole_log(
    seed: int, n: int, n_products: int, days: float, rest: tuple[float, float, float]
) -> None:
    rows = random_contacts(seed, n, n_products, days)
    live, as_of_s = live_of(rows), START.timestamp() + days * DAY_S
    base, growth, most = rest
    rules = Rules(
        product_rest_days=base,
        product_rest_growth=growth,
        campaign_rest_days=base,
        campaign_rest_growth=growth,
        rest_max_days=most,
    )
    resting = {
        name
        for name, exposure in exposures_by_hand(rows, as_of_s).items()
        if exposure.last_days < max(base, min(base * growth ** min(max(exposure.ignored, 1) - 1, 50), most))
    }
    history = exposure_history(live, as_of_s)
    codes = dict(zip(product_code(PRODUCTS).tolist(), PRODUCTS, strict=True))
    assert {codes[code] for code in resting_products(history, rules)} == resting & set(PRODUCTS)
    refused = {name for name in CAMPAIGNS if campaign_refusal(history, name, rules) is not None}
    assert refused == resting & set(CAMPAIGNS)
