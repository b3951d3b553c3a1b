"""Signals: states and a moment in, named numbers out; nothing that depends on time is ever stored ready-made.

To add a signal, write a function under `@signal` with its words: training, serving, Feast's named view and the parity proof
follow. The groups as they are here also exist compiled (features/state/kernel_signals.py), and are taken from there as long
as both give the same numbers; a group that says something else by now is computed as it is written here, which costs more.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from features.arrays import Float32Array, FloatArray, IntArray
from features.attributes.columns import attribute_signals
from features.attributes.declared import Declared, declared
from features.errors import SettingsError
from features.state import layout
from features.state.batch import Ragged, StateBatch
from features.state.kernel_agreement import agreeing_parts
from features.state.kernel_signals import Counted, Part, fill_signals
from features.state.moment import Group, Moment, half_life, latest, per_channel, per_kind, ratio
from features.vocabulary import (
    CUSTOMER_KINDS,
    DAY_S,
    HALF_LIVES_DAYS,
    KIND_CODES,
    KIND_WORDS,
    KINDS,
    EventKind,
)

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS: Final = 4_096
"""States are opened into dense arrays this many at a time, to bound memory."""
_PRIOR_CONTACTS: Final = 5.0
"""A response rate counts this many imagined contacts without response, so that one lucky click is not 100 %."""
_KINDS: Final = np.array([KIND_CODES[kind] for kind in KIND_WORDS])
_ACTIONS: Final = np.array([KIND_CODES[kind] for kind in CUSTOMER_KINDS])
_RESPONSES: Final = np.array([KIND_CODES[kind] for kind in (EventKind.OPEN, EventKind.CLICK, EventKind.OUTCOME)])
_COUNTED: Final = (7, 30, 90, 365)
"""Half-lives in days that signals of counts and money are named after."""


_COUNTED_AT: Final = [half_life(days) for days in _COUNTED]
_DAY7, _DAY30, _DAY90, _DAY365 = _COUNTED_AT
_COUNTED_BY_KERNEL: Final = Counted(
    kinds=_KINDS,
    actions=np.isin(np.arange(len(KINDS)), _ACTIONS),
    responses=np.isin(np.arange(len(KINDS)), _RESPONSES),
    half_lives=np.array(_COUNTED_AT),
    prior_contacts=_PRIOR_CONTACTS,
)


_SINGLE: Final[list[Group]] = []


def signal(words: str) -> Callable[[Callable[[Moment], FloatArray]], Callable[[Moment], FloatArray]]:
    """Make a signal of a function: its name is the signal's, `words` are a marketer's, it gives a number (n,) per state."""

    def register(compute: Callable[[Moment], FloatArray]) -> Callable[[Moment], FloatArray]:
        _SINGLE.append(Group({compute.__name__: words}, lambda m: [compute(m)]))
        return compute

    return register


def _kinds(m: Moment) -> list[FloatArray]:
    by_kind = m.counts.sum(axis=1)[:, _KINDS]  # (n, kinds, H)
    return [
        by_kind[:, :, _COUNTED_AT].reshape(len(by_kind), -1),
        np.asarray(m.totals.sum(axis=1)[:, _KINDS]),
        m.days_since(latest(m.last, axis=1)[:, _KINDS]),
    ]


def _channels(m: Moment) -> list[FloatArray]:
    contacts = m.counts[:, :, KIND_CODES[EventKind.SEND], _DAY365]
    responses = m.counts[:, :, _RESPONSES, _DAY365].sum(axis=2)
    preferred = m.scalar("preferred_channel")[:, None]
    return [
        m.counts[:, :, KIND_CODES[EventKind.PURCHASE], _DAY90],
        m.counts[:, :, _ACTIONS, _DAY30].sum(axis=2),
        m.days_since(latest(m.last[:, :, _ACTIONS], axis=2)),
        m.counts[:, :, KIND_CODES[EventKind.SEND], _DAY30],
        m.counts[:, :, KIND_CODES[EventKind.IMPRESSION], _DAY30],
        responses / (contacts + _PRIOR_CONTACTS),
        m.states.channels[:, :, layout.UNANSWERED],
        m.days_since(m.states.channels[:, :, layout.LAST_CONTACT]),
        m.days_since(m.states.channels[:, :, layout.LAST_RESPONSE]),
        m.states.channels[:, :, layout.CONSENT],
        np.where(np.isnan(preferred), np.nan, preferred == np.arange(layout.N_CHANNELS)),
    ]


def _rhythm(m: Moment) -> list[FloatArray]:
    since = m.days_since(m.scalar("last_occasion"))
    mean, n_gaps = m.scalar("gap_mean_days"), m.scalar("n_gaps")
    spread = np.sqrt(ratio(m.scalar("gap_m2"), n_gaps))
    return [
        m.scalar("n_occasions"),
        m.occasions,
        since,
        mean,
        spread,
        m.scalar("last_gap_days"),
        ratio(since, mean),
        (since - mean) / (spread + 1.0),
        ratio(m.occasions[:, _DAY30] * HALF_LIVES_DAYS[_DAY365], m.occasions[:, _DAY365] * HALF_LIVES_DAYS[_DAY30]),
        m.days_since(m.scalar("first_seen")),
        m.days_since(m.scalar("first_purchase")),
        m.days_since(m.scalar("last_action")),
        m.scalar("n_action_occasions"),
    ]


def _money(m: Moment) -> list[FloatArray]:
    spent = m.values[:, :, KIND_CODES[EventKind.PURCHASE]].sum(axis=1)  # (n, H), without what went back
    returned = m.values[:, :, KIND_CODES[EventKind.RETURN]].sum(axis=1)
    lines = m.counts[:, :, KIND_CODES[EventKind.PURCHASE]].sum(axis=1)
    return [
        spent[:, _COUNTED_AT],
        returned[:, _DAY90],
        ratio(spent[:, _DAY90], m.occasions[:, _DAY90]),
        ratio(lines[:, _DAY90], m.occasions[:, _DAY90]),
        m.scalar("occasion_value"),
        m.scalar("previous_occasion_value"),
        ratio(returned[:, _DAY365], spent[:, _DAY365] + returned[:, _DAY365]),
    ]


def _feedback(m: Moment) -> list[FloatArray]:
    return [m.scalar("n_ratings"), m.scalar("rating_mean"), m.scalar("last_rating")]


def _pressure(m: Moment) -> list[FloatArray]:
    contacts = m.states.contacts
    rows = contacts.rows()
    elapsed = (m.as_of[rows] - contacts.values[:, 1]) / DAY_S
    return [np.bincount(rows[elapsed <= days], minlength=len(m.as_of)).astype(np.float64) for days in (7.0, 30.0)]


def _cart(m: Moment) -> list[FloatArray]:
    cart: Ragged = m.states.cart_stats
    rows = cart.rows()
    n = len(m.as_of)
    units = np.asarray(np.bincount(rows, weights=cart.values[:, layout.CART_QUANTITY], minlength=n), dtype=np.float64)
    newest = np.full(n, np.nan)
    np.fmax.at(newest, rows, cart.values[:, layout.CART_TIME])
    return [np.bincount(rows, minlength=n).astype(np.float64), units, m.days_since(newest)]


def _hours(m: Moment) -> list[FloatArray]:
    hours = m.hours
    concentration = (hours**2).sum(axis=1)
    known = hours.sum(axis=1) > 0
    weekend = np.where(known, hours[:, 5 * 24 :].sum(axis=1), np.nan)
    by_hour = hours.reshape(-1, 7, 24).sum(axis=1)
    angle = 2 * np.pi * np.arange(24) / 24
    return [
        np.where(known, concentration, np.nan),
        weekend,
        np.where(known, by_hour @ np.sin(angle), np.nan),
        np.where(known, by_hour @ np.cos(angle), np.nan),
    ]


def _contract(m: Moment) -> list[FloatArray]:
    since, ends = m.scalar("contract_since"), m.scalar("contract_ends")
    over = ends <= m.as_of  # never of an open end
    runs = np.isfinite(since) & ~over
    return [
        np.where(runs, m.days_since(since), np.nan),
        np.where(runs, m.scalar("contract_value"), np.nan),
        np.where(runs, -m.days_since(ends), np.nan),
        m.scalar("n_contracts"),
        m.days_since(np.where(over, ends, m.scalar("contract_ended"))),
    ]


GROUPS: Final[tuple[Group, ...]] = (
    Group(
        {
            f"{kind.value}_{days}d": f"{text}, lately (half-life {days} days)"
            for kind, text in KIND_WORDS.items()
            for days in _COUNTED
        }
        | per_kind("{kind}_total", "{kind}, ever")
        | per_kind("days_since_{kind}", "days since the last of: {kind}"),
        _kinds,
        Part.KINDS,
    ),
    Group(
        per_channel("purchases_{channel}_90d", "lines purchased by {channel} lately (half-life 90 days)")
        | per_channel("actions_{channel}_30d", "activity on {channel} lately (half-life 30 days)")
        | per_channel("days_since_action_{channel}", "days since the last activity on {channel}")
        | per_channel("sends_{channel}_30d", "messages by {channel} lately (half-life 30 days)")
        | per_channel("impressions_{channel}_30d", "promotions seen on {channel} lately (half-life 30 days)")
        | per_channel("response_rate_{channel}", "share of messages by {channel} that were answered")
        | per_channel("unanswered_{channel}", "messages by {channel} in a row without an answer")
        | per_channel("days_since_contact_{channel}", "days since the last message by {channel}")
        | per_channel("days_since_response_{channel}", "days since the last answer to {channel}")
        | per_channel("consent_{channel}", "consent to {channel} (1 given, 0 refused, -1 not asked)")
        | per_channel("prefers_{channel}", "named {channel} as the preferred channel (1 yes, 0 another one)"),
        _channels,
        Part.CHANNELS,
    ),
    Group(
        {
            "n_occasions": "purchase occasions, ever",
            **{
                f"occasions_{days:g}d": f"purchase occasions lately (half-life {days:g} days)"
                for days in HALF_LIVES_DAYS
            },
            "days_since_occasion": "days since the last purchase occasion",
            "gap_mean_days": "usual days between purchases",
            "gap_spread_days": "spread of the days between purchases",
            "last_gap_days": "days between the last two purchases",
            "overdue_ratio": "time since the last purchase, as a multiple of the usual gap",
            "overdue_z": "how unusual the time since the last purchase is",
            "occasion_trend": "purchases of the last month against the last year",
            "tenure_days": "days since first seen",
            "days_since_first_purchase": "days since the first purchase",
            "days_since_action": "days since any activity",
            "n_action_occasions": "visits and other active moments, ever",
        },
        _rhythm,
        Part.RHYTHM,
    ),
    Group(
        {
            **{f"spend_{days}d": f"money spent lately (half-life {days} days)" for days in _COUNTED},
            "returned_90d": "money returned lately (half-life 90 days)",
            "basket_value": "usual value of a purchase",
            "basket_lines": "usual number of lines in a purchase",
            "last_basket_value": "value of the last purchase",
            "previous_basket_value": "value of the purchase before the last",
            "returned_share_365d": "share of the money spent that was returned (half-life 365 days)",
        },
        _money,
        Part.MONEY,
    ),
    Group(
        {
            "n_ratings": "ratings given, ever",
            "rating_mean": "mean of the ratings given",
            "last_rating": "the last rating given",
        },
        _feedback,
        Part.FEEDBACK,
    ),
    Group(
        {
            "contacts_7_days": "messages over all channels in the last 7 days",
            "contacts_30_days": "messages over all channels in the last 30 days",
        },
        _pressure,
        Part.PRESSURE,
    ),
    Group(
        {
            "cart_products": "products in the open cart",
            "cart_units": "units in the open cart",
            "days_since_cart": "days since the cart was last filled",
        },
        _cart,
        Part.CART,
    ),
    Group(
        {
            "hour_concentration": "how regular the hours of activity are",
            "weekend_share": "share of activity on weekends",
            "hour_sine": "time of day of the activity (sine)",
            "hour_cosine": "time of day of the activity (cosine)",
        },
        _hours,
        Part.HOURS,
    ),
    Group(
        {
            "contract_days": "days since the running contract began",
            "contract_value": "price of the running contract",
            "contract_days_left": "days until the running contract ends by itself",
            "contracts_total": "contracts begun, renewed or changed, ever",
            "days_since_contract_end": "days since a contract ended",
        },
        _contract,
        Part.CONTRACT,
    ),
    *_SINGLE,
)
WORDS: Final[dict[str, str]] = {name: words for group in GROUPS for name, words in group.words.items()}
SIGNAL_NAMES: Final[tuple[str, ...]] = tuple(WORDS)
"""Names of the signals of behaviour, in column order; those of declared attributes come after them."""


def signal_words() -> dict[str, str]:
    """All signals with a marketer's words, in column order: of behaviour, and of the attributes that are declared."""
    return _all_words(declared())


def signal_names() -> tuple[str, ...]:
    """Names of all signals, in column order."""
    return SIGNAL_NAMES if not declared().columns else tuple(signal_words())


def describe(name: str) -> str:
    """A signal in a marketer's words; KeyError for a name that is no signal."""
    return signal_words()[name]


@lru_cache(maxsize=8)
def _all_words(known: Declared) -> dict[str, str]:
    for name in known.words.keys() & WORDS.keys():
        raise SettingsError(
            f"The attribute's signal {name} is a signal already.", repair="Name the attribute otherwise."
        )
    return WORDS | known.words


def compute_signals(states: StateBatch, as_of: FloatArray) -> Float32Array:
    """All signals of n states at n moments (seconds since the epoch), (n, F) as signal_names(); NaN is unknown or never."""
    moments = np.asarray(as_of, dtype=np.float64)
    if moments.shape != (len(states),):
        moments = np.broadcast_to(moments, (len(states),)).copy()
    out = np.empty((len(states), len(SIGNAL_NAMES)), dtype=np.float32)
    compiled, others = _where_from()
    fill_signals(states, moments, _COUNTED_BY_KERNEL, compiled, out)
    if others:
        _read(states, moments, others, out)
    return _beside(out, states, moments)


def read_signals(states: StateBatch, as_of: FloatArray) -> Float32Array:
    """The same as it is written above, without anything compiled: what the compiled form is held against."""
    out = np.empty((len(states), len(SIGNAL_NAMES)), dtype=np.float32)
    moments = np.broadcast_to(np.asarray(as_of, dtype=np.float64), (len(states),))
    _read(states, moments, GROUPS, out)
    return _beside(out, states, moments)


def _beside(out: Float32Array, states: StateBatch, as_of: FloatArray) -> Float32Array:
    """Signals of behaviour with those of attributes after them."""
    if not declared().columns:
        return out
    said = states.attributes
    return np.hstack([out, attribute_signals(said.rows(), said.values, as_of, declared())])


def _read(states: StateBatch, as_of: FloatArray, groups: Sequence[Group], out: Float32Array) -> None:
    """Write the columns of some groups into `out` (n, F)."""
    columns = np.concatenate([_columns(group) for group in groups])
    for start in range(0, len(states), CHUNK_ROWS):
        rows = np.arange(start, min(start + CHUNK_ROWS, len(states)))
        part = states if len(rows) == len(states) else states.take(rows)
        moment = Moment(part, as_of[rows])
        values = np.column_stack([column for group in groups for column in group.compute(moment)])
        out[rows[:, None], columns] = values


def _columns(group: Group) -> IntArray:
    """Where the signals of a group lie."""
    return SIGNAL_NAMES.index(next(iter(group.words))) + np.arange(len(group.words))


@cache
def _where_from() -> tuple[IntArray, tuple[Group, ...]]:
    """Where the columns of each compiled part begin, -1 for one that is not taken; and the groups that are read instead."""
    columns = {group.part: _columns(group) for group in GROUPS if group.part is not None}
    first = agreeing_parts(columns, _COUNTED_BY_KERNEL, read_signals)
    return first, tuple(group for group in GROUPS if group.part is None or first[group.part] < 0)


def signals_frame(states: StateBatch, as_of: FloatArray) -> "pd.DataFrame":
    """`compute_signals` as a DataFrame with one named column per signal, for notebooks."""
    import pandas as pd

    return pd.DataFrame(compute_signals(states, as_of), columns=list(signal_names()))


def signal_index(names: list[str] | tuple[str, ...]) -> IntArray:
    """Columns of `names` in the signal matrix; KeyError naming the first that is no signal."""
    position = {name: i for i, name in enumerate(signal_names())}
    return np.array([position[name] for name in names], dtype=np.int64)
