"""Every signal's share of one churn prediction in, a few reasons in a marketer's words out, with direction and size.

Signals that tell of the same thing (all half-lives of all ways to count purchases, say) are one reason: their shares are
added, so the reason neither splits nor jumps when the model leans on one signal today and on its twin tomorrow.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from features.arrays import Float32Array, FloatArray, IntArray
from features.scoring.log_linear import expit
from features.signals import describe, signal_names
from features.vocabulary import CHANNELS, Channel
from serving.schemas import Reason
from serving.words import days, number

N_REASONS: Final = 5
_MONTH: Final = math.log(2)
"""A count with a half-life of 30 days, times this, is the count in a month at that pace."""
_MESSAGES: Final = ("sends", "impressions", "response_rate", "unanswered", "days_since_contact", "days_since_response")
_BROWSING: Final = ("view", "search", "add_to_cart", "remove_from_cart", "visit")
_ANSWERS: Final = ("open", "click", "outcome")
_CHANNEL_NAMES: Final[dict[Channel, str]] = {
    Channel.EMAIL: "e-mail",
    Channel.CALL_CENTER: "call centre",
    Channel.SMS: "SMS",
}
_PURCHASE_NAMES: Final[dict[Channel, str]] = {
    Channel.STORE: "store visit",
    Channel.WEB: "purchase on the web",
    Channel.APP: "purchase in the app",
}

Known = Mapping[str, float]
"""The customer's signals by name."""


@dataclass(frozen=True)
class Topic:
    """What several signals tell of, and how to say it, given whether it raises the risk; no words where nothing is known."""

    name: str
    words: Callable[[Known, bool], str]


def churn_reasons(shares: FloatArray, signals: Float32Array, log_odds: float) -> list[Reason]:
    """The topics that move one prediction most, strongest first; `shares` and `signals` are over all signals, (F,).

    The size is in points of probability: what the risk would lose or gain if the topic were as it is on average.
    """
    columns = signal_names()
    topics, names = signal_topics(columns)
    effects = np.zeros(len(topics))
    np.add.at(effects, names, shares)
    known = {name: float(value) for name, value in zip(columns, signals, strict=True)}
    reasons = []
    for at in np.argsort(-np.abs(effects), kind="stable")[:N_REASONS]:
        effect = float(effects[at])
        if effect == 0.0:
            break
        inside = np.flatnonzero(names == at)
        strongest = columns[inside[np.argmax(np.abs(shares[inside]))]]
        value = known[strongest]
        words = (
            topics[at].words(known, effect > 0)
            or f"{describe(strongest)}: {number(value) if math.isfinite(value) else 'never'}"
        )
        reasons.append(
            Reason(
                text=f"{words}: {_size(effect, log_odds)}",
                effect=effect,
                signal=strongest,
                value=value if math.isfinite(value) else None,
            )
        )
    return reasons


def _size(effect: float, log_odds: float) -> str:
    points = 100 * abs(_chance(log_odds) - _chance(log_odds - effect))
    size = "less than 1 point" if points < 1 else "1 point" if round(points) == 1 else f"{points:.0f} points"
    return f"{'raises' if effect > 0 else 'lowers'} the risk by {size}"


def _chance(log_odds: float) -> float:
    return float(expit(np.asarray(log_odds)))


@lru_cache(maxsize=8)
def signal_topics(names: tuple[str, ...]) -> tuple[tuple[Topic, ...], IntArray]:
    """All topics, and the topic of every one of the signals (F,) that are named."""
    found: dict[str, Topic] = {}
    at = []
    for signal in names:
        topic = _place(signal)
        found.setdefault(topic.name, topic)
        at.append(list(found).index(topic.name))
    return tuple(found.values()), np.array(at, dtype=np.int64)


def _place(signal: str) -> Topic:
    for channel in CHANNELS:
        if any(signal.startswith(f"{part}_{channel.value}") for part in _MESSAGES):
            return Topic(f"messages by {channel.value}", lambda known, _, c=channel: _messages(known, c))  # type: ignore[misc]
        if signal in (
            f"actions_{channel.value}_30d",
            f"days_since_action_{channel.value}",
            f"purchases_{channel.value}_90d",
        ):
            return Topic(f"activity on {channel.value}", lambda known, _, c=channel: _activity(known, c))  # type: ignore[misc]
        if signal == f"consent_{channel.value}":
            return Topic("consents", lambda _, __: "")
    for part, topic in _PARTS.items():
        if signal.startswith(part):
            return topic
    return Topic(describe(signal), lambda _, __: "")


def _rhythm(known: Known, raises: bool) -> str:
    since, usual = known["days_since_occasion"], known["gap_mean_days"]
    if not math.isfinite(since):
        return "never bought"
    bought = {channel: known[f"purchases_{channel.value}_90d"] for channel in CHANNELS}
    main = max(bought, key=bought.__getitem__)
    what = _PURCHASE_NAMES.get(main, "purchase") if bought[main] > 0.8 * sum(bought.values()) > 0 else "purchase"
    if raises and since < usual:
        return f"buys only every {days(usual)} (last {days(since)} ago)"
    habit = f" (usually every {days(usual)})" if math.isfinite(usual) else " (the only one so far)"
    return f"no {what} for {days(since)}{habit}" if raises else f"last {what} {days(since)} ago{habit}"


def _frequency(known: Known, raises: bool) -> str:
    del raises
    total = known["n_occasions"]
    if not total > 0:
        return "never bought"
    pace = known["occasions_30d"] * _MONTH
    return f"buys about {number(pace)} times a month lately, {number(total)} times in all"


def _money(known: Known, raises: bool) -> str:
    del raises
    spend = known["spend_30d"]
    return f"spends about {number(round(spend * _MONTH, 1))} a month lately" if math.isfinite(spend) else ""


def _basket(known: Known, raises: bool) -> str:
    del raises
    usual, last = known["basket_value"], known["last_basket_value"]
    if not (math.isfinite(usual) and math.isfinite(last)):
        return ""
    return f"last basket of {number(round(last, 1))} (usually {number(round(usual, 1))})"


def _tenure(known: Known, raises: bool) -> str:
    del raises
    since = known["days_since_first_purchase"]
    return f"customer for {days(since)}" if math.isfinite(since) else ""


def _browsing(known: Known, raises: bool) -> str:
    del raises
    ago = [known[f"days_since_{kind}"] for kind in _BROWSING]
    last = min((value for value in ago if math.isfinite(value)), default=math.nan)
    return f"last looked around {days(last)} ago" if math.isfinite(last) else "never looked around without buying"


def _returns(known: Known, raises: bool) -> str:
    del raises
    share = known["returned_share_365d"]
    return f"sent back {share:.0%} of what they spent" if math.isfinite(share) and share > 0 else "sends nothing back"


def _contract(known: Known, raises: bool) -> str:
    del raises
    since, left = known["contract_days"], known["contract_days_left"]
    ends = f", ends in {days(left)} if it is not renewed" if math.isfinite(left) else ""
    return f"under contract for {days(since)}{ends}" if math.isfinite(since) else "no running contract"


def _promotions(known: Known, raises: bool) -> str:
    del raises
    since = known["days_since_impression"]
    if not math.isfinite(since):
        return "never saw a promotion"
    return (
        f"saw about {number(round(known['impression_30d'] * _MONTH))} promotions in a month, the last {days(since)} ago"
    )


def _answers(known: Known, raises: bool) -> str:
    del raises
    ago = [known[f"days_since_{kind}"] for kind in _ANSWERS]
    last = min((value for value in ago if math.isfinite(value)), default=math.nan)
    return f"last answered a message {days(last)} ago" if math.isfinite(last) else "never answered a message"


def _activity(known: Known, channel: Channel) -> str:
    since = known[f"days_since_action_{channel.value}"]
    name = _CHANNEL_NAMES.get(channel, channel.value)
    return f"last active on {name} {days(since)} ago" if math.isfinite(since) else f"never active on {name}"


def _messages(known: Known, channel: Channel) -> str:
    name = _CHANNEL_NAMES.get(channel, channel.value)
    unanswered, since = known[f"unanswered_{channel.value}"], known[f"days_since_contact_{channel.value}"]
    if not math.isfinite(since):
        return f"no messages by {name}"
    if unanswered >= 1:
        return f"left {number(unanswered)} messages by {name} in a row unanswered"
    return f"answered the last message by {name}"


_R, _F, _M = Topic("rhythm", _rhythm), Topic("frequency", _frequency), Topic("money", _money)
_B, _T, _L = Topic("basket", _basket), Topic("tenure", _tenure), Topic("browsing", _browsing)
_A: Final = Topic("answers", _answers)
_BACK: Final = Topic("returns", _returns)
_PARTS: Final[dict[str, Topic]] = {
    **dict.fromkeys(("days_since_occasion", "days_since_purchase", "gap_", "overdue_", "last_gap_days"), _R),
    "days_since_first_purchase": _T,
    "tenure_days": _T,
    "days_since_action": _R,
    **dict.fromkeys(("n_occasions", "occasion", "purchase_"), _F),
    **dict.fromkeys(("return_", "returned_", "days_since_return"), _BACK),
    **dict.fromkeys(("impression_", "days_since_impression"), Topic("promotions", _promotions)),
    **dict.fromkeys((f"{kind}_" for kind in _ANSWERS), _A),
    **dict.fromkeys((f"days_since_{kind}" for kind in _ANSWERS), _A),
    **dict.fromkeys(("contract_", "contracts_", "days_since_contract"), Topic("contract", _contract)),
    "spend_": _M,
    **dict.fromkeys(("basket_", "last_basket", "previous_basket"), _B),
    **dict.fromkeys((f"{kind}_" for kind in _BROWSING), _L),
    **dict.fromkeys((f"days_since_{kind}" for kind in _BROWSING), _L),
}
"""The start of a signal's name to its topic; the first that fits."""
