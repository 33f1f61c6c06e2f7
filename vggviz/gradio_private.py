"""All that vggviz needs of Gradio 6.31 beyond its documented interface.

No other file imports from Gradio's modules or reads its private attributes, and
`tests/app/test_gradio_private.py` lists the names and routes below: it tells which of them a new
release lacks, changes or adds.
"""

from __future__ import annotations

import re
from abc import ABCMeta
from collections.abc import Sequence
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from gradio.block_function import BlockFunction as BlockFunction
from gradio.component_meta import ComponentMeta
from gradio.context import LocalContext
from gradio.data_classes import ImageData as ImageData
from gradio.data_classes import JsonData as JsonData
from gradio.http_server import LOCALHOST_NAME as LOCALHOST_NAME
from gradio.queueing import Event as Event
from gradio.queueing import Queue as Queue
from gradio.route_utils import CustomCORSMiddleware, FnIndexInferError
from gradio.routes import App, ORJSONResponse
from gradio.state_holder import SessionState as SessionState
from gradio.state_holder import StateHolder
from gradio.utils import get_upload_folder as get_upload_folder
from gradio.utils import is_in_or_equal, is_static_file
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Scope

POLL = 0.01
"""Seconds between two looks into an empty queue. Gradio's own millisecond keeps a server that
nobody uses at 5% of a core; this is 2%."""

API = "/gradio_api"
FILES = "/gradio_api/file"
MCP = "/gradio_api/mcp"
HEARTBEAT = "/heartbeat/"  # a request that lasts as long as a page is open

CLOSED = re.compile(
    r"/gradio_api/(proxy=|file[=/]https?:|deep_link|component_server|process_recording|stream/|token|"
    r"dev/|(undo-)?vibe|run-history|runs|profiling|mcp/(sse|messages))|/monitoring"
)
"""Routes that the page has no use for. They fetch from addresses, write files that no one deletes,
run functions of components, give away the cookie, or belong to Gradio's development; MCP's old
transport does not check who asks."""

OPEN = re.compile(
    r"/|/(static|assets|svelte)/.*|/(theme\.css|manifest\.json|favicon\.ico|robots\.txt|healthz|"
    r"metrics|logout|gradio_api/(theme\.css|startup-events|login_check))/?"
)
"""Routes without a password: for the login page, for monitoring, and for Gradio's own start."""

LOGIN = re.compile(r"/login/?")
SHORT = re.compile(r".*/(login|logout|gradio_api/(reset|cancel))/?")
"""Routes whose requests are a few bytes."""

CACHEABLE = ("/", "/config", "/gradio_api/info")
"""Routes with the same answer for everyone, where there is no password."""

STATIC = ("/assets/", "/static/", "/theme.css")
"""Where the paths of Gradio's scripts, styles and fonts begin, which never change."""

API_TEXTS = re.compile(rb"window\.gradio_api_info = .*?;?</script>", re.DOTALL)
"""The description of the API in the page's HTML, which the login page holds as well."""


def request_kind(path: str) -> str | None:
    """What a POST to `path` is: 'work' for the queue (calls over MCP soon are), 'quick' for an
    event outside of it, 'upload', 'login', 'cancel', or None for anything else.

    By the quick routes Gradio runs only events that the page itself keeps out of the queue: for
    any other it answers 404, whatever the request says, since `QUEUE` has `api_open` False.
    """
    if path.endswith("/queue/join") or f"{API}/call/" in path or MCP in path:
        return "work"
    if f"{API}/run/" in path or f"{API}/api/" in path:
        return "quick"
    if path.endswith("/upload"):
        return "upload"
    if path.rstrip("/").endswith(("/cancel", "/reset")):
        return "cancel"
    return "login" if path.rstrip("/").endswith("/login") else None


INVALID: tuple[type[Exception], ...] = (ValueError, TypeError, LookupError, AttributeError)
"""What Gradio raises before an event begins, where a request is not what its page sends."""
INVALID += (RuntimeError, OverflowError, FnIndexInferError)


class NoStub(ComponentMeta):
    """Gradio's metaclass, but without the .pyi file that it writes beside a component's source."""

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        return ABCMeta.__new__(cls, name, bases, attrs)


class _Session(SessionState):
    """A visitor's state without `config_values`: a copy of the whole page for Gradio's deep links.

    Making that copy takes 13 ms of the event loop for each visitor; `CLOSED` holds deep links.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values = {}
        self.state_data = {}
        self._state_ttl = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600  # seconds

    def __setitem__(self, key: int, value: Any) -> None:
        block = self.blocks_config.blocks.get(key)
        if isinstance(block, gr.State):
            self._state_ttl[key] = (block.time_to_live, datetime.now())
            self.state_data[key] = value
        else:
            self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class _Sessions(StateHolder):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)


class Server(App):
    """Gradio's ASGI application behind `middleware`, outermost first, and with more `routes`.

    Gradio's own CORS middleware is left out: it lets any origin read answers, with the cookies of
    whoever visits that origin.
    """

    def __init__(self, middleware: Sequence[Middleware], routes: Sequence[Route]) -> None:
        super().__init__(
            routes=list(routes),
            middleware=list(middleware),
            default_response_class=ORJSONResponse,
            openapi_url=None,
            exception_handlers={RequestValidationError: _invalid_request},
        )
        self.state_holder = _Sessions()

    def add_middleware(self, middleware_class: Any, *args: Any, **kwargs: Any) -> None:
        """Add Gradio's middleware innermost."""
        if middleware_class is not CustomCORSMiddleware:
            self.user_middleware.append(Middleware(middleware_class, *args, **kwargs))


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    """An answer without the request's own content, which FastAPI's has."""
    return JSONResponse({"detail": "The request can't be read."}, 422)


def launch(demo: gr.Blocks, server: Server, **options: Any) -> None:
    """Start `demo` in `server`, in a thread of its own. Raises OSError where it can't listen."""
    queue_of(demo).sleep_when_free = POLL
    demo.launch(**options, _app=server, prevent_thread_lock=True)


def mcp_error(demo: gr.Blocks) -> str:
    """Why a launched page has no MCP server although one was asked for; '' where it has one."""
    return "" if demo.mcp_server_obj else str(demo.mcp_error)


def check_mcp_hosts(demo: gr.Blocks, hosts: Sequence[str], origins: Sequence[str]) -> None:
    """Switch on MCP's own check of Host and Origin: loopback names and `hosts`, with any port, and
    `origins`."""
    from mcp.server.transport_security import TransportSecuritySettings

    names = ("127.0.0.1", "localhost", "[::1]", *hosts)
    own = [f"{scheme}://{name}" for scheme in ("http", "https") for name in names]
    assert demo.mcp_server_obj
    demo.mcp_server_obj.manager.security_settings = TransportSecuritySettings(
        allowed_hosts=[*names, *(f"{name}:*" for name in names)],
        allowed_origins=[*own, *(f"{origin}:*" for origin in own), *origins],
    )


def has_password(scope: Scope) -> bool:
    """Whether the application of a request asks for a password."""
    return scope["app"].auth is not None


def is_logged_in(scope: Scope) -> bool:
    """Whether a request has a cookie that a login gave."""
    app: App = scope["app"]
    cookies = HTTPConnection(scope).cookies
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(cookies.get(name) in app.tokens for name in names)


def queue_of(demo: gr.Blocks) -> Queue:
    """The queue of a page; its length is the number of waiting events."""
    return demo._queue


def current_event() -> Event | None:
    """The queue's event of the request that is being answered, None outside of one. Its `alive`
    becomes False when the client closes its stream of answers."""
    page, key = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    return page._queue.event_ids_to_events.get(key) if page is not None and key else None


def oldest_messages(queue: Queue) -> dict[str, Any]:
    """The oldest message that waits to be fetched, by session."""
    waiting = queue.pending_messages_per_session
    return {key: messages._queue[0] for key, messages in waiting.items() if not messages.empty()}


async def evict(queue: Queue, session: str) -> None:
    """Drop all of a session, as if it had left: unfetched messages, waiting and running events."""
    await queue.clean_events(session_hash=session)
    queue.pending_messages_per_session.pop(session, None)
    queue.pending_event_ids_session.pop(session, None)


def is_mcp_call(request: gr.Request) -> bool:
    """Whether Gradio's MCP server passed a request on."""
    return bool(request.headers.get("x-gradio-user") == "mcp")


def event_data(event: object) -> Any:
    """What a browser sent with an event: any JSON; None where there is none."""
    return getattr(event, "_data", None)


def is_known_file(path: str) -> bool:
    """Whether a path is an upload's or that of a file that the page shows."""
    return is_in_or_equal(path, get_upload_folder()) or is_static_file(Path(path))
