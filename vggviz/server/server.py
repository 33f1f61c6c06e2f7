"""The page as a server: health, metrics, limits, a password, and a stop that loses no work."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from urllib.request import getproxies

import gradio as gr
from gradio.http_server import LOCALHOST_NAME
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import vggviz
from vggviz.app import LAUNCH, QUEUE, build
from vggviz.attention.named import load_attention
from vggviz.explainer import Explainer
from vggviz.platform.malloc import give_back_until
from vggviz.server import fd_limit as sockets
from vggviz.server.application import Application
from vggviz.server.login import checks
from vggviz.server.logs import start_logs
from vggviz.server.metrics import Meters
from vggviz.server.origin import is_loopback
from vggviz.server.preload import offered
from vggviz.server.queue_eviction import Unread
from vggviz.server.rate_limit import Traffic
from vggviz.server.settings import Settings, SettingsError, variable

__all__ = ["page", "run"]

QUIET = 1.0  # seconds without a request, after which no one is between asking and fetching


def page(settings: Settings) -> gr.Blocks:
    """The page with its queue and networks.

    Raises SettingsError for weights that do not exist, and for what needs a missing extra;
    AttentionError for attention that can't be had.
    """
    if settings.mcp and find_spec("mcp") is None:
        raise SettingsError(f"{variable('mcp')} needs mcp: pip install 'vggviz[mcp]'")
    sockets.allow()
    start_logs(settings.log)
    for name in _named(settings.attention):
        load_attention(name)
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
    _bypass_proxy(host)
    # uvicorn would believe whoever connects from loopback what address a visitor has.
    os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    bound = host or LOCALHOST_NAME
    application = Application(settings, bound, traffic, Unread(demo._queue), _routes(demo, traffic))
    try:
        demo.launch(
            **{**LAUNCH, "state_session_capacity": settings.sessions},
            server_name=f"[{host}]" if ":" in host else host or None,
            server_port=settings.port or None,
            auth=checks(settings.password) if settings.password else None,
            auth_message="Any name will do. The password is the one that you were told.",
            mcp_server=bool(settings.mcp),
            max_threads=64 + settings.at_once,  # of their own: uploads need not wait for networks
            ssr_mode=False,  # Node would answer for the page, without any of these checks
            _app=application,
            prevent_thread_lock=True,
        )
    except OSError as error:
        where = f"{host or 'this machine'}, port {settings.port or '7860 up'}"
        raise SettingsError(
            f"the page can't be served at {where}: the port is taken, or the address is not one of "
            "this machine's"
        ) from error
    if settings.mcp and is_loopback(bound):
        _check_mcp(demo, settings)
    stop = threading.Event()

    def told(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, told)
    ready(int(demo.server_port))
    give_back_until(stop)
    traffic.stopping = True
    _drain(traffic, lambda: len(demo._queue), settings.grace)
    demo.close(verbose=False)
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

        names = _named(settings.attention)
        load = replicas.start(settings.replicas, settings.cluster, attention=names)
        return load, max(settings.at_once, settings.replicas * replicas.BATCH)
    except ModuleNotFoundError as error:
        raise SettingsError("the engine ray needs ray: pip install 'vggviz[ray]'") from error
    except (RuntimeError, ConnectionError) as error:
        raise SettingsError(f"the engine ray can't start: {error}") from error


def _named(attention: str) -> list[str]:
    """The names in `Settings.attention`, files by whole paths: replicas run in other folders."""
    names = [name.strip() for name in attention.split(",") if name.strip()]
    return [str(Path(name).absolute()) if ".py:" in name else name for name in names]


def _bypass_proxy(host: str) -> None:
    """Have this process reach its own server directly, which no proxy knows the way to.

    Where proxies are set in the system (Windows' registry, macOS's settings) and not in variables,
    they are written into variables: one that excepts hosts would hide all that the system says.
    """
    if proxies := getproxies():
        near = (proxies.pop("no", ""), "127.0.0.1", "localhost", "::1", host)
        for scheme, address in proxies.items():
            os.environ.setdefault(f"{scheme}_proxy", address)
        os.environ["no_proxy"] = ",".join(filter(None, near))


def _check_mcp(demo: gr.Blocks, settings: Settings) -> None:
    """Switch MCP's own check of Host and Origin on, which needs to know all names of the server;
    elsewhere `origin` alone checks them."""
    from mcp.server.transport_security import TransportSecuritySettings

    names = ("127.0.0.1", "localhost", "[::1]", *settings.hosts.split())
    origins = [f"{scheme}://{name}" for scheme in ("http", "https") for name in names]
    assert demo.mcp_server_obj
    demo.mcp_server_obj.manager.security_settings = TransportSecuritySettings(
        allowed_hosts=[*names, *(f"{name}:*" for name in names)],
        allowed_origins=[
            *origins,
            *(f"{origin}:*" for origin in origins),
            *settings.origins.split(),
        ],
    )


def _drain(traffic: Traffic, waiting: Callable[[], int], grace: float) -> None:
    """Wait until nothing waits or runs, for QUIET seconds on end, but no longer than `grace`."""
    busy = begin = time.monotonic()
    while (now := time.monotonic()) - busy < QUIET and now - begin < grace:
        if traffic.under_way or waiting():
            busy = now
        time.sleep(0.05)


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
