"""The password comes first: nothing of a request is read, and nothing told, before it."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable
from typing import Any

from gradio.routes import App
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LoginGate", "checks"]

# What the login page needs, what watches the server, and what Gradio asks itself at the start.
_OPEN = re.compile(
    r"/|/(static|assets|svelte)/.*|/(theme\.css|manifest\.json|favicon\.ico|robots\.txt|healthz|"
    r"metrics|logout|gradio_api/(theme\.css|startup-events|login_check))/?"
)
_LOGIN = re.compile(r"/login/?")
_API_TEXTS = re.compile(rb"window\.gradio_api_info = .*?;?</script>", re.DOTALL)


def checks(password: str) -> Callable[[str, str], Any]:
    """Gradio's check of a name and a password: any name, and a second's pause after a wrong one."""

    async def check(name: str, given: str) -> bool:
        right = hmac.compare_digest(given.encode(), password.encode())
        if not right:
            await asyncio.sleep(1)
        return right

    return check


class LoginGate:
    """ASGI middleware around a Gradio app with a password: who is not logged in can read the login
    page and send a password; every other request answers 401, before its body is read."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["app"].auth is None or _is_logged_in(scope):
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        read = scope["method"] in ("GET", "HEAD") and _OPEN.fullmatch(path)
        if read and path == "/":
            plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
            await self.app({**scope, "headers": plain}, receive, _without_api_texts(send))
        elif read or (scope["method"] == "POST" and _LOGIN.fullmatch(path)):
            await self.app(scope, receive, send)
        else:
            detail = {"error": "Not authenticated", "auth_message": None}  # as Gradio says it
            await JSONResponse({"detail": detail}, 401)(scope, receive, send)


def _is_logged_in(scope: Scope) -> bool:
    app: App = scope["app"]
    cookies = HTTPConnection(scope).cookies
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(cookies.get(name) in app.tokens for name in names)


def _without_api_texts(send: Send) -> Send:
    """Gradio's HTML describes the API even on its login page; this leaves that out."""
    start: Message = {}
    body = b""

    async def sending(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            start = message
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            html = _API_TEXTS.sub(b"</script>", body)
            headers = MutableHeaders(scope=start)
            if "content-length" in headers and html:
                headers["content-length"] = str(len(html))
            await send(start)
            await send({"type": "http.response.body", "body": html})

    return sending
