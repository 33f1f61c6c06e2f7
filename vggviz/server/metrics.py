"""What Prometheus may read of a running page: requests, latency, queue, memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

__all__ = ["Meters"]

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0)


class Meters:
    """The meters of one page, in a registry of their own.

    `waiting` and `under_way` tell how many wait in the queue and how many requests are being
    answered; they are read when Prometheus asks. Raises ModuleNotFoundError without
    prometheus_client.
    """

    def __init__(self, waiting: Callable[[], int], under_way: Callable[[], int]) -> None:
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            ProcessCollector,
        )

        registry = CollectorRegistry()
        self.registry: CollectorRegistry = registry
        self.requests: Counter = Counter(
            "vggviz_requests", "Requests answered.", ("route", "status"), registry=registry
        )
        self.seconds: Histogram = Histogram(
            "vggviz_request_seconds",
            "From a request to the end of its answer; for /queue/data what a user waits.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        queue = Gauge("vggviz_queue_length", "Who waits in the queue.", registry=registry)
        queue.set_function(waiting)
        running = Gauge("vggviz_requests_under_way", "Being answered now.", registry=registry)
        running.set_function(under_way)
        ProcessCollector(registry=registry)  # memory, CPU seconds, open files

    def saw(self, route: str, status: int, seconds: float) -> None:
        """Count one request that was answered."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def read(self) -> tuple[bytes, str]:
        """All meters as Prometheus's text, and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST
