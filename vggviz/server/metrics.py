"""Metrics of a running page for Prometheus: requests, latency, queue, memory."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Meters"]

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0)


class Meters:
    """The meters of one page, in a registry of their own.

    `waiting` and `running` return the length of the queue and the number of requests that are
    being answered; they are called when Prometheus asks. Raises ModuleNotFoundError without
    prometheus_client.
    """

    def __init__(self, waiting: Callable[[], int], running: Callable[[], int]) -> None:
        import prometheus_client as prometheus

        self.registry = registry = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            "vggviz_requests", "Requests answered.", ("route", "status"), registry=registry
        )
        self._seconds = prometheus.Histogram(
            "vggviz_request_seconds",
            "From a request to the end of its answer; for /queue/data what a user waits.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        for name, text, read in (
            ("vggviz_queue_length", "Events that wait in the queue.", waiting),
            ("vggviz_requests_under_way", "Requests that are being answered.", running),
        ):
            prometheus.Gauge(name, text, registry=registry).set_function(read)
        prometheus.ProcessCollector(registry=registry)  # memory, CPU seconds, open files

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def read(self) -> tuple[bytes, str]:
        """All meters as Prometheus's text, and its content type."""
        import prometheus_client as prometheus

        return prometheus.generate_latest(self.registry), prometheus.CONTENT_TYPE_LATEST
