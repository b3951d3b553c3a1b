"""The schemas in, the OpenAPI document of `/docs.json` out, with an example for every body."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from features.events.schema import Event
from features.vocabulary import Columns
from serving import schemas

VERSION: Final = "1.0.0"
_REF: Final = "#/components/schemas/{model}"

POSTS: Final[dict[str, tuple[str, str, type[BaseModel], type[BaseModel]]]] = {
    "/v1/events": (
        "Record what happened",
        "Each event is kept once, by its event_id, and counts in the very next answer. Good events of a batch are kept, "
        "bad ones are answered one by one in `rejected`; when every event is bad the status is 422.",
        schemas.EventsRequest,
        schemas.EventsAnswer,
    ),
    "/v1/next-products": (
        "Which products will this customer buy next?",
        "Products, best first, with readable reasons.",
        schemas.NextProductsRequest,
        schemas.NextProductsAnswer,
    ),
    "/v1/churn": (
        "Is this customer about to leave?",
        "The chance that they buy nothing within the horizon, or that their contract is over by then; with `explain`, why.",
        schemas.ChurnRequest,
        schemas.ChurnAnswer,
    ),
    "/v1/best-channel": (
        "Through which channel does this customer answer?",
        "Every way of reaching the customer with its response probability, and whether the rules allow it now.",
        schemas.BestChannelRequest,
        schemas.BestChannelAnswer,
    ),
    "/v1/decide": (
        "Which product, through which channel, when, or nothing at all?",
        "The same answer for every channel that asks within the same few minutes: to be sent at once to who is there, else at "
        "their best hour, within the offer's time. It is logged before it is answered, with the probability with which it "
        "was chosen, unless it is only looked at (`log` false).",
        schemas.DecideRequest,
        schemas.DecisionAnswer,
    ),
}


def openapi_document() -> dict[str, Any]:
    """The whole contract (OpenAPI 3.1)."""
    models: list[type[BaseModel]] = [Event, schemas.ProfileAnswer, schemas.ModelsAnswer, schemas.ErrorAnswer]
    models.append(schemas.ErasureAnswer)
    for _, _, request, answer in POSTS.values():
        models += [request, answer]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    components = dict(definitions["$defs"])
    components["EventsRequest"]["properties"]["events"]["items"] = {"$ref": _REF.format(model="Event")}
    components["Event"]["required"].remove(Columns.OCCURRED_AT)
    components["Event"]["properties"][Columns.OCCURRED_AT]["description"] = "Left out: now, by the service's clock."
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Omni",
            "version": VERSION,
            "description": "One customer, every channel, one decision. Customers are named by `customer_id` or by any "
            'identifier. Every error has the same shape: `{"error": {"code", "message", "details"}}`.',
        },
        "servers": [{"url": "."}],
        "paths": {**{path: {"post": _post(*what)} for path, what in POSTS.items()}, **_gets()},
        "components": {"schemas": components},
    }


def _post(summary: str, description: str, request: type[BaseModel], answer: type[BaseModel]) -> dict[str, Any]:
    return {
        "summary": summary,
        "description": description,
        "operationId": request.__name__.removesuffix("Request").lower(),
        "tags": ["answers" if request is not schemas.EventsRequest else "events"],
        "requestBody": {"required": True, "content": _json(request)},
        "responses": {
            "200": {"description": "The answer.", "content": _json(answer)},
            **_errors("400", "403", "408", "413", "422", "429", "500", "503", "504"),
            **({} if request is schemas.EventsRequest else _errors("404")),
        },
    }


def _gets() -> dict[str, Any]:
    customer = {
        "name": "customer_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 256},
        "example": "1",
    }
    signals = {
        "name": "signals",
        "in": "query",
        "schema": {"type": "boolean", "default": False},
        "description": "Add every feature.",
    }
    return {
        "/v1/customers/{customer_id}": {
            "get": {
                "summary": "One customer over all channels",
                "description": "By id, or by identifier (`email:ada@example.org`).",
                "operationId": "profile",
                "tags": ["customers"],
                "parameters": [customer, signals],
                "responses": {
                    "200": {"description": "The customer.", "content": _json(schemas.ProfileAnswer)},
                    **_errors("404", "422", "429", "500", "503", "504"),
                },
            },
            "delete": {
                "summary": "Erase a customer everywhere",
                "description": "By id or identifier (`email:ada@example.org`). The log, the decisions and the online store "
                "are done before this answers; files and the list of models that learnt from the customer follow at once "
                "in the background: 202 while something is pending, 200 when asked again and all is done.",
                "operationId": "erase",
                "tags": ["customers"],
                "parameters": [customer],
                "responses": {
                    "200": {"description": "Everything is done.", "content": _json(schemas.ErasureAnswer)},
                    "202": {"description": "Some steps are pending.", "content": _json(schemas.ErasureAnswer)},
                    **_errors("403", "404", "422", "429", "500", "503", "504"),
                },
            },
        },
        "/v1/models": {
            "get": {
                "summary": "The models in use",
                "operationId": "models",
                "tags": ["models"],
                "responses": {
                    "200": {
                        "description": "One line per task, and which rules are in force.",
                        "content": _json(schemas.ModelsAnswer),
                    },
                    **_errors("429"),
                },
            }
        },
        "/livez": {"get": _plain("Is the process alive?", "livez", _status("alive"))},
        "/readyz": {"get": _plain("Can it answer everything, and what does it wait for?", "readyz", _ready(), "503")},
        "/metrics": {
            "get": _plain("Counters for Prometheus", "metrics", {"text/plain": {"schema": {"type": "string"}}})
        },
    }


def _plain(summary: str, operation: str, content: dict[str, Any], *errors: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "operationId": operation,
        "tags": ["operations"],
        "responses": {"200": {"description": "Yes.", "content": content}, **_errors(*errors)},
    }


def _status(word: str, *, warns: bool = False) -> dict[str, Any]:
    properties: dict[str, Any] = {"status": {"const": word}}
    if warns:
        text = "What the operator should know though every answer is right; left out where there is nothing."
        properties["warnings"] = {"type": "array", "items": {"type": "string"}, "description": text}
    schema = {"type": "object", "required": ["status"], "properties": properties}
    return {"application/json": {"schema": schema}}


def _ready() -> dict[str, Any]:
    content = _status("ready", warns=True)
    texts = {"type": "object", "properties": {name: {"type": "string"} for name in ("dependency", "reason")}}
    content["application/json"]["schema"]["properties"]["degraded"] = {
        "type": "array",
        "items": texts,
        "description": "What does not answer and is done without; left out where there is nothing.",
    }
    return content


def _json(model: type[BaseModel]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": _REF.format(model=model.__name__)}}
    extra = model.model_config.get("json_schema_extra")
    if isinstance(extra, dict):
        examples = extra.get("examples")
        if isinstance(examples, list) and examples:
            content["example"] = examples[0]
    return {"application/json": content}


_MEANING: Final = {
    "400": "The body is not JSON.",
    "403": "A page of another site asks, through a browser.",
    "404": "Nobody by that name is known.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "422": "The request cannot be used; `details` names the fields.",
    "429": "Too many requests at once; try again.",
    "500": "A defect of the service; its log holds the cause.",
    "503": "Something that is needed is missing or does not answer; the message says what to do.",
    "504": "It was not done in time; ask again.",
}


_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds after which to ask again.", "schema": {"type": "integer", "minimum": 1}}
}


def _errors(*statuses: str) -> dict[str, Any]:
    return {
        status: {
            "description": _MEANING[status],
            **({"headers": _RETRY_AFTER} if status in ("429", "503") else {}),
            "content": _json(schemas.ErrorAnswer),
        }
        for status in statuses
    }
