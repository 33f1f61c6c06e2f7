"""Security headers of every answer: load nothing from elsewhere, guess no types."""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vggviz.gradio_private import FILES

__all__ = ["SecurityHeaders"]

# Gradio's page has scripts and styles in its HTML, and makes functions of the strings that
# `js_on_load` sends, so that both 'unsafe-…' are needed.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_FILE = "default-src 'none'; sandbox"  # of what a visitor uploaded, opened as a page of its own
_SAME_SITE_NONE = re.compile(r"(?i)samesite=none")


class SecurityHeaders:
    """ASGI middleware that adds nosniff, Referrer-Policy and Content-Security-Policy.

    `frames` are the origins that may show the page in a frame ('*': any). Gradio's cookie for
    https is sent with requests from everywhere (SameSite=None). A frame in a foreign page needs
    that, and gets it in a jar of its own (Partitioned); else it becomes SameSite=Lax.
    """

    def __init__(self, app: ASGIApp, frames: tuple[str, ...] = ()) -> None:
        self.app = app
        self.frames = frames
        self.policy = " ".join((_POLICY, *frames))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_file = FILES in scope["path"]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                headers["Content-Security-Policy"] = _FILE if is_file else self.policy
                message["headers"] = [
                    (name, self._cookie(value) if name == b"set-cookie" else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _cookie(self, value: bytes) -> bytes:
        replacement = "SameSite=None; Partitioned" if self.frames else "SameSite=Lax"
        return _SAME_SITE_NONE.sub(replacement, value.decode("latin-1")).encode("latin-1")
