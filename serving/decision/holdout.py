"""A customer's id and the rules in, whether the customer is never contacted, so that contacts can be measured, out."""

import hashlib
from collections.abc import Sequence
from typing import Any

from serving.decision.rules import Eligibility, Rules


def is_held_out(customer_id: str, rules: Rules) -> bool:
    """Whether the customer's hash, keyed with `rules.holdout_name`, falls into `rules.holdout_share`.

    The same on every machine and after every restart, and independent of every other hash that decides something here.
    A larger share keeps everybody who was held out under the smaller one; another name draws anew. An anonymous visitor
    who logs in is from then on where the customer is that they turn out to be.
    """
    digest = hashlib.blake2b(
        customer_id.encode(), digest_size=8, key=rules.holdout_name.encode(), person=b"omni-holdout"
    ).digest()
    return int.from_bytes(digest, "big") < rules.holdout_share * 2**64


def holdout_reason(rules: Rules) -> str:
    """Why such a customer gets nothing, in words."""
    return (
        f"the customer is one of the {rules.holdout_share * 100:.3g} % in the hold-out {rules.holdout_name!r}: not "
        "contacted, so that what contacts bring can be measured"
    )


def hold_back(checked: Sequence[Eligibility], rules: Rules) -> list[Eligibility]:
    """The same arms, none of which may be used; only nothing is left to choose, so its pscore is 1."""
    reason = holdout_reason(rules)
    return [Eligibility(item.arm, item.arm.channel is None, (reason,) if item.arm.channel else ()) for item in checked]


def holdout_flag(customer_id: str, rules: Rules) -> dict[str, Any]:
    """What a decision's properties say about it: nothing while no hold-out is set, so that such decisions stay as they were."""
    if not rules.holdout_share:
        return {}
    return {
        "holdout": {
            "name": rules.holdout_name,
            "share": rules.holdout_share,
            "held_out": is_held_out(customer_id, rules),
        }
    }
