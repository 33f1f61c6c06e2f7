"""The password comes first: nothing of a request is read or answered before it."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vggviz.gradio_private import API_TEXTS, LOGIN, OPEN, has_password, is_logged_in

__all__ = ["LoginGate", "password_check"]


def password_check(password: str) -> Callable[[str, str], Any]:
    """Gradio's check of a name and a password: any name, and a second's pause after a wrong one."""

    async def check(name: str, attempt: str) -> bool:
        right = hmac.compare_digest(attempt.encode(), password.encode())
        if not right:
            await asyncio.sleep(1)
        return right

    return check


class LoginGate:
    """ASGI middleware around a Gradio app with a password: without a login's cookie only the login
    page can be read and a password be sent; all else answers 401, before its body is read."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not has_password(scope) or is_logged_in(scope):
            await self.app(scope, receive, send)
            return
        path, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"]
        if method in ("GET", "HEAD") and path == "/":
            plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
            await self.app({**scope, "headers": plain}, receive, _without_api_texts(send))
        elif (method in ("GET", "HEAD") and OPEN.fullmatch(path)) or (
            method == "POST" and LOGIN.fullmatch(path)
        ):
            await self.app(scope, receive, send)
        else:
            detail = {"error": "Not authenticated", "auth_message": None}  # Gradio's own words
            await JSONResponse({"detail": detail}, 401)(scope, receive, send)


def _without_api_texts(send: Send) -> Send:
    """A `send` that leaves the description of the API out of the login page's HTML."""
    start: Message = {}
    body = b""

    async def send_later(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            start = message
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            html = API_TEXTS.sub(b"</script>", body)
            headers = MutableHeaders(scope=start)
            if "content-length" in headers and html:
                headers["content-length"] = str(len(html))
            await send(start)
            await send({"type": "http.response.body", "body": html})

    return send_later
