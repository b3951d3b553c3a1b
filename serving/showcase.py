"""The demo's acts: a running service is asked about customers over HTTP, and the answers are shown."""

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from features.errors import MissingError, OmniError
from features.settings import Settings
from features.vocabulary import NOTHING, Channel

QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("next-products", {"k": 5}),
    ("churn", {"explain": True}),
    ("best-channel", {}),
    ("decide", {"asked_by": "web"}),
)

PICKS = (
    (
        "the most regular: most shopping trips in the last 28 days",
        """SELECT customer_id FROM timeline, newest
           WHERE kind = 'purchase' AND occurred_at >= newest.moment - INTERVAL 28 DAY
           GROUP BY customer_id ORDER BY count(DISTINCT (session_id, occurred_at)) DESC, customer_id""",
    ),
    (
        "the most silent: longest without a purchase, of those with 20 shopping trips or more",
        """SELECT customer_id FROM timeline WHERE kind = 'purchase'
           GROUP BY customer_id HAVING count(DISTINCT (session_id, occurred_at)) >= 20
           ORDER BY max(occurred_at), customer_id""",
    ),
    (
        "the one who answers mail: most responses to campaigns",
        """SELECT customer_id FROM timeline WHERE kind = 'outcome'
           GROUP BY customer_id ORDER BY count(*) DESC, customer_id""",
    ),
)
"""Whom to show and why; each rule orders the customers, and the first one not shown yet is taken."""


@dataclass(frozen=True)
class Shown:
    """One customer, why they were picked, and for each question the curl line and the service's answer."""

    customer_id: str
    picked_as: str
    curl: dict[str, str]
    answers: dict[str, dict[str, Any]]

    def __rich__(self) -> Any:
        """The answers in words, each under the line that gets it."""
        from rich.console import Group
        from rich.markup import escape
        from rich.text import Text

        lines = [f"\n[bold]Customer {escape(self.customer_id)}[/], {escape(self.picked_as)}"]
        for question, answer in self.answers.items():
            lines.append(f"[dim]$ {escape(self.curl[question])}[/]")
            lines.extend(f"  {escape(line)}" for line in in_words(question, answer))
        return Group(*(Text.from_markup(line) for line in lines))


@dataclass(frozen=True)
class Mix:
    """Decisions for many customers: how often each channel, and the first customer of each channel that is shown."""

    asked: int
    channels: dict[str, int]
    """Customers by the channel of their decision, `nothing` among them, most first."""
    customers: tuple[Shown, ...]

    def __rich__(self) -> Any:
        """The customers, then the counts."""
        from rich.console import Group

        counts = ", ".join(f"{channel} {count}" for channel, count in self.channels.items())
        return Group(*self.customers, f"\nDecided for the {self.asked} who were there last: {counts}")


SHOWN_CHANNELS = (Channel.EMAIL, Channel.PUSH, Channel.SMS)
"""Of the sample shop one customer each is shown who is contacted there: Complete Journey has none of these."""
N_ASKED = 100


def show_mix(settings: Settings, url: str) -> Mix:
    """Decide for the `N_ASKED` customers who were there last, and show one each whose decision is a channel of interest."""
    with _timeline(settings) as connection:
        rows = connection.execute(
            "SELECT customer_id FROM timeline GROUP BY customer_id ORDER BY max(occurred_at) DESC, customer_id "
            f"LIMIT {N_ASKED}"
        ).fetchall()
    decisions: dict[str, dict[str, Any]] = {}
    with httpx.Client(base_url=url, timeout=30.0) as http:
        for (customer_id,) in rows:
            decisions[customer_id] = _ask(http, "decide", {"customer_id": customer_id, "asked_by": "web"})
    first: dict[str, str] = {}
    for customer_id, answer in decisions.items():
        first.setdefault(_way(answer), customer_id)
    shown = tuple(
        _with_decision(show(first[channel], f"who is contacted by {channel}", url, QUESTIONS[:-1]), decisions, url)
        for channel in SHOWN_CHANNELS
        if channel in first
    )
    return Mix(len(decisions), dict(Counter(map(_way, decisions.values())).most_common()), shown)


def _with_decision(shown: Shown, decisions: dict[str, dict[str, Any]], url: str) -> Shown:
    """The same with the decision that was made already: asked again, the service would know of the first."""
    question, extra = QUESTIONS[-1]
    curl = curl_line(url, question, {"customer_id": shown.customer_id, **extra})
    return Shown(
        shown.customer_id,
        shown.picked_as,
        {**shown.curl, question: curl},
        {**shown.answers, question: decisions[shown.customer_id]},
    )


def _way(answer: dict[str, Any]) -> str:
    return NOTHING if answer["action"] == NOTHING else str(answer["channel"])


def pick_customers(settings: Settings) -> list[tuple[str, str]]:
    """(customer_id, why) for up to three customers of the timeline, by the rules in `PICKS`."""
    picks: list[tuple[str, str]] = []
    with _timeline(settings) as connection:
        for why, rule in PICKS:
            for (customer_id,) in connection.execute(f"{rule} LIMIT {len(PICKS)}").fetchall():
                if customer_id not in {chosen for chosen, _ in picks}:
                    picks.append((customer_id, why))
                    break
    return picks


def replay_start(settings: Settings) -> datetime:
    """The first second after the newest event, where a replayed clock goes on; aware, UTC."""
    with _timeline(settings) as connection:
        ((newest,),) = connection.execute("SELECT epoch_us(moment) FROM newest").fetchall()
    if newest is None:
        raise MissingError("The timeline is empty.", repair="Run omni ingest complete-journey.")
    return datetime.fromtimestamp(newest // 1_000_000 + 1, UTC)


def show(
    customer_id: str, picked_as: str, url: str, questions: Sequence[tuple[str, dict[str, Any]]] = QUESTIONS
) -> Shown:
    """Ask every question about one customer.

    Raises OmniError when the service answers with anything but 200.
    """
    curl, answers = {}, {}
    with httpx.Client(base_url=url, timeout=30.0) as http:
        for question, extra in questions:
            body = {"customer_id": customer_id, **extra}
            answers[question] = _ask(http, question, body)
            curl[question] = curl_line(url, question, body)
    return Shown(customer_id, picked_as, curl, answers)


def _ask(http: httpx.Client, question: str, body: dict[str, Any]) -> dict[str, Any]:
    response = http.post(f"/v1/{question}", json=body)
    if response.status_code != 200:
        raise OmniError(f"POST /v1/{question} answered {response.status_code}: {response.text[:300]}")
    answer: dict[str, Any] = response.json()
    return answer


def curl_line(url: str, question: str, body: dict[str, Any]) -> str:
    """The shell command that asks the same."""
    data = shlex.quote(json.dumps(body))
    return f"curl -s {url}/v1/{question} -H 'content-type: application/json' -d {data}"


def in_words(question: str, answer: dict[str, Any]) -> list[str]:
    """An answer of the service as lines that a marketer can read."""
    if question == "next-products":
        return [_product(product) for product in answer["products"]]
    if question == "churn":
        asked = answer["churn_probability"] is not None and answer.get("horizon_days")
        horizon = f" in the next {answer['horizon_days']:.0f} days" if asked else ""
        reasons = [f"  because {reason['text']}" for reason in answer["reasons"][:3]]
        return [f"{_leaving(answer)}{horizon}", *reasons, *_win_back(answer)]
    if question == "best-channel":
        arms = sorted(answer["arms"], key=lambda arm: -arm["value"])
        return [_arm(arm, best=arm["arm"] == answer["best"]) for arm in arms]
    return _decision(answer)


def _leaving(answer: dict[str, Any]) -> str:
    if answer["churn_probability"] is None:
        if answer.get("kind") == "contract":
            return "no contract that could end"
        return "a prospect, who never bought" if answer.get("customer_status") == "prospect" else "not known"
    what = "to have no contract" if answer.get("kind") == "contract" else "to buy nothing"
    return f"{answer['churn_probability']:.1%} likely {what}"


def _win_back(answer: dict[str, Any]) -> list[str]:
    known = answer.get("win_back")
    if not known or known["uplift"] is None:
        return []
    return [
        f"  lapsing: {known['advice']} (a contact changes the chance of a return by {100 * known['uplift']:+.1f} points)"
    ]


def _product(product: dict[str, Any]) -> str:
    name = product.get("name") or f"product {product['product_id']}"
    category = f" ({product['category']})" if product.get("category") else ""
    reasons = f": {', '.join(product['reasons'])}" if product.get("reasons") else ""
    return f"{name}{category}{reasons}"


def _arm(arm: dict[str, Any], best: bool) -> str:
    likely = arm["response_probability"]
    words = f"{arm['arm']}: answers with {likely:.1%}" if likely is not None else f"{arm['arm']}"
    words += f", worth {arm['value']:+.2f}"
    if not arm["eligible"]:
        words += f", not allowed: {', '.join(arm['reasons'])}"
    return f"{words}  ← best" if best else words


def _decision(answer: dict[str, Any]) -> list[str]:
    if answer["action"] == NOTHING:
        first = "send nothing"
    else:
        what = _product(answer["product"]) if answer.get("product") else "no particular product"
        first = f"send {what}, as {answer['arm']} over {answer['channel']}, at {answer['send_at']}"
    return [f"{first} (chosen with probability {answer['pscore']:.2f})", *(f"  {why}" for why in answer["reasons"])]


@contextmanager
def _timeline(settings: Settings) -> Iterator[Any]:
    """A DuckDB connection that sees `timeline` and `newest` (its last `moment`)."""
    from features.sql import connect, scan

    if not settings.timeline_path.exists():
        raise MissingError(f"{settings.timeline_path} is not there yet.", repair="Run omni features build.")
    with connect() as connection:
        connection.execute(f"CREATE VIEW timeline AS SELECT * FROM {scan(settings.timeline_path)}")
        connection.execute("CREATE VIEW newest AS SELECT max(occurred_at) AS moment FROM timeline")
        yield connection
