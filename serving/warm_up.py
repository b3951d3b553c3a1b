"""Everything that answers questions comes in; nothing goes out, but what is made at first use is made, before anybody waits.

The fold and the walk over trees are compiled at their first call (half a minute where no compiled code lies on the disk
yet), and onnxruntime and SQLite open what they need. A service that is ready must not make its first customer wait for that.
"""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from features.clock import Clock
from features.errors import MissingError, StoreError
from features.events.schema import Event
from features.log.event_log import EventLog
from features.log.sqlite import SqliteEventLog
from features.online.feast_codec import decode_value
from features.online.live import LiveStates, NobodyStored
from features.scoring.ranking import leaf_masks
from features.vocabulary import Channel, EventKind
from serving import schemas
from serving.answers import Answers, Knowledge
from serving.decision.rules import Rules

logger = logging.getLogger(__name__)

_NOBODY: Final = "rehearsal"
_STORED_LIST: Final = b"\x72\x03\x0a\x01\x01"
"""The list [1] as the online store holds it."""


def rehearse(knowledge: Knowledge, clock: Clock, rules: Rules) -> None:
    """Ask every question once, about a customer of a log that is thrown away; a model that is missing is passed over.

    What goes wrong is logged and nothing more: whoever asks the question in earnest is told.
    """
    decode_value(_STORED_LIST, "int64[]")
    leaf_masks.load_code()  # of many customers at once, whom none of these questions is about
    try:
        with tempfile.TemporaryDirectory(prefix="omni-rehearsal-") as folder:
            log = SqliteEventLog(Path(folder) / "events.db")
            try:
                log.append_events(_history(next(iter(knowledge.catalogue.by_id), "product"), clock.now()))
                known = replace(knowledge, states=LiveStates(NobodyStored(), log))
                for ask in _questions(Answers(log, clock, rules, lambda: known), log):
                    _ask(ask)
            finally:
                log.close()
    except (OSError, StoreError) as error:
        logger.warning("The first answers will be slow: there is no place to rehearse them (%s)", error)


def _questions(answers: Answers, log: EventLog) -> list[Callable[[], object]]:
    who = {"customer_id": _NOBODY}

    def decide() -> None:
        """As the service does: what is decided is in the log before it is answered."""
        log.append_events([answers.decide(schemas.DecideRequest(**who)).event])

    return [
        lambda: answers.profile(_NOBODY, with_signals=True),
        lambda: answers.next_products(schemas.NextProductsRequest(**who, k=10, explore_share=0.1, diversity=0.1)),
        lambda: answers.churn(schemas.ChurnRequest(**who, explain=True)),
        lambda: answers.best_channel(schemas.BestChannelRequest(**who)),
        decide,
    ]


def _ask(question: Callable[[], object]) -> None:
    try:
        question()
    except MissingError:
        pass
    except Exception:  # an answer that fails must not keep the others from being given
        logger.exception("A question failed when it was rehearsed")


def _history(product_id: str, now: datetime) -> list[Event]:
    """Something of most kinds, so that most branches are taken."""
    kinds: tuple[tuple[EventKind, Channel, dict[str, Any]], ...] = (
        (EventKind.PURCHASE, Channel.STORE, {"product_id": product_id, "value": 1.0, "quantity": 1.0}),
        (EventKind.SEND, Channel.EMAIL, {}),
        (EventKind.PURCHASE, Channel.WEB, {"product_id": product_id, "value": 1.0, "quantity": 1.0}),
        (EventKind.ADD_TO_CART, Channel.APP, {"product_id": product_id, "quantity": 1.0}),
        (EventKind.PROFILE, Channel.WEB, {"properties": {"consent": {"email": True}}}),
    )
    return [
        Event.model_validate(
            {
                "event_id": f"{_NOBODY}-{place}",
                "occurred_at": now - timedelta(days=30 - 5 * place),
                "kind": kind.value,
                "channel": channel.value,
                "customer_id": _NOBODY,
                **fields,
            }
        )
        for place, (kind, channel, fields) in enumerate(kinds)
    ]
