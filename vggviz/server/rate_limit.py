"""What stands between the network and the page: it counts, logs, limits, and lets work finish."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vggviz.server.metrics import Meters
from vggviz.server.uploads import client

__all__ = ["Traffic", "Watch"]

log = logging.getLogger(__name__)

QUIET = {"/healthz", "/metrics"}  # asked for every few seconds: they would fill the log
MINUTE = 60.0
ADDRESSES = 4096  # remembered for the rate; the least recently seen are forgotten


@dataclass(slots=True)
class Traffic:
    """The requests of one server: how many are being answered, and whether more may come.

    Heartbeats last as long as a page is open, so they don't count. All changes happen in the
    server's event loop; other threads only read, and set `stopping`.
    """

    rate: int = 0
    meters: Meters | None = None
    under_way: int = 0
    stopping: bool = False
    _asked: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def too_often(self, address: str, now: float) -> bool:
        """Whether this address has had its share of the last minute; if not, one more. Work,
        uploads and guesses of one address count apart."""
        if not self.rate:
            return False
        times = self._asked.setdefault(address, deque())
        self._asked.move_to_end(address)
        if len(self._asked) > ADDRESSES:
            self._asked.popitem(last=False)
        while times and now - times[0] >= MINUTE:
            times.popleft()
        if len(times) >= self.rate:
            return True
        times.append(now)
        return False


class _Refusal(NamedTuple):
    status: int
    sentence: str


class Watch:
    """ASGI middleware over a `Traffic`.

    Logs say route templates and never addresses or paths, which may hold a file's name.
    """

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self.app = app
        self.traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        counts = "/heartbeat/" not in scope["path"]
        self.traffic.under_way += counts
        try:
            refusal = self._refusal(scope)
            app = self.app if refusal is None else _answer(refusal)
            await app(scope, receive, sending)
        finally:
            self.traffic.under_way -= counts
            if counts:
                self._tell(scope, status, time.perf_counter() - start)

    def _refusal(self, scope: Scope) -> _Refusal | None:
        if scope["method"] != "POST" or (kind := _asks(scope["path"])) is None:
            return None
        if self.traffic.stopping and kind == "work":
            return _Refusal(503, "The server is about to restart: please try again in a minute.")
        address = client((scope.get("client") or ("", 0))[0])
        if self.traffic.too_often(f"{kind} {address}", time.monotonic()):
            return _Refusal(
                429,
                f"That was more than {self.traffic.rate} in a minute: please wait a moment, "
                "then try again.",
            )
        return None

    def _tell(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        route = str(getattr(scope.get("route"), "path", "other"))
        if self.traffic.meters:
            self.traffic.meters.saw(route, status, seconds)
        if scope["path"] not in QUIET:
            fields = {"route": route, "status": status, "seconds": round(seconds, 4)}
            log.info("request", extra={"fields": {"method": scope["method"], **fields}})


def _asks(path: str) -> str | None:
    """What a POST to this path asks for: 'work' that queues, or over MCP soon will, 'room' on the
    disk, a 'guess' of the password, the 'end' of something, or none of these."""
    if path.endswith("/queue/join") or "/gradio_api/call/" in path or "/gradio_api/mcp" in path:
        return "work"
    if path.endswith("/upload"):
        return "room"
    if path.rstrip("/").endswith(("/cancel", "/reset")):
        return "end"
    return "guess" if path.rstrip("/").endswith("/login") else None


def _answer(refusal: _Refusal) -> JSONResponse:
    told = {"detail": refusal.sentence}  # as the page shows it
    return JSONResponse(told, refusal.status, headers={"Retry-After": "30"})
