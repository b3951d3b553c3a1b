"""A client of the HTTP service, for programs that ask and send: `OmniClient`, `AsyncOmniClient` for event loops.

    from serving.client import OmniClient

    with OmniClient("http://127.0.0.1:3000", key="omni_…") as omni:
        omni.send([{"kind": "view", "channel": "web", "customer_id": "1", "product_id": "1082185"}])
        decision = omni.decide("1", asked_by="web")

It brings httpx and pydantic with it, and nothing of the models.
"""

from serving.client.asynchronous import AsyncOmniClient
from serving.client.errors import RequestFailedError
from serving.client.flows import Patience
from serving.client.synchronous import OmniClient

__all__ = ["AsyncOmniClient", "OmniClient", "Patience", "RequestFailedError"]
