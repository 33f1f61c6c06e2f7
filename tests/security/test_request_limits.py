"""How much a request may hold: by bytes, by structure, and by what is left on the disk."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from vggviz.gradio_private import Queue, queue_of
from vggviz.server.queue_eviction import QueueEviction
from vggviz.server.request_limits import SMALL, RequestLimits
from vggviz.server.structure import DEPTH, ELEMENTS, Structure
from vggviz.server.uploads import BLOCKS, SHARE, WINDOW, UploadQuota, client_address

MB = 10**6


def fits(text: bytes, size: int = 1 << 16) -> bool:
    """Whether a text that comes in chunks of so many bytes is let through."""
    structure = Structure()
    return all(structure.fits(text[at : at + size]) for at in range(0, len(text), size))


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[]," * ELEMENTS + b"[]]",
        b"[" + b"{}," * ELEMENTS + b"{}]",
        b"[" + b"0," * ELEMENTS + b"0]",
        b"[" + b'"",' * ELEMENTS + b"0]",
        b'""' * (ELEMENTS + 1),  # no JSON, but it takes as long to see that
        b"[" * (DEPTH + 1),
        b'{"a":' * (DEPTH + 1),
        json.dumps([[] for _ in range(ELEMENTS)]).encode("utf-16"),
        json.dumps(["\u2200", *([] for _ in range(ELEMENTS))], ensure_ascii=False).encode("utf-16"),
        b'["\\\\",' + b"[]," * ELEMENTS + b"0]",  # a backslash and the end of the string
        b'["' + b"\\\\" * 70_000 + b'",' + b"[]," * ELEMENTS + b"0]",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_too_much_structure_is_seen_in_chunks_of_any_size(text: bytes) -> None:
    for size in (len(text), 1 << 16, 101):
        assert not fits(text, size)


def test_what_is_inside_of_strings_is_no_structure() -> None:
    picture = "data:image/png;base64," + "A" * 10_000_000
    for value in (picture, "[" * 10**6, '"[\\' * 10**5, "\\" * 10**5):
        text = json.dumps({"data": [value, [], {"a": None}]}).encode()
        for size in (len(text), 1 << 16):
            assert fits(text, size)


def test_it_counts_as_a_parser_does() -> None:
    """Random values with awkward strings, split anywhere: the depth and elements of the text."""
    draw = random.Random(0)

    def value(depth: int) -> Any:
        kind = draw.randrange(6 if depth else 3)
        if kind == 0:
            return draw.random()
        if kind in (1, 2):
            return "".join(draw.choice('a"\\[]{},:\u2200\n') for _ in range(draw.randrange(9)))
        if kind in (3, 4):
            return [value(depth - 1) for _ in range(draw.randrange(5))]
        return {str(value(0)): value(depth - 1) for _ in range(draw.randrange(5))}

    def count(found: Any) -> int:
        """Strings, arrays, objects and commas."""
        if isinstance(found, str):
            return 1
        if isinstance(found, list):
            return 1 + max(0, len(found) - 1) + sum(map(count, found))
        if isinstance(found, dict):
            return 1 + max(0, len(found) - 1) + sum(1 + count(one) for one in found.values())
        return 0

    for _ in range(300):
        drawn = value(6)
        text = json.dumps(drawn, ensure_ascii=draw.random() < 0.5).encode()
        structure, at = Structure(), 0
        while at < len(text):
            step = draw.randrange(1, 5)
            assert structure.fits(text[at : at + step])
            at += step
        assert structure._elements == count(drawn), text
        assert structure._depth == 0


@pytest.fixture
def limits() -> Iterator[tuple[TestClient, UploadQuota]]:
    """An app that reads every body, with room for 8 MB of uploads."""

    async def read(request: Request) -> Response:
        return JSONResponse(len(await request.body()))

    async def make() -> Queue:  # in a loop: elsewhere Gradio makes loops that it never closes
        return queue_of(gr.Blocks())

    queue = asyncio.run(make())
    quota, eviction = UploadQuota(8 * MB), QueueEviction(queue)
    middleware = [Middleware(RequestLimits, queue=queue, eviction=eviction, quota=quota)]
    routes = [Route("/{path:path}", read, methods=["GET", "POST"])]
    with TestClient(Starlette(routes=routes, middleware=middleware)) as web:
        yield web, quota


def test_a_body_is_bounded_by_what_it_is_for(limits: tuple[TestClient, UploadQuota]) -> None:
    web, _ = limits
    for path in ("/login", "/login/", "/gradio_api/reset", "/gradio_api/cancel/"):
        assert web.post(path, content=b"x" * SMALL).status_code == 200
        assert web.post(path, content=b"x" * (SMALL + 1)).status_code == 413
        chunks = (b"x" * 100 for _ in range(SMALL))
        assert web.post(path, content=chunks).status_code == 413
    assert web.post("/gradio_api/queue/join", content=b"x" * MB).status_code == 200
    refused = web.post("/gradio_api/queue/join", content=b"[" + b"[]," * 10**6 + b"[]]")
    assert (refused.status_code, "[]" in refused.text) == (400, False)


def test_routes_that_give_the_cookie_away_or_develop_the_app_are_closed(
    limits: tuple[TestClient, UploadQuota],
) -> None:
    web, _ = limits
    for path in ("token", "token/", "dev/reload", "vibe-edit", "undo-vibe-edit", "run-history/x"):
        assert web.get(f"/gradio_api/{path}").status_code == 404, path
    for path in ("mcp/sse", "mcp/messages/", "profiling/traces"):
        assert web.post(f"/gradio_api/{path}").status_code == 404, path


def test_one_address_can_not_take_all_the_room(limits: tuple[TestClient, UploadQuota]) -> None:
    web, quota = limits
    sent = [web.post("/gradio_api/upload", content=b"x" * MB).status_code for _ in range(4)]
    assert sent == [200, 200, 429, 429]
    assert web.post("/gradio_api/mcp/", content=b"x" * MB).status_code == 429
    assert web.post("/gradio_api/queue/join", content=b"x").status_code == 200
    for number in range(6):  # others fill the rest
        quota.add(f"192.0.2.{number}", MB, time.monotonic())
    assert web.post("/gradio_api/upload", content=b"x").status_code == 507


def test_many_small_files_count_as_the_blocks_that_they_take(
    limits: tuple[TestClient, UploadQuota],
) -> None:
    web, _ = limits
    files = [("files", (f"{number}.png", b"x")) for number in range(300)]
    assert 300 * BLOCKS > 8 * MB // SHARE
    assert web.post("/gradio_api/upload", files=files).status_code == 429


def test_what_was_sent_an_hour_ago_counts_no_more() -> None:
    quota = UploadQuota(100)
    quota.add("a", 20, 0.0)
    quota.add("a", 6, 600.0)
    assert quota.exceeds_share("a", 601.0)
    assert not quota.exceeds_share("b", 601.0)
    assert not quota.is_full(601.0)
    quota.add("b", 80, 660.0)
    assert quota.is_full(661.0)
    later = WINDOW * 60.0
    assert quota.is_full(later - 1)
    assert not quota.is_full(later)
    assert not quota.exceeds_share("a", later)
    assert not UploadQuota(0).is_full(0.0)


def test_a_network_of_ipv6_is_one_client() -> None:
    def client(host: str) -> str:
        return client_address({"client": (host, 1)})

    assert client("2001:db8:1:2::7") == client("2001:db8:1:2:ffff::1") != client("2001:db8:1:3::7")
    assert client("::ffff:192.0.2.7") == client("192.0.2.7") == "192.0.2.7"
    assert client("fe80::1%eth0")
    assert client("") == client_address({}) == client_address({"client": None}) == ""
