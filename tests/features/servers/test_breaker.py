"""The breaker on a clock that is set by hand and with trials that run when told."""

from collections.abc import Callable

import pytest

from features.errors import StoreError, UnavailableError
from features.servers.breaker import MAX_FAILURES, PAUSE_S, SLOW_FAILURE_S, Breaker
from features.servers.patience import left_s


class Server:
    """A dependency, its clock and the trials that wait to be run."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.is_up = True
        self.takes_s = 0.0
        self.trials: list[Callable[[], None]] = []
        self.n_asked = 0
        self.breaker = Breaker("The log", self.answer, now=lambda: self.now_s, spawn=self.trials.append)

    def answer(self) -> str:
        self.n_asked += 1
        self.now_s += self.takes_s
        if not self.is_up:
            raise UnavailableError("It is away.")
        return "here"

    def ask(self) -> str:
        return self.breaker.call(self.answer)

    def run_trials(self) -> int:
        waiting, self.trials[:] = list(self.trials), []
        for trial in waiting:
            trial()
        return len(waiting)


@pytest.fixture
def server() -> Server:
    return Server()


def fail(server: Server, times: int) -> None:
    for _ in range(times):
        with pytest.raises(UnavailableError, match="away"):
            server.ask()


def test_nobody_is_asked_after_failures_in_a_row(server: Server) -> None:
    assert server.ask() == "here"
    server.is_up = False
    fail(server, MAX_FAILURES)
    assert server.breaker.is_open and server.n_asked == 1 + MAX_FAILURES
    fail(server, 50)
    assert server.n_asked == 1 + MAX_FAILURES
    assert len(server.trials) == 1  # one trial, however many ask


def test_an_answer_in_between_begins_the_count_anew(server: Server) -> None:
    for _ in range(5):
        server.is_up = False
        fail(server, MAX_FAILURES - 1)
        server.is_up = True
        assert server.ask() == "here"
    assert not server.breaker.is_open and server.trials == []


def test_one_failure_that_took_long_is_enough(server: Server) -> None:
    server.is_up, server.takes_s = False, SLOW_FAILURE_S
    fail(server, 1)
    assert server.breaker.is_open


def test_it_closes_when_a_trial_succeeds_and_no_question_pays_for_it(server: Server) -> None:
    server.is_up = False
    fail(server, MAX_FAILURES)
    assert server.breaker.is_open and server.run_trials() == 1
    fail(server, 9)
    assert server.trials == []  # the pause
    server.now_s += PAUSE_S
    fail(server, 9)
    assert server.run_trials() == 1
    server.is_up = True
    server.now_s += PAUSE_S
    fail(server, 1)  # still open: this one only has it tried
    assert server.run_trials() == 1
    assert server.ask() == "here" and server.breaker.trouble() == ""


def test_a_trial_that_never_ends_is_the_only_one(server: Server) -> None:
    server.is_up = False
    fail(server, MAX_FAILURES)
    for _ in range(100):
        server.now_s += 10 * PAUSE_S
        assert server.breaker.is_open
    assert len(server.trials) == 1


def test_what_is_suspected_is_tried_and_opens(server: Server) -> None:
    server.is_up = False
    server.breaker.suspect()
    server.breaker.suspect()
    assert server.run_trials() == 1 and server.breaker.is_open
    assert server.breaker.trouble() == "It is away."


def test_other_errors_are_answers(server: Server) -> None:
    def damaged() -> str:
        raise StoreError("A value is damaged.")

    for _ in range(3 * MAX_FAILURES):
        with pytest.raises(StoreError, match="damaged"):
            server.breaker.call(damaged)
    assert not server.breaker.is_open


def test_a_trial_that_ends_in_any_error_did_not_succeed(server: Server) -> None:
    server.is_up = False
    fail(server, MAX_FAILURES)
    broken = Breaker("It", lambda: 1 / 0, now=lambda: server.now_s, spawn=server.trials.append)
    broken.suspect()
    server.run_trials()
    assert broken.is_open and broken.trouble() == "It: division by zero"


def test_it_says_how_long_nothing_was_heard(server: Server) -> None:
    server.ask()
    server.now_s += 7.0
    assert server.breaker.unheard_s() == 7.0
    server.is_up = False
    fail(server, 2)
    assert server.breaker.unheard_s() == 7.0
    server.is_up = True
    server.ask()
    assert server.breaker.unheard_s() == 0.0


def test_trials_have_a_budget_of_their_own_and_a_closed_breaker_tries_no_more() -> None:
    budgets: list[float | None] = []
    run: list[Callable[[], None]] = []
    guarded = Breaker("It", lambda: budgets.append(left_s()), trial_s=0.7, spawn=run.append)
    guarded.suspect()
    run.pop()()
    assert budgets == [0.7] and left_s() is None
    threaded = Breaker("It", lambda: None)
    threaded.close()
    threaded.suspect()  # nobody is there to try, and nothing breaks
    assert not threaded.is_open
