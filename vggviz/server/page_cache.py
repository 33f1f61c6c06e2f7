"""A cache of the page's HTML and configuration, which are the same for every visitor.

Both are half a megabyte and take 10 to 20 ms of the event loop to make; in a burst of visitors,
uploads and events would wait behind them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vggviz.gradio_private import CACHEABLE, has_password

__all__ = ["PageCache"]

ANSWERS = 16  # of at most 600 kB: one for each way in which the page is reached
_VARY = ("host", "x-forwarded-host", "x-forwarded-proto", "accept-encoding")
_QUERY = (b"deep_link", b"page", b"endpoint")


class PageCache:
    """ASGI middleware around a Gradio app whose pages never change. With a password nothing is
    cached, since the configuration then holds the visitor's name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._answers: OrderedDict[Sequence[str | None], list[Message]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cacheable = scope["type"] == "http" and (
            (scope["method"], scope["path"]) in {("GET", path) for path in CACHEABLE}
            and not has_password(scope)
            and not any(name in scope["query_string"] for name in _QUERY)
        )
        if not cacheable:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = (scope["path"], scope["scheme"], *(headers.get(name) for name in _VARY))
        messages: list[Message] = []

        async def send_copy(message: Message) -> None:
            """Send a message whose headers others may add to."""
            messages.append({**message, "headers": list(message.get("headers", ()))})
            await send(message)

        if key in self._answers:
            self._answers.move_to_end(key)
            for message in self._answers[key]:
                await send({**message, "headers": list(message["headers"])})
            return
        await self.app(scope, receive, send_copy)
        if messages and messages[0].get("status") == 200 and not messages[-1].get("more_body"):
            self._answers[key] = messages
            if len(self._answers) > ANSWERS:
                self._answers.popitem(last=False)
