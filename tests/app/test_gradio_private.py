"""The names and routes of Gradio that vggviz needs beyond the documented ones.

A failure here lists what a new release of Gradio lacks, changes or adds; `gradio_private.py` is the
one file to adapt.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import pytest

import vggviz
from vggviz.gradio_private import (
    API_TEXTS,
    CACHEABLE,
    CLOSED,
    FILES,
    HEARTBEAT,
    OPEN,
    SHORT,
    request_kind,
)

T = TypeVar("T")
PACKAGE = Path(vggviz.__file__).parent
PRIVATE = PACKAGE / "gradio_private.py"

# Modules' names; of functions, the parameters that we pass or take.
NAMES: dict[str, tuple[str, ...] | None] = {
    "gradio.block_function.BlockFunction": None,
    "gradio.blocks.Blocks.launch": ("_app", "auth", "max_threads", "mcp_server", "ssr_mode"),
    "gradio.blocks.Blocks.preprocess_data": ("block_fn", "inputs", "state", "explicit_call"),
    "gradio.blocks.Blocks.process_api": ("block_fn", "inputs", "state", "event_data"),
    "gradio.component_meta.ComponentMeta.__new__": ("name", "bases", "attrs"),
    "gradio.context.LocalContext.blocks": None,
    "gradio.context.LocalContext.event_id": None,
    "gradio.data_classes.ImageData": ("path", "url"),
    "gradio.data_classes.JsonData": ("root",),
    "gradio.http_server.LOCALHOST_NAME": None,
    "gradio.queueing.Event": None,
    "gradio.queueing.Queue.__len__": (),
    "gradio.queueing.Queue.clean_events": ("session_hash",),
    "gradio.route_utils.CustomCORSMiddleware": None,
    "gradio.route_utils.FnIndexInferError": None,
    "gradio.routes.App": ("kwargs",),
    "gradio.routes.App.add_middleware": ("middleware_class", "args", "kwargs"),
    "gradio.routes.ORJSONResponse": None,
    "gradio.state_holder.SessionState.__setitem__": ("key", "value"),
    "gradio.state_holder.SessionState._update_config": ("key",),
    "gradio.state_holder.SessionState._update_value_in_config": ("key", "value"),
    "gradio.state_holder.StateHolder.__getitem__": ("session_id",),
    "gradio.utils.get_upload_folder": (),
    "gradio.utils.is_in_or_equal": ("path_1", "path_2"),
    "gradio.utils.is_static_file": ("file_path",),
}

# All routes of Gradio 6.31's application, but for a slash at the end and for MCP's. A new one is
# open to everyone: decide whether `CLOSED` must hold it, and `RateLimit` or `SHORT` know it.
OPENED = """
/ /api/{api_name} /app_id /assets/{path:path} /call/v2/{api_name} /call/{api_name}
/call/{api_name}/{event_id} /call/v2/{api_name}/{event_id} /cancel /config
/custom_component/{id}/{environment}/{type}/{file_name} /favicon.ico /file/{path:path}
/file={path_or_url:path} /heartbeat/{session_hash} /info /login /login_check /logout /manifest.json
/openapi.json /pwa_icon /pwa_icon/{size} /queue/data /queue/join /queue/status /reset /robots.txt
/run/{api_name} /startup-events /static/{path:path} /svelte/{path:path} /theme.css /upload
/upload_progress /user
"""
REFUSED = """
/component_server /deep_link /dev/reload /monitoring /monitoring/summary /monitoring/{key}
/process_recording /proxy={url_path:path} /run-history/buckets /run-history/connect
/run-history/records /run-history/records/{endpoint}/{record_id}/assets/{asset_id} /runs
/stream/{event_id} /stream/{event_id}/close
/stream/{session_hash}/{run}/{component_id}/playlist-file
/stream/{session_hash}/{run}/{component_id}/playlist.m3u8
/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext} /token /undo-vibe-edit /vibe-code
/vibe-edit /vibe-starter-queries
"""


def in_loop(function: Callable[[], T]) -> T:
    """Call a function in an event loop: elsewhere Gradio makes loops that it never closes."""

    async def call() -> T:
        return function()

    return asyncio.run(call())


def page() -> gr.Blocks:
    with gr.Blocks() as demo:
        state, button = gr.State("s"), gr.Button()
        button.click(lambda value: value, state, state)
    return demo.queue()


def problem(name: str, parameters: tuple[str, ...] | None) -> str:
    """The name and what is wrong with it, '' where nothing is."""
    module, _, rest = name.partition(".")
    found: Any = import_module(module)
    for part in rest.split("."):
        module = f"{module}.{part}"
        if not hasattr(found, part):
            try:
                found = import_module(module)
            except ModuleNotFoundError:
                return f"{name} is missing"
        else:
            found = getattr(found, part)
    if parameters is None:
        return ""
    known = set(inspect.signature(found).parameters)
    lacking = [one for one in parameters if one not in known]
    return f"{name} has no parameter {', '.join(lacking)}" if lacking else ""


def test_every_name_is_there() -> None:
    found = [problem(name, parameters) for name, parameters in NAMES.items()]
    assert list(filter(None, found)) == []


def test_a_name_that_is_missing_or_changed_is_told() -> None:
    assert problem("gradio.queueing.Queue.gone", None) == "gradio.queueing.Queue.gone is missing"
    assert problem("gradio.gone.Queue", None) == "gradio.gone.Queue is missing"
    told = problem("gradio.utils.is_in_or_equal", ("path_1", "path_3"))
    assert told == "gradio.utils.is_in_or_equal has no parameter path_3"


def test_every_imported_name_is_listed() -> None:
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(PRIVATE.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("gradio.")
        for alias in node.names
    }
    assert len(imported) > 10
    listed = [*NAMES]
    assert [name for name in imported if not any(one.startswith(name) for one in listed)] == []


def test_every_attribute_is_there() -> None:
    from gradio.routes import App
    from gradio.state_holder import SessionState, StateHolder

    demo, app = in_loop(page), in_loop(App)
    queue, session = demo._queue, SessionState(demo)
    event = inspect.getsource(import_module("gradio.queueing").Event.__init__)
    mcp = Path(str(gr.__file__)).with_name("mcp.py").read_text("utf-8")
    there = {
        "Blocks": {"_queue", "default_config", "mcp_error", "mcp_server_obj"} <= set(dir(demo)),
        "Queue": {
            "pending_messages_per_session",
            "pending_event_ids_session",
            "event_ids_to_events",
            "sleep_when_free",
        }
        <= set(vars(queue)),
        "the header of MCP's calls": '"x-gradio-user": "mcp"' in mcp,
        "Event.alive": "self.alive = True" in event,
        "App": {"auth", "tokens", "cookie_id", "state_holder", "user_middleware"} <= set(vars(app)),
        "StateHolder.session_data": "session_data" in vars(StateHolder()),
        "EventData._data": gr.EventData(None, {"index": 1})._data == {"index": 1},
        "SessionState": set(vars(session))
        == {
            "blocks_config",
            "config_values",
            "state_data",
            "_state_ttl",
            "is_closed",
            "STATE_TTL_WHEN_CLOSED",
        },
        "State.time_to_live": hasattr(gr.State(), "time_to_live"),
    }
    assert [name for name, right in there.items() if not right] == []


def test_no_route_is_new_and_none_is_gone() -> None:
    from gradio.routes import App

    app = in_loop(lambda: App.create_app(page()))
    nested = [getattr(route, "original_router", None) for route in app.routes]  # as FastAPI has it
    routes = [*app.routes, *(one for router in nested if router for one in router.routes)]
    paths = [str(route.path) for route in routes if hasattr(route, "path")]
    found = {path.removeprefix("/gradio_api").rstrip("/") or "/" for path in paths}
    opened, refused = set(OPENED.split()), set(REFUSED.split())
    assert found == opened | refused
    for path in paths:
        is_refused = path.removeprefix("/gradio_api").rstrip("/") in refused
        assert bool(CLOSED.search(path)) == is_refused, path
    for path in ("login", "logout", "gradio_api/reset", "gradio_api/cancel"):
        assert f"/{path}" in paths
        assert SHORT.fullmatch(f"/{path}")
    assert set(CACHEABLE) <= set(paths)
    assert all(any(part in path for path in paths) for part in (FILES, HEARTBEAT))
    assert all(OPEN.fullmatch(path) for path in ("/", "/theme.css", "/gradio_api/login_check"))
    kinds = {path: request_kind(path) for path in paths if request_kind(path)}
    assert set(kinds.values()) == {"work", "quick", "upload", "cancel", "login"}


def test_the_login_pages_html_holds_the_description_of_the_api() -> None:
    folder = Path(str(gr.__file__)).parent / "templates" / "frontend"
    html = (folder / "index.html").read_text("utf-8")
    assert API_TEXTS.search(html.encode()), "window.gradio_api_info stands elsewhere now"


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_no_other_file_needs_private_names(file: Path) -> None:
    if file == PRIVATE:
        return
    tree, found = ast.parse(file.read_text("utf-8")), list[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "gradio":
            found += [name.name for name in node.names if not hasattr(gr, name.name)]
            found += [str(node.module)] if node.module not in ("gradio", "gradio.themes") else []
        elif isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.startswith("gradio.")]
        elif isinstance(node, ast.Attribute) and file.parts[-2] in ("app", "server", "tabs"):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            if private and owner not in ("self", "cls"):
                found.append(ast.unparse(node))
    named_tuples = ("._replace", "._fields", "._asdict")
    assert [name for name in found if not name.endswith(named_tuples)] == []
