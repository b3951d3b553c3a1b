"""What happens in the service in, Prometheus text out; one registry per app, so that two apps never clash."""

import os
from collections import Counter as Counts
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)

from features.vocabulary import DAY_S, Task
from serving.decision.refusals import RecentRefusals
from serving.schemas import ModelInfo, RulesInfo
from serving.supervisor import is_alive
from serving.timing.profiling import Profile
from serving.timing.stages import STAGES, UNTIMED, Laps, StageTimer

_LATENCY_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_STAGE_S = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0)
_AGE_S = (1.0, 60.0, 3600.0, 21_600.0, DAY_S, 7 * DAY_S, 30 * DAY_S, 90 * DAY_S)


TIMED_EVERY = 8
"""Of so many answers one has its stages timed."""
_OUTCOMES = ("accepted", "duplicate", "rejected", "erased", "conflict")
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_KINDS = ("counter", "histogram", "gauge_livemin", "gauge_livemax")
"""What prometheus_client's files are named by, before the process id."""
_FILE_BYTES = 256 * 1024
"""Several times what all series take."""


def _in_files() -> bool:
    return values.ValueClass is not values.MutexValue


def _prepare_files(folder: Path) -> None:
    """Give this process's files their room on the disk, and forget the gauges of workers that died.

    The files are written through the memory: where the disk is full, a page without room would end the process.
    """
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not is_alive(pid):
            multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    for kind in _KINDS:
        with (folder / f"{kind}_{os.getpid()}.db").open("ab") as own:
            if own.tell() == 0:
                own.write(bytes(_FILE_BYTES))


class Metrics:
    """The service's counters. In a worker of BentoML they are kept in files, and `/metrics` adds up all workers.

    Which of the two it is prometheus_client decides once, when it is imported: the environment may change after that.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        if _in_files():
            _prepare_files(Path(os.environ[_FOLDER]))
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("omni_requests", "Requests answered.", ["route", "method", "status"], registry=registry)
        self.latency = Histogram(
            "omni_request_seconds", "Time to answer.", ["route"], buckets=_LATENCY_S, registry=registry
        )
        self.events = Counter(
            "omni_events",
            f"Events received over HTTP: {', '.join(_OUTCOMES)}.",
            ["outcome"],
            registry=registry,
        )
        self.stages = Histogram(
            "omni_stage_seconds",
            f"Time that each stage of an answer took, of one answer in {TIMED_EVERY}.",
            ["stage"],
            buckets=_STAGE_S,
            registry=registry,
        )
        self.every = TIMED_EVERY
        """Of how many answers one has its stages timed."""
        self._profile: Profile | None = None
        self._n_answers = 0
        self._event_counts = {outcome: self.events.labels(outcome) for outcome in _OUTCOMES}
        self._request_counts: dict[tuple[str, str, int], Counter] = {}
        self._latencies: dict[str, Histogram] = {}
        self._decision_counts: dict[str, Counter] = {}
        self._stage_times = {stage: self.stages.labels(stage) for stage in STAGES}
        self.decisions = Counter("omni_decisions", "Decisions answered.", ["arm"], registry=registry)
        self._refused = Counter(
            "omni_refusals",
            "Decisions answered in which a rule refused at least one way of contact.",
            ["rule"],
            registry=registry,
        )
        self.refusals = RecentRefusals(lambda rule, n: self._refused.labels(rule).inc(n))
        """What rules refused, of this worker's newest decisions."""
        self.batches = Counter(
            "omni_batch_customers",
            "Customers of batch calls, by task: answered, or failed with a problem of their own.",
            ["task", "outcome"],
            registry=registry,
        )
        self.fallbacks = Counter(
            "omni_fallbacks",
            "Answers, by task, that no model gave, and why.",
            ["task", "reason"],
            registry=registry,
        )
        self._fallback_counts: dict[tuple[str, str], Counter] = {}
        self.feature_age = Histogram(
            "omni_feature_age_seconds", "Age of the newest behaviour used.", buckets=_AGE_S, registry=registry
        )
        self.model_version = Gauge(
            "omni_model_version",
            "Version of the model in use; 0 where there is none.",
            ["task"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.quarantined = Gauge(
            "omni_models_quarantined",
            "Versions of models that must not serve, because they failed: see OMNI_HOME/quarantine.",
            ["task"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.dependency_up = Gauge(
            "omni_dependency_up",
            "1 where the online store, the event log or an append to it answered when last asked, else 0.",
            ["dependency"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.stream_lag = Gauge(
            "omni_stream_lag_rows",
            "Rows of the log that the online store does not hold yet; answers read them from the log, which is slower.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.erasures_pending = Gauge(
            "omni_erasures_pending",
            "Erasures that were begun and are not complete.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.erasure_age = Gauge(
            "omni_erasure_oldest_seconds",
            "How long the oldest erasure that is not complete has been under way; 0 where there is none.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.rules_problem = Gauge(
            "omni_rules_problem",
            "1 where rules.toml is bad and the rules before it stay in force.",
            registry=registry,
            multiprocess_mode="livemax",
        )

    def note_request(self, route: str, method: str, status: int, taken_s: float) -> None:
        """Count a request that was answered; looking series up by their labels would take longer than counting."""
        key = (route, method, status)
        if key not in self._request_counts:
            self._latencies[route] = self.latency.labels(route)
            self._request_counts[key] = self.requests.labels(route, method, str(status))
        self._latencies[route].observe(taken_s)
        self._request_counts[key].inc()

    def note_events(self, **counts: int) -> None:
        """Count what became of the events of a batch, by outcome."""
        for outcome, n in counts.items():
            if n:
                self._event_counts[outcome].inc(n)

    def note_decision(self, arm: str) -> None:
        """Count a decision that was answered and is in the log."""
        if arm not in self._decision_counts:
            self._decision_counts[arm] = self.decisions.labels(arm)
        self._decision_counts[arm].inc()

    def note_batch(self, task: str, answered: int, failed: int) -> None:
        """Count the customers of a batch call."""
        for outcome, n in (("answered", answered), ("failed", failed)):
            if n:
                self.batches.labels(task, outcome).inc(n)

    def note_fallbacks(self, fallbacks: Mapping[str, str]) -> None:
        """Count an answer that no model gave: why, by task."""
        for task, reason in fallbacks.items():
            if (task, reason) not in self._fallback_counts:
                self._fallback_counts[task, reason] = self.fallbacks.labels(task, reason)
            self._fallback_counts[task, reason].inc()

    def time_this(self) -> StageTimer:
        """What times the stages of the answer that is about to be given: in earnest for one of `every`."""
        self._n_answers += 1
        return Laps() if self._n_answers % self.every == 1 % self.every else UNTIMED

    def note_stages(self, timer: StageTimer) -> None:
        """Count the stages of an answer that was given, where they were timed."""
        if not isinstance(timer, Laps):
            return
        for stage, wall_s, _ in timer.taken:
            self._stage_times[stage].observe(wall_s)
        if self._profile is not None:
            self._profile.add(timer)

    def profile_into(self, folder: Path) -> Profile:
        """Time every answer, and have a profile of this worker begin, for `folder`."""
        self.every = 1
        self._profile = Profile(folder)
        self._profile.start()
        return self._profile

    def note_rules(self, rules: RulesInfo) -> None:
        """Set whether the file that should be in force is bad."""
        self.rules_problem.set(rules.problem is not None)

    def note_dependency(self, name: str, is_up: bool) -> None:
        """Set whether the online store or the log answered when last asked."""
        self.dependency_up.labels(name).set(is_up)

    def note_erasures(self, pending: int, oldest_s: float) -> None:
        """Set how many erasures are not complete, and how long the oldest of them has been under way."""
        self.erasures_pending.set(pending)
        self.erasure_age.set(oldest_s)

    def note_stream(self, lag: int) -> None:
        """Set how many rows of the log the online store does not hold yet."""
        self.stream_lag.set(lag)

    def note_quarantine(self, tasks: Iterable[str]) -> None:
        """Set how many versions of each task are in quarantine; `tasks` names each one's."""
        counts = Counts(tasks)
        for task in Task:
            self.quarantined.labels(task.value).set(counts[task.value])

    def note_models(self, models: Iterable[ModelInfo]) -> None:
        """Set the versions in use."""
        for model in models:
            version = model.version if model.ready and model.version and model.version.isdigit() else "0"
            self.model_version.labels(model.task).set(int(version))

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        self.refusals.settle()
        if _in_files():
            together = CollectorRegistry()
            multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self._registry)
