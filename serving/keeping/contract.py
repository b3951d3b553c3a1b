"""What the OpenAPI document says of the calls that keep up offers, the suppression list, products and stock."""

from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from serving.schemas import kept
from serving.schemas.base import Name

MODELS: Final[tuple[type[BaseModel], ...]] = (
    kept.OfferRequest,
    kept.OfferAnswer,
    kept.OffersAnswer,
    kept.RemovedAnswer,
    kept.SuppressionRequest,
    kept.SuppressionAnswer,
    kept.SuppressionsAnswer,
    kept.ProductsRequest,
    kept.StockRequest,
    kept.MergedAnswer,
)
"""The shapes that the paths name."""
_READS: Final = ("401", "403", "429", "500", "503", "504")
_FINDS: Final = (*_READS, "404", "422")
_WRITES: Final = (*_READS, "400", "408", "409", "413", "422")
_NAME: Final = TypeAdapter(Name).json_schema()
_TAG: Final = {"ETag": {"description": "For If-Match.", "schema": {"type": "string"}}}
_CONDITIONS: Final = [
    {
        "name": "If-Match",
        "in": "header",
        "schema": {"type": "string", "pattern": '^(\\*|"[0-9a-f]{12}")$'},
        "description": "An ETag: only where the offer is that one still; else 412.",
    },
    {
        "name": "If-None-Match",
        "in": "header",
        "schema": {"type": "string", "const": "*"},
        "description": "`*`: only where there is no such offer yet; else 412.",
    },
]


class Writer:
    """Writes the operations of a document; `json`, `errors` and `security` are the document's own ways to say those."""

    def __init__(
        self,
        json: Callable[[type[BaseModel]], dict[str, Any]],
        errors: Callable[..., dict[str, Any]],
        security: Callable[[str, str], list[dict[str, list[str]]]],
    ) -> None:
        self._json, self._errors, self._security = json, errors, security

    def paths(self) -> dict[str, Any]:
        """Every path with its methods."""
        one, name = "/v1/offers/{offer_id}", "/v1/suppressions/{name}"
        offer = _in_path("offer_id", "spring")
        listed = _in_path("name", "42")
        get = self._operation
        return {
            "/v1/offers": {
                "get": get("GET", "/v1/offers", "All offers", "offers", kept.OffersAnswer, _READS),
            },
            one: {
                "get": get("GET", one, "One offer", "offer", kept.OfferAnswer, _FINDS, [offer], headers=_TAG),
                "put": get(
                    "PUT",
                    one,
                    "Put an offer in force",
                    "putoffer",
                    kept.OfferAnswer,
                    (*_WRITES, "412"),
                    [offer, *_CONDITIONS],
                    kept.OfferRequest,
                    headers=_TAG,
                    words="In place of the one there is. The same call twice changes nothing. Every worker makes it within a"
                    " second. What offers.toml owns is changed in that file alone: 409.",
                ),
                "delete": get(
                    "DELETE",
                    one,
                    "Take an offer out",
                    "removeoffer",
                    kept.RemovedAnswer,
                    (*_FINDS, "409", "412"),
                    [offer, *_CONDITIONS[:1]],
                ),
            },
            "/v1/suppressions": {
                "get": get(
                    "GET", "/v1/suppressions", "The suppression list", "suppressions", kept.SuppressionsAnswer, _READS
                ),
            },
            name: {
                "get": get(
                    "GET", name, "One name on the list", "suppression", kept.SuppressionAnswer, _FINDS, [listed]
                ),
                "put": get(
                    "PUT",
                    name,
                    "Send somebody nothing any more",
                    "suppress",
                    kept.SuppressionAnswer,
                    _WRITES,
                    [listed],
                    kept.SuppressionRequest,
                    words="By customer id, or by identifier (`email:ada@example.org`), also of somebody who is not known yet."
                    " Nothing is sent to them, and neither reports nor models count them. A name that names nobody: 409.",
                ),
                "delete": get("DELETE", name, "Take a name off", "unsuppress", kept.RemovedAnswer, _FINDS, [listed]),
            },
            "/v1/products": {
                "put": get(
                    "PUT",
                    "/v1/products",
                    "Say what is new of products",
                    "putproducts",
                    kept.MergedAnswer,
                    _WRITES,
                    body=kept.ProductsRequest,
                    words="Names, prices, what is withdrawn: merged as `omni ingest FILE --table products` does. Good rows"
                    " are kept, and bad ones told in `rejected`.",
                ),
            },
            "/v1/stock": {
                "put": get(
                    "PUT",
                    "/v1/stock",
                    "Say what is in stock",
                    "putstock",
                    kept.MergedAnswer,
                    _WRITES,
                    body=kept.StockRequest,
                    words="Units by product and store: merged as `omni ingest FILE --table stock` does.",
                ),
            },
        }

    def _operation(
        self,
        method: str,
        path: str,
        summary: str,
        operation: str,
        answer: type[BaseModel],
        errors: tuple[str, ...],
        parameters: list[dict[str, Any]] | None = None,
        body: type[BaseModel] | None = None,
        *,
        headers: dict[str, Any] | None = None,
        words: str = "",
    ) -> dict[str, Any]:
        return {
            "summary": summary,
            **({"description": words} if words else {}),
            "operationId": operation,
            "tags": ["keeping"],
            "security": self._security(method, path),
            **({"parameters": parameters} if parameters else {}),
            **({"requestBody": {"required": True, "content": self._json(body)}} if body is not None else {}),
            "responses": {
                "200": {
                    "description": "As it is now.",
                    "content": self._json(answer),
                    **({"headers": headers} if headers else {}),
                },
                **self._errors(*sorted(errors)),
            },
        }


def _in_path(name: str, example: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _NAME, "example": example}
