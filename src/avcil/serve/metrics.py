"""Metrics of the server for Prometheus, at /metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from avcil.serve.service import Service

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]
SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """Metrics of one server, in a separate registry because several servers can run in one process."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "avcil_http_requests",
            "Requests by route and status",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "avcil_http_request_seconds",
            "Time from the headers of a request to the end of its response",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._rejections = Counter(
            "avcil_rejections", "Requests rejected, by reason", ("reason",), registry=self.registry
        )
        self.registry.register(_ServiceCollector(service))
        ProcessCollector(registry=self.registry)  # process_resident_memory_bytes and more

    def request(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a finished request.

        Args:
            method: HTTP method.
            route: Template of the route.
            status: Status of the response; 0 if it was aborted without one.
            seconds: Duration; None for streams, which last as long as the page is open.
        """
        self._requests.labels(method, route, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(route).observe(seconds)

    def rejection(self, reason: str) -> None:
        """Count a rejected request by its error code."""
        self._rejections.labels(reason).inc()

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class _ServiceCollector:
    """Collects the metrics that the service counts."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        queue = self._service.queue
        yield GaugeMetricFamily("avcil_queue_waiting", "Clips that wait for a worker", queue.waiting)
        yield GaugeMetricFamily("avcil_queue_running", "Clips that are being predicted", queue.running)
        yield GaugeMetricFamily(
            "avcil_learning", "1 while clips are being learned", int(self._service.learning)
        )
        yield GaugeMetricFamily("avcil_classes", "Number of classes", len(self._service.recognizer.classes_))
        jobs = CounterMetricFamily("avcil_teachings", "Finished learning jobs by result", labels=["result"])
        for result, count in self._service.jobs.items():
            jobs.add_metric([result], count)
        yield jobs
