"""The page as a server: health, metrics, limits, a password, and a stop that loses no work."""

from __future__ import annotations

import asyncio
import hmac
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from types import FrameType
from typing import Any
from urllib.request import getproxies_environment

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import vggviz
from vggviz.app import LAUNCH, QUEUE, build
from vggviz.explainer import Explainer
from vggviz.platform.malloc import give_back_until
from vggviz.server import fd_limit as sockets
from vggviz.server.logs import start_logs
from vggviz.server.metrics import Meters
from vggviz.server.preload import offered
from vggviz.server.queue_eviction import Unread
from vggviz.server.rate_limit import Traffic, Watch
from vggviz.server.request_limits import Door
from vggviz.server.settings import Settings, SettingsError, variable

__all__ = ["page", "run"]

QUIET = 1.0  # seconds without a request, after which no one is between asking and fetching


def page(settings: Settings) -> gr.Blocks:
    """The page with its queue and networks.

    Raises SettingsError for weights that do not exist, and for what needs a missing extra.
    """
    if settings.mcp and find_spec("mcp") is None:
        raise SettingsError(f"{variable('mcp')} needs mcp: pip install 'vggviz[mcp]'")
    sockets.allow()
    start_logs(settings.log)
    load, at_once = _engine(settings)
    networks, notice = offered(settings.preload, load, settings.seconds or math.inf)
    demo = build(networks)
    if notice:
        with demo:
            demo.load(lambda: gr.Warning(notice), api_visibility="private")
    limits = {"max_size": settings.places, "default_concurrency_limit": at_once}
    demo.queue(**{**QUEUE, **limits})
    return demo


def run(
    demo: gr.Blocks, settings: Settings, ready: Callable[[int], None] = lambda port: None
) -> None:
    """Serve the page until SIGTERM or SIGINT, then finish what runs and return.

    `ready` is told the port. From the first signal on new work is refused and /healthz answers
    503; running work has `settings.grace` seconds; a second signal ends at once. Raises
    SettingsError where it can't listen.
    """
    traffic = Traffic(settings.rate)
    try:
        traffic.meters = Meters(lambda: len(demo._queue), lambda: traffic.under_way)
    except ModuleNotFoundError:  # then there are none, and /metrics says what to install
        traffic.meters = None
    host = settings.host.strip("[]")
    _directly(host)
    try:
        demo.launch(
            **{**LAUNCH, "state_session_capacity": settings.sessions},
            server_name=f"[{host}]" if ":" in host else host or None,
            server_port=settings.port or None,
            auth=_gate(settings.password) if settings.password else None,
            mcp_server=bool(settings.mcp),
            auth_message="Any name will do. The password is the one that you were told.",
            app_kwargs={
                "routes": _routes(demo, traffic),
                "middleware": [
                    Middleware(Watch, traffic=traffic),
                    Middleware(Door, unread=Unread(demo._queue)),
                ],
            },
            prevent_thread_lock=True,
        )
    except OSError as error:
        where = f"{host or 'this machine'}, port {settings.port or '7860 up'}"
        raise SettingsError(
            f"the page can't be served at {where}: the port is taken, or the address is not one of "
            "this machine's"
        ) from error
    stop = threading.Event()

    def told(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, told)  # after the launch: with server-side rendering it sets its own
    ready(int(demo.server_port))
    give_back_until(stop)
    traffic.stopping = True
    _drain(traffic, lambda: len(demo._queue), settings.grace)
    demo.close(verbose=False)
    if demo.node_process is not None:  # the proxy of server-side rendering
        demo.node_process.terminate()
    if settings.engine == "ray":
        from vggviz import replicas

        replicas.stop()


def _engine(settings: Settings) -> tuple[Callable[[str, str], Explainer], int]:
    """What loads a network, and how many may run at once: with Ray, enough to fill its batches.

    Raises SettingsError where Ray is not to be had.
    """
    if settings.engine == "local":
        return Explainer.load, settings.at_once
    try:
        from vggviz import replicas

        load = replicas.start(settings.replicas, settings.cluster)
        return load, max(settings.at_once, settings.replicas * replicas.BATCH)
    except ModuleNotFoundError as error:
        raise SettingsError("the engine ray needs ray: pip install 'vggviz[ray]'") from error
    except (RuntimeError, ConnectionError) as error:
        raise SettingsError(f"the engine ray can't start: {error}") from error


def _directly(host: str) -> None:
    """Gradio asks its own server whether it is there: no proxy knows the way to that one."""
    if told := getproxies_environment():
        near = (told.get("no", ""), "127.0.0.1", "localhost", "::1", host)
        os.environ["no_proxy"] = ",".join(filter(None, near))


def _drain(traffic: Traffic, waiting: Callable[[], int], grace: float) -> None:
    """Wait until nothing waits or runs, for QUIET seconds on end, but no longer than `grace`."""
    busy = begin = time.monotonic()
    while (now := time.monotonic()) - busy < QUIET and now - begin < grace:
        if traffic.under_way or waiting():
            busy = now
        time.sleep(0.05)


def _gate(password: str) -> Callable[[str, str], Any]:
    """Gradio's check of a name and a password: any name, and a second's pause after a wrong one."""

    async def opens(name: str, given: str) -> bool:
        right = hmac.compare_digest(given.encode(), password.encode())
        if not right:
            await asyncio.sleep(1)
        return right

    return opens


def _routes(demo: gr.Blocks, traffic: Traffic) -> list[Route]:
    """/healthz for whoever restarts or balances servers, /metrics for Prometheus."""

    async def health(request: Request) -> Response:
        told = {
            "status": "stopping" if traffic.stopping else "ok",
            "version": vggviz.__version__,
            "waiting": len(demo._queue),
        }
        return JSONResponse(told, 503 if traffic.stopping else 200)

    async def metrics(request: Request) -> Response:
        if traffic.meters is None:
            sentence = "metrics need prometheus_client: pip install 'vggviz[serve]'\n"
            return Response(sentence, 501, media_type="text/plain")
        content, kind = traffic.meters.read()
        return Response(content, media_type=kind)

    return [Route("/healthz", health), Route("/metrics", metrics)]
