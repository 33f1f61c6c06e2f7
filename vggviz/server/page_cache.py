"""A cache of the page's HTML, configuration, scripts and styles, the same for every visitor.

A first visit asks for some 80 of them. The page and its configuration are half a megabyte and take
10 to 20 ms of the event loop to make; each script, read from disk by a thread and compressed anew,
takes 2 ms. In a burst of visitors, uploads and events would wait behind them.
"""

from __future__ import annotations

from cachetools import LRUCache
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vggviz.gradio_private import CACHEABLE, STATIC, has_password

__all__ = ["PageCache"]

CAPACITY = 32 << 20  # bytes; a first visit's are 1.3 MB, compressed
_VARY = ("host", "x-forwarded-host", "x-forwarded-proto")
_QUERY = (b"deep_link", b"page", b"endpoint")
_PARTIAL = ("range", "if-none-match", "if-modified-since", "if-range", "origin")


class PageCache:
    """ASGI middleware around a Gradio app whose pages never change. With a password the page is not
    cached, since its configuration then holds the visitor's name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._answers: LRUCache[tuple[str | bytes | None, ...], list[Message]] = LRUCache(
            CAPACITY, _size
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if key is None:
            await self.app(scope, receive, send)
            return
        if (answer := self._answers.get(key)) is not None:
            for message in answer:
                await send(_copy(message))
            return
        messages: list[Message] = []

        async def send_copy(message: Message) -> None:
            messages.append(_copy(message))
            await send(message)

        await self.app(scope, receive, send_copy)
        whole = messages and not messages[-1].get("more_body")
        if whole and messages[0].get("status") == 200 and _size(messages) < CAPACITY:
            self._answers[key] = messages


def _key(scope: Scope) -> tuple[str | bytes | None, ...] | None:
    """What an answer depends on; None for one that is not kept."""
    path, query, headers = scope["path"], scope["query_string"], Headers(scope=scope)
    encoding = headers.get("accept-encoding")
    if path.startswith(STATIC) and not any(name in headers for name in _PARTIAL):
        return path, query, encoding
    if path not in CACHEABLE or has_password(scope) or any(name in query for name in _QUERY):
        return None
    return path, scope["scheme"], encoding, *(headers.get(name) for name in _VARY)


def _copy(message: Message) -> Message:
    """A message whose headers others may add to."""
    return {**message, "headers": list(message.get("headers", ()))}


def _size(messages: list[Message]) -> int:
    """Bytes of the bodies, and 1 kB for each message."""
    return sum(1024 + len(message.get("body", b"")) for message in messages)
