"""Questions and events of a program in, the service's answers out, while its event loop goes on."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, Unpack

import httpx

from serving import schemas
from serving.client import options
from serving.client.flows import LOCAL, AnswerT, Flow, Flows, Outcome, Patience, customer_path


class AsyncOmniClient:
    """Asks and tells one service; keeps its connections open, so make one and keep it. It belongs to one event loop.

    Every method raises RequestFailedError for what was refused, failed, or got no answer in time.
    """

    def __init__(
        self,
        url: str = LOCAL,
        key: str | None = None,
        *,
        patience: Patience | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`key` is one that `omni key create` made; without it, where the service demands none."""
        patience = patience or Patience()
        self._flows = Flows(url.rstrip("/"), key, patience)
        self._http = httpx.AsyncClient(timeout=patience.timeout(), transport=transport)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """A client of the service at OMNI_URL, with the key OMNI_API_KEY."""
        env = os.environ if env is None else env
        return cls(env.get("OMNI_URL", LOCAL), env.get("OMNI_API_KEY") or None)

    async def send(self, events: Iterable[Mapping[str, Any]]) -> schemas.EventsAnswer:
        """Send events, as mappings of an event's columns, in batches as large as the service takes.

        Each gets an `event_id` where it has none, so that it counts once however often it is sent. What could not be kept is
        in `rejected`, by its place; RequestFailedError is raised where that is all of them.
        """
        return await self._run(self._flows.send(events))

    async def next_products(
        self,
        customer_id: str | None = None,
        *,
        identifiers: Mapping[str, str] | None = None,
        **more: Unpack[options.NextProductsOptions],
    ) -> schemas.NextProductsAnswer:
        """The products that a customer buys next."""
        question = self._flows.question("next-products", schemas.NextProductsAnswer, customer_id, identifiers, more)
        return await self._run(question)

    async def churn(
        self,
        customer_id: str | None = None,
        *,
        identifiers: Mapping[str, str] | None = None,
        **more: Unpack[options.ChurnOptions],
    ) -> schemas.ChurnAnswer:
        """How likely a customer leaves."""
        question = self._flows.question("churn", schemas.ChurnAnswer, customer_id, identifiers, more)
        return await self._run(question)

    async def best_channel(
        self,
        customer_id: str | None = None,
        *,
        identifiers: Mapping[str, str] | None = None,
        **more: Unpack[options.Question],
    ) -> schemas.BestChannelAnswer:
        """Through which channel a customer answers."""
        question = self._flows.question("best-channel", schemas.BestChannelAnswer, customer_id, identifiers, more)
        return await self._run(question)

    async def decide(
        self,
        customer_id: str | None = None,
        *,
        identifiers: Mapping[str, str] | None = None,
        **more: Unpack[options.DecideOptions],
    ) -> schemas.DecisionAnswer:
        """One decision, which is logged. Asked for again, it is the same one."""
        question = self._flows.question("decide", schemas.DecisionAnswer, customer_id, identifiers, more)
        return await self._run(question)

    async def next_products_many(
        self, customers: Iterable[str | Mapping[str, Any]], **more: Unpack[options.NextProductsOptions]
    ) -> schemas.NextProductsBatchAnswer:
        """The products that each of many customers buys next, by id or as mappings with `identifiers`, in their order."""
        flow = self._flows.many("next-products", schemas.NextProductsBatchAnswer, customers, more)
        return await self._run(flow)

    async def predict_many(
        self,
        task: Literal["churn", "best-channel", "next-product"],
        customers: Iterable[str | Mapping[str, Any]],
        **more: Unpack[options.ChurnOptions],
    ) -> schemas.PredictBatchAnswer:
        """One prediction for each of many customers, in their order; who cannot be answered about has an error instead."""
        flow = self._flows.many("predict", schemas.PredictBatchAnswer, customers, {"task": task, **more})
        return await self._run(flow)

    async def profile(self, name: str, *, signals: bool = False) -> schemas.ProfileAnswer:
        """One customer over all channels; `name` is an id, or like `email:ada@example.org`."""
        path = customer_path(name) + ("?signals=true" if signals else "")
        return await self._run(self._flows.get(path, schemas.ProfileAnswer))

    async def erase(self, name: str, *, wait_s: float = 0.0) -> schemas.ErasureAnswer:
        """Erase a customer. What runs on in the background is waited for, for so many seconds: see `completed_at`."""
        return await self._run(self._flows.erase(name, wait_s))

    async def models(self) -> schemas.ModelsAnswer:
        """The models in use, and the rules."""
        return await self._run(self._flows.get("/v1/models", schemas.ModelsAnswer))

    async def info(self) -> schemas.InfoAnswer:
        """What answers there, in which version."""
        return await self._run(self._flows.get("/v1", schemas.InfoAnswer))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, flow: Flow[AnswerT]) -> AnswerT:
        outcome: Outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as done:
                answer: AnswerT = done.value
                return answer
            outcome = None
            if isinstance(step, httpx.Request):
                step.extensions = {"timeout": self._http.timeout.as_dict()}
                try:
                    outcome = await self._http.send(step)
                except httpx.TransportError as error:
                    outcome = error
            else:
                await asyncio.sleep(step)
