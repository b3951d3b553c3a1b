"""Whose fault an error is: what a request cannot say is 422; an answer of ours that is none is 500, whichever it is."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from features.errors import InputError, RequestError
from features.events.schema import Event
from features.scoring.win_back import Lapsing, LinearEffect, WinBackScore
from features.signals import SIGNAL_NAMES
from features.vocabulary import Task
from serving import problems, schemas
from serving.runtime import Runtime
from serving.schemas.base import Finite
from serving.scorers.best_channel import ChannelScorer
from serving.scorers.churn import ChurnScorer
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer
from serving.scorers.win_back import WinBackScorer

ADA = {"customer_id": "ada"}
NOT_A_NUMBER = (float("nan"), float("inf"), -float("inf"))


def with_chance(value: float) -> Callable[[pytest.MonkeyPatch, Runtime], None]:
    return lambda patch, _: patch.setattr(ChurnScorer, "probability", lambda _, rows: np.full(len(rows), value))


def with_expectations(value: float) -> Callable[[pytest.MonkeyPatch, Runtime], None]:
    return lambda patch, _: patch.setattr(
        ChurnScorer, "expectations", lambda _, rows: (np.full(len(rows), value), np.full(len(rows), value))
    )


def with_reason(value: float) -> Callable[[pytest.MonkeyPatch, Runtime], None]:
    return lambda patch, _: patch.setattr(
        ChurnScorer, "contributions", lambda _, rows: np.full((len(rows), len(SIGNAL_NAMES)), value)
    )


def with_responses(value: float) -> Callable[[pytest.MonkeyPatch, Runtime], None]:
    return lambda patch, _: patch.setattr(
        ChannelScorer, "probabilities", lambda scorer, rows: np.full((len(rows), len(scorer.arms)), value)
    )


def with_gains(value: float) -> Callable[[pytest.MonkeyPatch, Runtime], None]:
    return lambda patch, _: patch.setattr(
        ChannelScorer, "gains", lambda scorer, rows: np.full((len(rows), len(scorer.arms)), value)
    )


def with_uplift(value: float) -> Callable[[pytest.MonkeyPatch, Runtime], None]:
    effect = LinearEffect(np.zeros(1), np.zeros(1), value)
    score = WinBackScore(SIGNAL_NAMES[:1], effect, (effect,), Lapsing(0.0, 0.0), 0.0, True, 1.0, 1.0)

    def serve(_: pytest.MonkeyPatch, runtime: Runtime) -> None:
        scorer = WinBackScorer(ModelCard(Task.WIN_BACK, "1", ""), score)
        runtime.knowledge = replace(runtime.knowledge, bundle=replace(runtime.knowledge.bundle, win_back=scorer))

    return serve


@pytest.mark.parametrize(
    ("path", "body", "harm"),
    [
        *(("/v1/churn", ADA, with_chance(value)) for value in (1.5, -0.1, *NOT_A_NUMBER[1:])),
        *(("/v1/churn", ADA, with_expectations(value)) for value in NOT_A_NUMBER[1:]),
        *(("/v1/churn", {**ADA, "explain": True}, with_reason(value)) for value in NOT_A_NUMBER),
        *(("/v1/churn", ADA, with_uplift(value)) for value in NOT_A_NUMBER[1:]),
        *(("/v1/best-channel", ADA, with_responses(value)) for value in (1.5, *NOT_A_NUMBER)),
        *(("/v1/best-channel", ADA, with_gains(value)) for value in NOT_A_NUMBER[1:]),
        *(("/v1/decide", ADA, with_responses(value)) for value in (1.5, *NOT_A_NUMBER)),
        *(("/v1/decide", ADA, with_gains(value)) for value in NOT_A_NUMBER[1:]),
        *(("/v1/decide", ADA, with_chance(value)) for value in (1.5, NOT_A_NUMBER[1])),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_model_that_answers_no_number_is_our_fault_and_nothing_is_answered(
    client: Any,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
    harm: Callable[[pytest.MonkeyPatch, Runtime], None],
) -> None:
    before = runtime.log.last_seq()
    harm(monkeypatch, runtime)
    answer = client.post(path, body)
    assert answer.status_code == 500, answer.text
    assert answer.json()["error"]["code"] in ("bad_answer", "internal")
    assert "request" not in answer.json()["error"]["message"]
    assert runtime.log.last_seq() == before  # no decision is logged that was never made


def test_scores_of_products_that_are_no_numbers_are_never_answered(
    client: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = ProductScorer.score

    def broken(scorer: ProductScorer, *asked: Any) -> Any:
        scored = score(scorer, *asked)
        return replace(scored, scores=np.where(np.arange(scored.scores.shape[1]) == 2, np.nan, scored.scores))

    monkeypatch.setattr(ProductScorer, "score", broken)
    answer = client.post("/v1/next-products", {**ADA, "k": 4})
    assert answer.status_code in (200, 500)
    if answer.status_code == 200:
        assert all(np.isfinite(product["score"]) for product in answer.json()["products"])


@pytest.mark.parametrize("path", ["/v1/churn", "/v1/decide"])
def test_a_chance_of_leaving_that_is_no_number_is_not_told_as_unknown(
    client: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    with_chance(float("nan"))(monkeypatch, runtime)
    answer = client.post(path, ADA)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "Model churn version 2 gives a chance that is no number" in answer.json()["error"]["message"]


def failure_of(shape: type[Any]) -> ValidationError:
    with pytest.raises(ValidationError) as failure:
        needs = any(field.is_required() for field in shape.model_fields.values())
        shape.model_validate({"no": "such shape"} if needs else 3)
    return failure.value


ANSWERS = [
    shape
    for shape in vars(schemas).values()
    if isinstance(shape, type) and issubclass(shape, Finite | schemas.EventsAnswer | schemas.ErasureAnswer)
]


@pytest.mark.parametrize("shape", [*ANSWERS, schemas.ModelsAnswer, Event], ids=lambda shape: shape.__name__)
def test_whichever_answer_fails_its_own_check_the_caller_is_not_blamed(shape: type[Any]) -> None:
    problem = problems.to_api_error(failure_of(shape))
    assert problem is None or (problem.status, problem.problem.code) == (500, "bad_answer")


def test_only_what_is_about_the_request_blames_the_caller() -> None:
    with pytest.raises(problems.ApiError) as refusal, problems.parse_request():
        schemas.ChurnRequest.model_validate({"customer_id": ""})
    assert (refusal.value.status, refusal.value.problem.code) == (422, "invalid_request")
    ours = problems.to_api_error(InputError("rates.csv, line 3: is no number."))
    theirs = problems.to_api_error(RequestError("customer_id names nobody."))
    assert ours is not None and theirs is not None
    assert (ours.status, theirs.status) == (503, 422)
