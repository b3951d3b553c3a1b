"""BentoML services that answer with a recorded answer: what the front itself costs, as it comes, tuned, and mounted.

`OMNI_ECHO_ANSWERS` names a folder with an answer per question, `decide.json` and so on; `OMNI_ECHO_WORKERS` the workers.
"""

import json
import os
from pathlib import Path
from typing import Any

import bentoml
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

WORKERS = int(os.environ.get("OMNI_ECHO_WORKERS", "1"))
RECORDED = {
    path.stem: json.loads(path.read_text())
    for path in Path(os.environ.get("OMNI_ECHO_ANSWERS", os.devnull)).glob("*.json")
}
TUNED: dict[str, Any] = {
    "tracing": {"excluded_urls": ".*"},
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
}


class Answer(BaseModel):
    """The recorded answer, and whom it was asked about."""

    customer_id: str
    answer: dict[str, Any]


class Question(BaseModel):
    """A customer, and products to leave out."""

    customer_id: str
    exclude: list[str] = Field(default_factory=list)


@bentoml.service(name="echo-as-it-comes", workers=WORKERS)
class AsItComes:
    """What an API function with type hints gives."""

    @bentoml.api(route="/v1/decide")
    def decide(self, customer_id: str, exclude: list[str] = []) -> Answer:  # noqa: B006  (as BentoML's pages write it)
        return Answer(customer_id=customer_id, answer=RECORDED["decide"])

    @bentoml.api(route="/v1/next-products")
    def next_products(self, customer_id: str) -> Answer:
        return Answer(customer_id=customer_id, answer=RECORDED["next-products"])

    @bentoml.api(route="/v1/churn")
    def churn(self, customer_id: str) -> Answer:
        return Answer(customer_id=customer_id, answer=RECORDED["churn"])

    @bentoml.api(route="/v1/best-channel")
    def best_channel(self, customer_id: str) -> Answer:
        return Answer(customer_id=customer_id, answer=RECORDED["best-channel"])


@bentoml.service(name="echo-tuned", workers=WORKERS, **TUNED)
class Tuned:
    """The same on the loop, without access log, metrics and tracing."""

    @bentoml.api(route="/v1/decide")
    async def decide(self, customer_id: str, exclude: list[str] = []) -> Answer:  # noqa: B006
        return Answer(customer_id=customer_id, answer=RECORDED["decide"])

    @bentoml.api(route="/v1/next-products")
    async def next_products(self, customer_id: str) -> Answer:
        return Answer(customer_id=customer_id, answer=RECORDED["next-products"])

    @bentoml.api(route="/v1/churn")
    async def churn(self, customer_id: str) -> Answer:
        return Answer(customer_id=customer_id, answer=RECORDED["churn"])

    @bentoml.api(route="/v1/best-channel")
    async def best_channel(self, customer_id: str) -> Answer:
        return Answer(customer_id=customer_id, answer=RECORDED["best-channel"])


async def _answer(request: Request) -> Response:
    asked = Question.model_validate_json(await request.body())
    answer = Answer(customer_id=asked.customer_id, answer=RECORDED[request.path_params["name"]])
    return Response(answer.model_dump_json(), media_type="application/json")


_app = Starlette(routes=[Route("/v1/{name}", _answer, methods=["POST"])])


@bentoml.service(name="echo-mounted", workers=WORKERS, **TUNED)
class _Mounted:
    """A route of Starlette in BentoML's workers."""


Mounted: Any = _Mounted
Mounted.mount_asgi_app(_app, path="/")
