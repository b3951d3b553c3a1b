"""Batch requests in, one body with everybody's answers or problems out."""

import asyncio
from collections.abc import Callable
from typing import Final

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from features.events.rows import event_rows
from features.servers.patience import waiting_at_most
from features.vocabulary import Task
from serving import schemas
from serving.asking.question import read_question
from serving.door import ANSWER_WITHIN_S, Handler
from serving.guard.reliance import append
from serving.many.answers import ManyAnswers, Results
from serving.runtime import Runtime

MAX_BATCH_BODY_BYTES: Final = 1024 * 1024


async def next_products_batch(request: Request, runtime: Runtime) -> Response:
    """The products that each of many customers buys next; where new ones are explored, in the log before it is answered."""
    wanted = read_question(request, schemas.NextProductsBatchRequest, ANSWER_WITHIN_S)
    return await _ask(request, runtime, Task.NEXT_PRODUCT.value, lambda many: many.next_products(wanted))


async def predict_batch(request: Request, runtime: Runtime) -> Response:
    """One prediction about each of many customers."""
    wanted = read_question(request, schemas.PredictBatchRequest, ANSWER_WITHIN_S)
    return await _ask(request, runtime, wanted.task, lambda many: many.predict(wanted))


BATCHES: Final[dict[str, tuple[Handler, int]]] = {
    "/v1/next-products:batch": (next_products_batch, MAX_BATCH_BODY_BYTES),
    "/v1/predict:batch": (predict_batch, MAX_BATCH_BODY_BYTES),
}
"""Handlers by their paths, and how large a body each takes."""


async def _ask(request: Request, runtime: Runtime, task: str, question: Callable[[ManyAnswers], Results]) -> Response:
    """Answer on the working thread, so that answers about one customer go on meanwhile."""
    state = request.app.state
    patience_s = min(runtime.timeout_s, request.state.within_s)

    def patiently() -> tuple[Results, bytes]:
        with waiting_at_most(patience_s):
            results = question(ManyAnswers(runtime.answers))
        return results, to_json(results.plain())

    results, body = await asyncio.get_running_loop().run_in_executor(state.worker, patiently)
    if results.events:
        await append(state.committer, runtime.reliance, event_rows(results.events))
    for row in results.rows:
        if isinstance(row, schemas.ServedAnswer) and row.fallbacks:
            runtime.metrics.note_fallbacks(row.fallbacks)
    runtime.metrics.note_batch(task, len(results.rows) - results.failed, results.failed)
    return Response(body, media_type="application/json")
