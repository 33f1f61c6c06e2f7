"""Rate limit of each address, count and log of requests, and refusal of work while stopping."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vggviz.gradio_private import HEARTBEAT, request_kind
from vggviz.server.metrics import Meters
from vggviz.server.uploads import client_address

__all__ = ["RateLimit", "Traffic"]

log = logging.getLogger(__name__)

QUIET = {"/healthz", "/metrics"}  # requested every few seconds: they would fill the log
MINUTE = 60.0
QUICK = 100  # times the rate: a painter sends up to 12 requests a second, a class has one address
ADDRESSES = 4096  # remembered for the rate; the least recently used are forgotten


@dataclass(slots=True)
class Traffic:
    """The requests of one server: how many are being answered, and whether more are accepted.

    `rate` is the most requests of one kind and address in a minute, 0 for no limit, and `QUICK`
    times that of quick ones, which run outside of the queue and take milliseconds; heartbeats,
    which last as long as a page is open, are not counted in `under_way`. All changes happen in the
    server's event loop; other threads only read, and set `stopping`.
    """

    rate: int = 0
    meters: Meters | None = None
    under_way: int = 0
    stopping: bool = False
    _times: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def limit(self, kind: str) -> int:
        """The most requests of this kind and one address in a minute, 0 for no limit."""
        return self.rate * QUICK if kind == "quick" else self.rate

    def exceeds_rate(self, kind: str, address: str, now: float) -> bool:
        """Whether an address has had its `limit` of this kind in the last minute; if not, this
        request is counted. `now` in seconds never falls."""
        if not (most := self.limit(kind)):
            return False
        key = f"{kind} {address}"
        times = self._times.setdefault(key, deque())
        self._times.move_to_end(key)
        if len(self._times) > ADDRESSES:
            self._times.popitem(last=False)
        while times and now - times[0] >= MINUTE:
            times.popleft()
        if len(times) >= most:
            return True
        times.append(now)
        return False


class RateLimit:
    """ASGI middleware over a `Traffic`: 429 for too many requests, 503 for work while stopping.

    The log has route templates and never addresses or paths, which may hold a file's name.
    """

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self.app = app
        self.traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        counts = HEARTBEAT not in scope["path"]
        self.traffic.under_way += counts
        try:
            await (self._refusal(scope) or self.app)(scope, receive, send_counted)
        finally:
            self.traffic.under_way -= counts
            if counts:
                self._record(scope, status, time.perf_counter() - start)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """The answer to a request that is not let through, None for any other."""
        kind = request_kind(scope["path"]) if scope["method"] == "POST" else None
        address, now = client_address(scope), time.monotonic()
        if self.traffic.stopping and kind == "work":
            status = 503
            sentence = "The server is about to restart: please try again in a minute."
        elif kind and self.traffic.exceeds_rate(kind, address, now):
            status = 429
            sentence = (
                f"That was more than {self.traffic.limit(kind)} in a minute: please wait a moment, "
                "then try again."
            )
        else:
            return None
        return JSONResponse({"detail": sentence}, status, headers={"Retry-After": "30"})

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = str(getattr(scope.get("route"), "path", "other"))
        if self.traffic.meters:
            self.traffic.meters.observe(route, status, seconds)
        if scope["path"] not in QUIET:
            fields = {"route": route, "status": status, "seconds": round(seconds, 4)}
            log.info("request", extra={"fields": {"method": scope["method"], **fields}})
