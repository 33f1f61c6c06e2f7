"""Gradio's application, with the checks of a server that strangers reach.

Everything that leans on how Gradio 6.31 builds its application stands here and in `sessions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from gradio.route_utils import CustomCORSMiddleware
from gradio.routes import App, ORJSONResponse
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from vggviz.server.headers import SecurityHeaders
from vggviz.server.login import LoginGate
from vggviz.server.origin import SameOrigin
from vggviz.server.page_cache import PageCache
from vggviz.server.queue_eviction import Unread
from vggviz.server.rate_limit import Traffic, Watch
from vggviz.server.request_limits import Door
from vggviz.server.sessions import Sessions
from vggviz.server.settings import Settings
from vggviz.server.uploads import UploadQuota

__all__ = ["Application"]


class Application(App):
    """`gradio.routes.App` behind middleware, outermost first: headers, origin, foreign origins,
    rate and log, password, sizes, cache."""

    def __init__(
        self,
        settings: Settings,
        bound: str,
        traffic: Traffic,
        unread: Unread,
        routes: Sequence[Route],
    ) -> None:
        """`bound` is the address that the server listens on."""
        hosts, origins = tuple(settings.hosts.split()), tuple(settings.origins.split())
        middleware = [
            Middleware(SecurityHeaders, frames=tuple(settings.frames.split())),
            Middleware(SameOrigin, bound=bound, hosts=hosts, origins=origins),
            # Not where it has nothing to say: its "Vary: Origin" would keep proxies from caching.
            *([Middleware(CORSMiddleware, allow_origins=origins, **_CORS)] if origins else ()),
            Middleware(Watch, traffic=traffic),
            Middleware(LoginGate),
            Middleware(Door, unread=unread, quota=UploadQuota(settings.uploads * 10**6)),
            Middleware(PageCache),
        ]
        super().__init__(
            routes=list(routes),
            middleware=middleware,
            default_response_class=ORJSONResponse,
            openapi_url=None,
            exception_handlers={RequestValidationError: _unreadable},
        )
        self.state_holder = Sessions()

    def add_middleware(self, middleware_class: Any, *args: Any, **kwargs: Any) -> None:
        """Add what Gradio adds innermost, without its CORS, which lets any origin read with the
        cookies of whoever visits it."""
        if middleware_class is not CustomCORSMiddleware:
            self.user_middleware.append(Middleware(middleware_class, *args, **kwargs))


_CORS: dict[str, Any] = {
    "allow_methods": ("GET", "POST"),
    "allow_headers": ("*",),
    "allow_credentials": False,
}


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    """FastAPI would send back what was sent."""
    return JSONResponse({"detail": "The request can't be read."}, 422)
