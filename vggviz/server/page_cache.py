"""The page's HTML and configuration, made once instead of for every visitor.

Both are half a megabyte, the same for all, and take 10 to 20 ms to make: in a burst of visitors,
uploads and questions waited behind them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["PageCache"]

KEPT = 16  # answers, of at most 600 kB: one for each way in which the page is reached
_PATHS = ("/", "/config", "/gradio_api/info")
_VARY = ("host", "x-forwarded-host", "x-forwarded-proto", "accept-encoding")


class PageCache:
    """ASGI middleware around a Gradio app whose pages never change. With a password nothing is
    kept, since the configuration then holds the visitor's name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._kept: OrderedDict[Sequence[str | None], list[Message]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_same_for_all(scope):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = (scope["path"], scope["scheme"], *(headers.get(name) for name in _VARY))
        if key in self._kept:
            self._kept.move_to_end(key)
            for message in self._kept[key]:
                await send({**message, "headers": list(message.get("headers", ()))})
            return
        messages: list[Message] = []

        async def sending(message: Message) -> None:
            messages.append({**message, "headers": list(message.get("headers", ()))})
            await send(message)

        await self.app(scope, receive, sending)
        if messages and messages[0].get("status") == 200 and not messages[-1].get("more_body"):
            self._kept[key] = messages
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)


def _is_same_for_all(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and scope["path"] in _PATHS
        and scope["app"].auth is None
        and not any(name in scope["query_string"] for name in (b"deep_link", b"page", b"endpoint"))
    )
