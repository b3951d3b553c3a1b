"""What happens in the service in, Prometheus text out; one registry per app, so that two apps never clash."""

from collections.abc import Iterable

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

from serving.schemas import ModelInfo

_LATENCY_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_AGE_S = (1.0, 60.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, 7_776_000.0)


class Metrics:
    """The service's counters. In a worker of BentoML they are kept in files, and `/metrics` adds up all workers.

    Which of the two it is prometheus_client decides once, when it is imported: the environment may change after that.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("omni_requests", "Requests answered.", ["route", "method", "status"], registry=registry)
        self.latency = Histogram(
            "omni_request_seconds", "Time to answer.", ["route"], buckets=_LATENCY_S, registry=registry
        )
        self.events = Counter(
            "omni_events",
            "Events received over HTTP: accepted, duplicate, rejected, erased.",
            ["outcome"],
            registry=registry,
        )
        self.decisions = Counter("omni_decisions", "Decisions answered.", ["arm"], registry=registry)
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

    def note_models(self, models: Iterable[ModelInfo]) -> None:
        """Set the versions in use."""
        for model in models:
            version = model.version if model.ready and model.version and model.version.isdigit() else "0"
            self.model_version.labels(model.task).set(int(version))

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        if values.ValueClass is not values.MutexValue:
            together = CollectorRegistry()
            multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self._registry)
