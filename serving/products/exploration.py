"""An answer that gave places to new products in, the event that keeps every place's chance out.

Without it nobody could say later what the new products were worth: outcomes carry the same `decision_id`.
"""

import hashlib

from features.events.schema import Event
from features.vocabulary import Channel, EventKind
from serving.products.ranking import NEW
from serving.schemas import CustomerRef, NextProductsAnswer, NextProductsRequest


def shelf_event(answer: NextProductsAnswer, request: NextProductsRequest, state_version: str, seed: str) -> Event:
    """A decision without an arm; the same question on the same day about the same behaviour is the same event.

    `seed` is what the places were drawn with.
    """
    question = request.model_dump_json(exclude={*CustomerRef.model_fields, "explain"})
    shown = [(product.product_id, product.pscore) for product in answer.products]
    parts = [seed, state_version, str(sorted(answer.models.items())), question, str(shown), str(answer.rules_version)]
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12)
    decision_id = f"p-{digest.hexdigest()}"
    return Event.of_ours(
        event_id=decision_id,
        occurred_at=answer.as_of,
        kind=EventKind.DECISION,
        channel=Channel.WEB,
        customer_id=answer.customer.customer_id,
        decision_id=decision_id,
        properties={
            "explore_share": request.explore_share,
            "products": [
                {"product_id": product.product_id, "pscore": product.pscore, "explored": product.reasons == [NEW]}
                for product in answer.products
            ],
            "models": answer.models,
            "rules_version": answer.rules_version,
            "state_version": state_version,
        },
    )
