"""The page as a server: health, metrics, limits, a password, and a stop that loses no work."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any
from urllib.request import getproxies

import gradio as gr
import torch
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import vggviz
from vggviz.app import LAUNCH, QUEUE, build
from vggviz.attention.named import load_attention
from vggviz.explainer import Explainer
from vggviz.gradio_private import (
    LOCALHOST_NAME,
    Queue,
    check_mcp_hosts,
    launch,
    mcp_error,
    queue_of,
)
from vggviz.platform.device import choose_device
from vggviz.platform.malloc import trim_until
from vggviz.server.application import application
from vggviz.server.fd_limit import raise_fd_limit
from vggviz.server.login import password_check
from vggviz.server.logs import start_logs
from vggviz.server.metrics import Meters
from vggviz.server.origin import is_loopback
from vggviz.server.preload import Load, load_networks
from vggviz.server.rate_limit import Traffic
from vggviz.server.settings import Settings, SettingsError, variable
from vggviz.types import InputError

__all__ = ["page", "run"]

IDLE = 1.0  # seconds without a request, after which no client is between sending and fetching


def page(
    settings: Settings, named: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> gr.Blocks:
    """The page with its queue and networks, the `named` ones first (see `app.networks.Networks`).

    Raises SettingsError for weights that do not exist, and for what needs a missing extra;
    AttentionError and NetworkError for attention and networks that can't be had.
    """
    raise_fd_limit()
    start_logs(settings.log)
    for name in _named(settings.attention):
        load_attention(name)
    try:
        device = choose_device(settings.device)
    except InputError as error:
        raise SettingsError(str(error)) from error
    load, concurrency = _engine(settings, device)
    seconds = settings.seconds or math.inf
    networks, notice = load_networks(settings.preload, load, seconds, device, named)
    demo = build(networks)
    if notice:
        with demo:
            demo.load(lambda: gr.Warning(notice), api_visibility="private")
    limits = {"max_size": settings.places, "default_concurrency_limit": concurrency}
    demo.queue(**{**QUEUE, **limits})
    return demo


def run(
    demo: gr.Blocks, settings: Settings, ready: Callable[[int], None] = lambda port: None
) -> None:
    """Serve the page until SIGTERM or SIGINT, then finish running work and return.

    `ready` is called with the port. From the first signal on new work is refused and /healthz
    answers 503; running work has `settings.grace` seconds; a second signal ends at once. Raises
    SettingsError where it can't listen, and where MCP is asked for and the package mcp is missing
    or of a version that Gradio can't use.
    """
    traffic, queue = Traffic(settings.rate), queue_of(demo)
    if find_spec("prometheus_client"):
        traffic.meters = Meters(lambda: len(queue), lambda: traffic.under_way)
    host = settings.host.strip("[]")
    _bypass_proxy(host)
    # uvicorn would believe any X-Forwarded-For that comes from loopback.
    os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    bound = host or LOCALHOST_NAME
    try:
        launch(
            demo,
            application(settings, bound, traffic, queue, _routes(queue, traffic)),
            **{**LAUNCH, "state_session_capacity": settings.sessions},
            server_name=f"[{host}]" if ":" in host else host or None,
            server_port=settings.port or None,
            auth=password_check(settings.password) if settings.password else None,
            auth_message="Any name will do. The password is the one that you were told.",
            mcp_server=bool(settings.mcp),
            max_threads=64 + settings.at_once,  # uploads need not wait for networks
            ssr_mode=False,  # Node would answer for the page, without any of these checks
        )
    except OSError as error:
        where = f"{host or 'this machine'}, port {settings.port or '7860 up'}"
        raise SettingsError(
            f"the page can't be served at {where}: the port is taken, or the address is not one of "
            "this machine's"
        ) from error
    if settings.mcp and (problem := mcp_error(demo)):
        demo.close(verbose=False)
        raise SettingsError(f"{variable('mcp')} needs mcp: pip install 'vggviz[mcp]' ({problem})")
    if settings.mcp and is_loopback(bound):  # elsewhere not all names are known: see `origin`
        check_mcp_hosts(demo, settings.hosts.split(), settings.origins.split())
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    ready(int(demo.server_port))
    trim_until(stop)
    traffic.stopping = True
    _drain(traffic, queue, settings.grace)
    demo.close(verbose=False)
    if settings.engine == "ray":
        from vggviz import replicas

        replicas.stop()


def _engine(settings: Settings, device: torch.device) -> tuple[Load, int]:
    """The function that loads a network, and how many may run at once: with Ray, enough to fill
    its batches. Raises SettingsError without Ray."""
    if settings.engine == "local":
        return partial(Explainer.load, device=device), settings.at_once
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
    """Have this process reach its own server without a proxy, which does not know the way to it.

    Proxies of the system's settings (Windows' registry, macOS) are written into variables: a
    variable that excepts hosts would hide them all.
    """
    if proxies := getproxies():
        near = (proxies.pop("no", ""), "127.0.0.1", "localhost", "::1", host)
        for scheme, address in proxies.items():
            os.environ.setdefault(f"{scheme}_proxy", address)
        os.environ["no_proxy"] = ",".join(filter(None, near))


def _drain(traffic: Traffic, queue: Queue, grace: float) -> None:
    """Wait until nothing waits or runs, for IDLE seconds on end, but no longer than `grace`."""
    busy = start = time.monotonic()
    while (now := time.monotonic()) - busy < IDLE and now - start < grace:
        if traffic.under_way or len(queue):
            busy = now
        time.sleep(0.05)


def _routes(queue: Queue, traffic: Traffic) -> list[Route]:
    """/healthz for supervisors and load balancers, /metrics for Prometheus."""

    async def health(request: Request) -> Response:
        content = {
            "status": "stopping" if traffic.stopping else "ok",
            "version": vggviz.__version__,
            "waiting": len(queue),
        }
        return JSONResponse(content, 503 if traffic.stopping else 200)

    async def metrics(request: Request) -> Response:
        if traffic.meters is None:
            sentence = "metrics need prometheus_client: pip install 'vggviz[serve]'\n"
            return Response(sentence, 501, media_type="text/plain")
        content, kind = traffic.meters.read()
        return Response(content, media_type=kind)

    return [Route("/healthz", health), Route("/metrics", metrics)]
