"""`/docs.json`: every route is in it, every reference resolves, and every example is accepted by its own schema."""

from typing import Any

import pytest

from features.events.schema import Event
from serving import schemas
from serving.api import create_app
from serving.keeping.handlers import KEEPING
from serving.openapi import POSTS, openapi_document

UNLISTED = ("/", "/docs", "/docs/{file}", "/docs.json", "/omni.js", "/healthz")
"""Pages for people, and a second name."""


def references(found: Any) -> set[str]:
    if isinstance(found, dict):
        own = {found["$ref"]} if isinstance(found.get("$ref"), str) else set()
        return own.union(*(references(part) for part in found.values()))
    if isinstance(found, list):
        return set().union(*(references(part) for part in found))
    return set()


def no_runtime() -> Any:
    raise AssertionError


def test_every_route_is_documented() -> None:
    served = {
        (route.path.replace(":path}", "}"), method.lower())  # type: ignore[attr-defined]
        for route in create_app(no_runtime).routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
    }
    documented = {(path, method) for path, methods in openapi_document()["paths"].items() for method in methods}
    assert served - documented == {(page, "get") for page in UNLISTED}
    assert documented <= served


def test_every_reference_resolves() -> None:
    document = openapi_document()
    names = {name.rsplit("/", 1)[1] for name in references(document)}
    assert names <= set(document["components"]["schemas"])


@pytest.mark.parametrize("path", POSTS)
def test_examples_are_accepted_by_their_schemas(path: str) -> None:
    _, _, request, answer = POSTS[path]
    responses = openapi_document()["paths"][path]["post"]
    request.model_validate(responses["requestBody"]["content"]["application/json"]["example"])
    answer.model_validate(responses["responses"]["200"]["content"]["application/json"]["example"])


def test_the_example_events_are_events() -> None:
    example = schemas.EventsRequest.model_config["json_schema_extra"]["examples"][0]  # type: ignore[index,call-overload]
    for item in example["events"]:
        assert Event.model_validate(item).kind == "add_to_cart"


def test_an_event_without_a_time_is_as_good_as_the_contract_says() -> None:
    event = openapi_document()["components"]["schemas"]["Event"]
    assert event["required"] == ["event_id", "kind", "channel"]  # over HTTP, without a time it happened now
    assert Event.model_json_schema()["required"] == ["event_id", "occurred_at", "kind", "channel"]


def test_whoever_shall_ask_again_is_told_when() -> None:
    responses = [
        (path, status, response)
        for path, methods in openapi_document()["paths"].items()
        for operation in methods.values()
        for status, response in operation["responses"].items()
    ]
    late = {(path, status) for path, status, response in responses if "Retry-After" in response.get("headers", {})}
    assert late == {(path, status) for path, status, _ in responses if status in ("429", "503")}
    assert len(late) > 10
    bodies = {path for path, (_, methods, _) in KEEPING.items() if "PUT" in methods}
    assert {path for path, status, _ in responses if status == "408"} == {*POSTS, *bodies}


def test_what_is_marked_is_in_every_answer_about_a_customer() -> None:
    schemas_of = openapi_document()["components"]["schemas"]
    for _, _, request, answer in POSTS.values():
        if issubclass(answer, schemas.Answer):
            assert {"degraded", "stale", "stale_for_s"} <= schemas_of[answer.__name__]["properties"].keys()
            assert not {"degraded", "stale"} & set(
                schemas_of[answer.__name__]["required"]
            )  # older callers know neither
            assert schemas_of[request.__name__]["properties"]["timeout_ms"]["anyOf"][0]["maximum"] == 25_000


def test_a_wrong_method_hears_of_all_right_ones(client: Any) -> None:
    answers = client.run(
        ("PUT", "/v1/customers/ada", None), ("OPTIONS", "/v1/customers/a/b", None), ("PATCH", "/v1/models", None)
    )
    assert [answer.status_code for answer in answers] == [405, 405, 405]
    assert [answer.headers["allow"] for answer in answers] == ["DELETE, GET, HEAD", "DELETE, GET, HEAD", "GET, HEAD"]


def test_wrong_paths_and_methods_have_the_same_shape(client: Any) -> None:
    missing, wrong = client.run(("GET", "/v2", None), ("GET", "/v1/churn", None))
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
