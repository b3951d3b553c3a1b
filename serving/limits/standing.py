"""Under which name an answer is kept, and what it hangs on: a question and a customer's state in, digests out; pure.

A decision stands for its stretch of time, for every channel and worker that asks the same, until something that matters
changes: a purchase, a return, a consent, the cart, a contact, an answer to one, a check-in, what is reserved, rules or models.
That somebody looked at one product more is nothing of the kind.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from features.log.reservations import Claim, Held, KeptAnswer
from features.state import layout
from features.state.batch import StateBatch
from features.vocabulary import CHANNEL_CODES, DAY_S, KIND_CODES, Channel, EventKind
from serving.decision.rules import Rules
from serving.products.catalogue import Catalogue
from serving.schemas import DecideRequest

_US: Final = 1_000_000
REQUEST_DAY_US: Final = int(DAY_S) * _US
"""How long an answer is given again under the name of its request."""
_LOOKING: Final = np.array([KIND_CODES[kind] for kind in (EventKind.VIEW, EventKind.SEARCH, EventKind.VISIT)])
_CHECK_IN: Final = CHANNEL_CODES[Channel.STORE] * layout.N_KINDS + KIND_CODES[EventKind.VISIT]
_NOT_ASKED: Final = {"customer_id", "identifiers", "asked_by", "log", "dry_run", "request_id", "timeout_ms", "explain"}
"""What of a question changes nothing of its answer, or is known otherwise."""


@dataclass(frozen=True)
class Names:
    """What one question is kept under."""

    request: str = ""
    """The name of its request; empty where it has none."""
    body: str = ""
    """Digest of the question, which has to be the same one under that name."""

    @classmethod
    def of(cls, request_id: str | None, wanted: DecideRequest) -> "Names":
        """Of a question with the name that its sender gave it."""
        if request_id is None:
            return cls()
        asked = wanted.model_dump_json(exclude={"request_id", "timeout_ms"})
        return cls(f"r:{_digest(request_id)}", _digest(asked))

    def kept(self, body: str, now_us: int) -> tuple[KeptAnswer, ...]:
        """An answer as it is kept for who asks again under the request's name."""
        return (KeptAnswer(self.request, self.body, now_us + REQUEST_DAY_US, body),) if self.request else ()


def standing_name(customer_id: str, wanted: DecideRequest) -> str:
    """The name under which a decision stands for everybody who asks the same about a customer."""
    return f"s:{_digest(customer_id, wanted.model_dump_json(exclude=_NOT_ASKED))}"


def what_matters(state: StateBatch, rules: Rules, *others: str) -> str:
    """A digest of all that a standing decision hangs on of a customer (n = 1), the rules, and `others` such as models."""
    codes = state.pair_codes.values
    kept = np.flatnonzero(~np.isin(codes % layout.N_KINDS, _LOOKING) | (codes == _CHECK_IN))
    order = kept[np.argsort(codes[kept], kind="stable")]
    digest = hashlib.blake2b(codes[order].astype(np.int32).tobytes(), digest_size=12)
    digest.update(state.pair_stats.values[order, layout.PAIR_TOTAL].tobytes())
    digest.update(state.scalar("identified").tobytes())
    digest.update("\x1f".join([rules.version, *others]).encode())
    return digest.hexdigest()


def standing_until_us(now: datetime, rules: Rules, wanted: DecideRequest, claim: Claim | None) -> int:
    """How long a decision stands: its stretch of time, the offer's, and as long as its contact is held."""
    stretch_s = rules.bucket_minutes * 60
    ends = [int((now.timestamp() // stretch_s + 1) * stretch_s) * _US]
    if wanted.not_after is not None:
        ends.append(int(wanted.not_after.timestamp() * _US))
    if claim is not None:
        ends.append(claim.expires_us)
    return min(ends)


def stands(kept: KeptAnswer | None, matter: str, held: Held, catalogue: Catalogue, store_id: str | None) -> bool:
    """Whether a kept decision is still what is to be answered."""
    if kept is None or kept.question != matter or kept.version != held.version:
        return False
    product = json.loads(kept.body)["product"]
    return product is None or catalogue.stock.get(store_id, {}).get(product["product_id"], 1.0) > 0


def told_again(kept: KeptAnswer, *, explain: bool) -> str:
    """The body of an answer that is given again; who wants reasons where none were asked for then hears that."""
    if not explain or '"reasons":[]' not in kept.body:
        return kept.body
    answer: dict[str, Any] = json.loads(kept.body)
    if not answer["reasons"]:
        answer["reasons"] = ["this decision stands; it was first asked for without reasons"]
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def _digest(*texts: str) -> str:
    return hashlib.blake2b("\x1f".join(texts).encode(), digest_size=16).hexdigest()
