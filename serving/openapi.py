"""The schemas in, the OpenAPI document of `/docs.json` out, with an example for every body."""

from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from features import __version__
from features.events.schema import Event
from serving import schemas
from serving.access.gate import NEEDS
from serving.event_contract import bodies, event_schema
from serving.event_intake import BOOKKEEPING_KEY, MAX_EVENTS
from serving.keeping import contract as keeping
from serving.schemas import lists

VERSION: Final = "1.0.0"
"""Of the contract under /v1: fields are added to it and none is taken away."""
_REF: Final = "#/components/schemas/{model}"

POSTS: Final[dict[str, tuple[str, str, type[BaseModel], type[BaseModel]]]] = {
    "/v1/events": (
        "Record what happened",
        "Each event is kept once, by its event_id, and counts in the very next answer. Good events of a batch are kept, "
        "bad ones are answered one by one in `rejected`; when every event is bad the status is 422. With the query `format` "
        "(segment, ga4, messages or cloudevents) records of other tools are taken in their own words; they are always answered "
        "200, with what is no event of ours in `skipped_by_word`.",
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
        "was chosen, unless it is only looked at (`log` false, or `dry_run`). A decision to send holds its contact until its "
        "`send` event, so that no cap is exceeded however many ask at once.",
        schemas.DecideRequest,
        schemas.DecisionAnswer,
    ),
    "/v1/whatif": (
        "What would other rules do?",
        "The same customers, drawn by chance, decided for under the rules in force and under others: who changes from what to "
        "what, contacts, cost, value, which rules refuse, and what the log's own decisions would have earned, with intervals. "
        "Nothing is logged, reserved or sent. A process of its own works it out; one question at a time per worker.",
        schemas.WhatIfRequest,
        schemas.WhatIfAnswer,
    ),
    "/v1/next-products:batch": (
        "Which products will each of these customers buy next?",
        "Up to 1,000 customers in one call, answered in the order asked: each as `/v1/next-products` answers about them alone, "
        "or with a problem of their own.",
        schemas.NextProductsBatchRequest,
        schemas.NextProductsBatchAnswer,
    ),
    "/v1/predict:batch": (
        "One prediction about each of these customers",
        "Up to 1,000 customers in one call, answered in the order asked: each as the single question of the task answers "
        "about them, or with a problem of their own.",
        schemas.PredictBatchRequest,
        schemas.PredictBatchAnswer,
    ),
    "/v1/similar": (
        "What serves the same need as this product?",
        "For the page of a product: what customers buy in its place, and what is described alike. No customer is needed.",
        lists.SimilarRequest,
        lists.ListAnswer,
    ),
    "/v1/bought-together": (
        "What is bought together with these products?",
        "For the page of a product, for a cart, or for a customer's open cart.",
        lists.BoughtTogetherRequest,
        lists.ListAnswer,
    ),
    "/v1/popular": (
        "What do people buy now?",
        "What sells most of late: everywhere, in a store, on a channel; or what sells more than it did. It needs no customer.",
        lists.PopularRequest,
        lists.ListAnswer,
    ),
}


_REQUEST: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    "description": "As `request_id`: asked again under it within a day, the same decision is answered.",
}


def openapi_document() -> dict[str, Any]:
    """The whole contract (OpenAPI 3.1)."""
    models: list[type[BaseModel]] = [Event, schemas.ProfileAnswer, schemas.ModelsAnswer, schemas.ErrorAnswer]
    models += [schemas.ErasureAnswer, schemas.InfoAnswer, *keeping.MODELS]
    for _, _, request, answer in POSTS.values():
        models += [request, answer]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    components = dict(definitions["$defs"])
    components["EventsRequest"]["properties"]["events"]["items"] = {"$ref": _REF.format(model="Event")}
    components["EventsRequest"]["additionalProperties"] = False
    components["Event"] = event_schema(components["Event"])
    for _, _, request, _ in POSTS.values():
        if issubclass(request, schemas.CustomerRef | schemas.ManyRequest | lists.ListRequest):
            components[request.__name__] |= _with_named_keys(components[request.__name__])
        if issubclass(request, schemas.CustomerRef):
            components[request.__name__] |= _NAMES_SOMEONE
    kept = keeping.Writer(_json, _errors, _security).paths()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Omni",
            "version": __version__,
            "x-contract": VERSION,
            "description": "One customer, every channel, one decision. Customers are named by `customer_id` or by any "
            'identifier. Every error has the same shape: `{"error": {"code", "message", "details"}}`. Every answer names its '
            "request in `X-Request-ID`.",
        },
        "servers": [{"url": "."}],
        "paths": {**{path: {"post": _post(path, *what)} for path, what in POSTS.items()}, **_gets(), **kept},
        "components": {"schemas": components, "securitySchemes": _DOORS},
    }


def _with_named_keys(request: dict[str, Any]) -> dict[str, Any]:
    """A question's properties with the keys of its maps as names: pydantic tells of good keys, and nothing of others."""
    properties = dict(request["properties"])
    for field, schema in properties.items():
        if "patternProperties" in schema:
            kept = {key: value for key, value in schema.items() if key not in ("patternProperties", "propertyNames")}
            properties[field] = {**kept, "propertyNames": _NAME, "additionalProperties": _NAME}
    return {"properties": properties}


def _security(method: str, path: str) -> list[dict[str, list[str]]]:
    """A key of one of these scopes; or none, where the service does not demand keys."""
    scopes = [[scope.value] for scope in NEEDS[method, path]]
    return [{}, *({door: scope} for scope in scopes for door in _DOORS)]


def _post(
    path: str, summary: str, description: str, request: type[BaseModel], answer: type[BaseModel]
) -> dict[str, Any]:
    is_events, decides = request is schemas.EventsRequest, request is schemas.DecideRequest
    content = _json(request)
    if is_events:
        event, events = ({"$ref": _REF.format(model=model)} for model in ("Event", "EventsRequest"))
        content["application/json"]["schema"] = bodies(event, events, MAX_EVENTS)
    return {
        "summary": summary,
        "description": description,
        "operationId": request.__name__.removesuffix("Request").lower(),
        "tags": ["events" if is_events else "answers"],
        "security": _security("POST", path),
        **({"parameters": [_KEY]} if is_events else {"parameters": [_REQUEST]} if decides else {}),
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The answer.", "content": _json(answer), **_LINKS.get(request.__name__, {})},
            **_errors("400", "401", "403", "408", "413", "422", "429", "500", "503", "504"),
            **({} if is_events else _errors("404")),
            **(_errors("409") if decides else {}),
        },
    }


def _gets() -> dict[str, Any]:
    customer = {
        "name": "customer_id",
        "in": "path",
        "required": True,
        "schema": _NAME,
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
                "security": _security("GET", "/v1/customers/{customer_id}"),
                "parameters": [customer, signals],
                "responses": {
                    "200": {"description": "The customer.", "content": _json(schemas.ProfileAnswer)},
                    **_errors("401", "403", "404", "422", "429", "500", "503", "504"),
                },
            },
            "delete": {
                "summary": "Erase a customer everywhere",
                "description": "By id or identifier (`email:ada@example.org`). The log, the decisions and the online store "
                "are done before this answers; files and the list of models that learnt from the customer follow at once "
                "in the background: 202 while something is pending, 200 when asked again and all is done.",
                "operationId": "erase",
                "tags": ["customers"],
                "security": _security("DELETE", "/v1/customers/{customer_id}"),
                "parameters": [customer],
                "responses": {
                    "200": {"description": "Everything is done.", "content": _json(schemas.ErasureAnswer)},
                    "202": {"description": "Some steps are pending.", "content": _json(schemas.ErasureAnswer)},
                    **_errors("401", "403", "404", "422", "429", "500", "503", "504"),
                },
            },
        },
        "/v1/models": {
            "get": {
                "summary": "The models in use",
                "operationId": "models",
                "tags": ["models"],
                "security": _security("GET", "/v1/models"),
                "responses": {
                    "200": {
                        "description": "One line per task, and which rules are in force.",
                        "content": _json(schemas.ModelsAnswer),
                    },
                    **_errors("401", "403", "429", "500", "504"),
                },
            }
        },
        "/v1": {"get": _plain("What answers here, and does it demand keys?", "info", _json(schemas.InfoAnswer))},
        "/livez": {"get": _plain("Is the process alive?", "livez", _status("alive"))},
        "/readyz": {"get": _plain("Can it answer everything, and what does it wait for?", "readyz", _ready(), "503")},
        "/metrics": {
            "get": _plain(
                "Counters for Prometheus", "metrics", {"text/plain": {"schema": {"type": "string"}}}, "401", "403"
            )
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


_DOORS: Final[dict[str, dict[str, Any]]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key that `omni key create` made."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in its own header."},
}
_NAME: Final = TypeAdapter(schemas.Name).json_schema()
_NAMES_SOMEONE: Final = {
    "anyOf": [
        {"required": ["customer_id"], "properties": {"customer_id": {"type": "string"}}},
        {"required": ["identifiers"], "properties": {"identifiers": {"minProperties": 1}}},
    ]
}
"""What a question's schema says beside its fields: it is about somebody."""
_KEY: Final = {
    "name": BOOKKEEPING_KEY,
    "in": "header",
    "schema": {"type": "string"},
    "description": "The home's OMNI_BOOKKEEPING_KEY: only with it may decisions come in, and outcomes of decisions that the "
    "log does not hold.",
}
_ABOUT: Final = {"parameters": {"customer_id": "$response.body#/customer/customer_id"}}
_LINKS: Final[dict[str, dict[str, Any]]] = {
    "DecideRequest": {
        "links": {
            "sent": {
                "operationId": "events",
                "description": "Say that the decision was carried out; answers to it carry its id, too.",
                "requestBody": {
                    "events": [
                        {
                            "event_id": "sent-{$response.body#/decision_id}",
                            "kind": "send",
                            "channel": "email",
                            "customer_id": "$response.body#/customer/customer_id",
                            "decision_id": "$response.body#/decision_id",
                        }
                    ]
                },
            },
            "profile": {"operationId": "profile", **_ABOUT},
            "erase": {"operationId": "erase", **_ABOUT},
        }
    },
    **{
        f"{name}Request": {"links": {"profile": {"operationId": "profile", **_ABOUT}}}
        for name in ("NextProducts", "Churn", "BestChannel")
    },
}
"""What a caller does next with an answer, by the question's shape."""

_MEANING: Final = {
    "400": "The body is not JSON.",
    "401": "A key is missing, or not known.",
    "403": "The key has not the scope; or a page of another site asks, through a browser; or a bookkeeping key is not this "
    "home's.",
    "404": "Nobody by that name is known.",
    "408": "The body did not arrive in time.",
    "409": "It does not go with what there is; the message says why.",
    "412": "The offer is another one than If-Match or If-None-Match says.",
    "413": "The body is too large.",
    "422": "The request cannot be used; `details` names the fields.",
    "429": "Too many requests, of this key or altogether; try again.",
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
