"""The page's ASGI application: Gradio's, behind the checks of a server that strangers reach."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from vggviz.gradio_private import Queue, Server
from vggviz.server.headers import SecurityHeaders
from vggviz.server.login import LoginGate
from vggviz.server.origin import SameOrigin
from vggviz.server.page_cache import PageCache
from vggviz.server.queue_eviction import QueueEviction
from vggviz.server.rate_limit import RateLimit, Traffic
from vggviz.server.request_limits import RequestLimits
from vggviz.server.settings import Settings
from vggviz.server.uploads import UploadQuota

__all__ = ["application"]


def application(
    settings: Settings, bound: str, traffic: Traffic, queue: Queue, routes: Sequence[Route]
) -> Server:
    """Gradio's application behind middleware; `bound` is the address that the server listens on.

    Outermost first: security headers, the request's origin, CORS, rate and log, password, sizes,
    the page's cache.
    """
    hosts, origins = tuple(settings.hosts.split()), tuple(settings.origins.split())
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        allow_credentials=False,
    )
    middleware = [
        Middleware(SecurityHeaders, frames=tuple(settings.frames.split())),
        Middleware(SameOrigin, bound=bound, hosts=hosts, origins=origins),
        # Only where it is needed: its "Vary: Origin" would keep proxies from caching.
        *([cors] if origins else ()),
        Middleware(RateLimit, traffic=traffic),
        Middleware(LoginGate),
        Middleware(
            RequestLimits,
            queue=queue,
            eviction=QueueEviction(queue),
            quota=UploadQuota(settings.uploads * 10**6),
        ),
        Middleware(PageCache),
    ]
    return Server(middleware, routes)
