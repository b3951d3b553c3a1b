"""A world's settings and a generator in, its customers out: traits nobody sees, and what follows from them.

Five traits (digital, mobile, social, thrifty, personal) shape which channels a customer visits by itself, and through
them, as far as `predictability` goes, how it answers contacts. So behaviour tells about effects, but never all.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, FloatArray, IntArray
from features.simulator.config import WorldConfig
from features.vocabulary import Channel

ORGANIC: Final = (Channel.WEB, Channel.APP, Channel.STORE, Channel.SOCIAL, Channel.CHAT, Channel.CALL_CENTER)
"""Channels that customers come by on their own."""
CONTACT: Final = (Channel.EMAIL, Channel.PUSH, Channel.SMS, Channel.ADS, Channel.POST)
"""Channels that the retailer reaches them by."""
N_HABITS: Final = 3
"""Products that a customer buys again and again."""
_TRAITS: Final = 5
_DIGITAL, _MOBILE, _SOCIAL, _THRIFTY, _PERSONAL = range(_TRAITS)
_VISITS: Final = np.array(  # logit of a visit's channel: constant, then one weight per trait
    [
        [0.4, 0.9, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.2, 1.0, 0.0, 0.0, 0.0],
        [0.4, -0.8, 0.0, 0.0, 0.0, 0.3],
        [-1.6, 0.0, 0.0, 1.0, 0.0, 0.0],
        [-3.2, 0.0, 0.0, 0.0, 0.0, 0.9],
        [-3.6, -0.3, 0.0, 0.0, 0.0, 0.9],
    ]
)
_ANSWERS: Final = np.array(  # direction in which the traits move the effect of a contact, per channel of CONTACT
    [
        [1.0, -0.5, -0.3, 0.3, 0.0],
        [0.2, 1.0, 0.0, 0.0, -0.4],
        [-0.5, 0.8, 0.0, 0.4, 0.3],
        [0.0, 0.0, 1.0, 0.2, -0.3],
        [-0.8, -0.4, 0.0, 0.3, 0.9],
    ]
)
_OPENS: Final = np.array([1.0, 0.2, 1.4, -1.6, -0.4])
"""Logit of being noticed per channel of CONTACT: what is opened most is not what sells most."""
_CONSENT: Final = {Channel.EMAIL: 0.8, Channel.PUSH: 0.65, Channel.SMS: 0.55}


@dataclass(frozen=True)
class People:
    """n customers. Every array has a row per customer; what changes from day to day is not here."""

    traits: FloatArray  # (n, 5)
    joined_day: IntArray  # (n,) may lie before day 0: known from the start
    visit_rate: FloatArray  # (n,) visits per day
    visit_mix: FloatArray  # (n, organic channels), cumulative
    weekend: FloatArray  # (n,) visits on a weekend day per visit on another
    peak_hour: FloatArray  # (n,) when they are usually active
    taste: FloatArray  # (n, categories), cumulative
    habits: IntArray  # (n, 3) products bought again and again
    cycle_days: FloatArray  # (n, 3)
    home_store: IntArray  # (n,)
    margin: FloatArray  # (n,) what a converted contact earns
    base_logit: FloatArray  # (n,) of buying with no contact
    effect: FloatArray  # (n, contact channels) added to the logit by a contact, beside the channel's level
    notice: FloatArray  # (n, contact channels) logit of an open or click
    tires: FloatArray  # (n,) lost logit per recent contact
    consent: BoolArray  # (n, contact channels) at the start
    hazard: FloatArray  # (n,) chance per day of leaving for good, with no contact
    contact_hazard: FloatArray  # (n,) log of what a contact multiplies that chance with, for `CONTACT_DAYS`
    source: NDArray[np.str_] = field(repr=False)  # (n,) where the customer was won

    def __len__(self) -> int:
        return len(self.margin)


def draw_people(
    config: WorldConfig, n_categories: int, products_of: list[IntArray], n_stores: int, rng: np.random.Generator
) -> People:
    """Customers of a world; `products_of` lists the products of each category."""
    n = config.n_customers
    traits = rng.standard_normal((n, _TRAITS))
    known = np.sqrt(config.predictability)
    unknown = np.sqrt(1.0 - config.predictability)
    directions = _ANSWERS / np.linalg.norm(_ANSWERS, axis=1, keepdims=True)
    effect = known * traits @ directions.T + unknown * rng.standard_normal((n, len(CONTACT)))
    lean = 0.8 * traits[:, _THRIFTY] + 0.6 * traits[:, _MOBILE]
    mood = known * lean + unknown * rng.standard_normal(n)
    visits = _VISITS[:, 0] + traits @ _VISITS[:, 1:].T
    mix = np.exp(visits)
    taste = np.exp(1.5 * rng.standard_normal((n, n_categories)))
    taste = np.cumsum(taste / taste.sum(axis=1, keepdims=True), axis=1)
    favourite = np.minimum((rng.random((n, N_HABITS, 1)) > taste[:, None, :]).sum(axis=2), n_categories - 1)
    sizes = np.array([len(products) for products in products_of])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    flat = np.concatenate(products_of)
    habits = flat[starts[favourite] + (rng.random((n, N_HABITS)) * sizes[favourite]).astype(np.int64)]
    joined = np.where(rng.random(n) < 0.6, -rng.integers(0, 365, n), rng.integers(0, max(config.n_days, 1), n))
    liveliness = rng.standard_normal(n)
    return People(
        traits=traits,
        joined_day=joined,
        visit_rate=np.exp(np.log(0.25) + 0.5 * liveliness),
        visit_mix=np.cumsum(mix / mix.sum(axis=1, keepdims=True), axis=1),
        weekend=np.exp(0.5 * rng.standard_normal(n)),
        peak_hour=13.5 + 5.0 * np.tanh(rng.standard_normal(n)),
        taste=taste,
        habits=habits,
        cycle_days=np.exp(np.log(18.0) + 0.5 * rng.standard_normal((n, N_HABITS))),
        home_store=rng.integers(0, n_stores, n),
        margin=np.exp(np.log(12.0) + 0.4 * rng.standard_normal(n)),
        base_logit=-3.5 + 0.5 * liveliness + 0.2 * rng.standard_normal(n),
        effect=config.heterogeneity * effect,
        notice=_OPENS + 0.3 * effect + 0.9 * rng.standard_normal((n, len(CONTACT))),
        tires=config.fatigue * np.exp(0.3 * rng.standard_normal(n)),
        consent=_consents(config, traits, rng),
        hazard=config.churn_per_day * np.exp(0.6 * rng.standard_normal(n) - 0.4 * traits[:, _PERSONAL]),
        contact_hazard=config.contact_hazard * (-0.3 - mood),
        source=np.array(["store", "web", "app"])[np.argmax(traits[:, [_PERSONAL, _DIGITAL, _MOBILE]], axis=1)],
    )


def _consents(config: WorldConfig, traits: FloatArray, rng: np.random.Generator) -> BoolArray:
    shares = np.array([_CONSENT.get(channel, 1.0) for channel in CONTACT])
    if config.consent_share is not None:
        shares = np.where(shares < 1.0, config.consent_share, 1.0)
    drawn = rng.random((config.n_customers, len(CONTACT)))
    drawn[:, CONTACT.index(Channel.PUSH)] -= 0.1 * traits[:, _MOBILE]
    return np.asarray(drawn < shares)
