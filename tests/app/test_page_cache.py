"""Which answers the server keeps in memory, and for whom."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vggviz.server import page_cache
from vggviz.server.page_cache import PageCache


class Origin:
    """An application that counts what it is asked: bodies name path, query and encoding."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        routes = [Route("/{path:path}", self.answer)]
        app = Starlette(routes=routes, middleware=[Middleware(PageCache)])
        app.auth = None  # type: ignore[attr-defined]  # as a Gradio app without a password
        transport = httpx.ASGITransport(app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://page")

    async def answer(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        encoding = request.headers.get("accept-encoding", "")
        status = 404 if "missing" in request.url.path else 200
        headers = {"x-number": str(len(self.asked))}
        return Response(f"{request.url} {encoding}", status, headers)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(path, headers={"accept-encoding": "br", **names})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/", "/config", "/assets/a.js", "/theme.css?v=1"])
async def test_an_answer_is_computed_once(origin: Origin, path: str) -> None:
    first, second = await origin.get(path), await origin.get(path)
    assert first.content == second.content == f"http://page{path} br".encode()
    assert first.headers == second.headers
    assert len(origin.asked) == 1


@pytest.mark.anyio
async def test_what_an_answer_depends_on_is_told_apart(origin: Origin) -> None:
    bodies = [
        (await origin.get(path, accept_encoding=encoding)).text
        for path in ("/assets/a.js", "/assets/b.js", "/assets/a.js?v=2", "/config")
        for encoding in ("br", "gzip")
    ]
    assert len(set(bodies)) == len(origin.asked) == 8
    assert (await origin.get("/config", host="other")).text == "http://other/config br"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [{"range": "bytes=0-1"}, {"if_none_match": '"a"'}, {"if_modified_since": "now"}],
)
async def test_parts_and_checks_of_age_are_left_to_the_application(
    origin: Origin, headers: dict[str, str]
) -> None:
    for _ in range(2):
        await origin.get("/assets/a.js", **headers)
    await origin.get("/assets/a.js")
    assert len(origin.asked) == 3


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/assets/missing.js", "/gradio_api/file=a.png", "/?page=b"])
async def test_failures_files_and_other_pages_are_not_kept(origin: Origin, path: str) -> None:
    for _ in range(2):
        await origin.get(path)
    assert len(origin.asked) == 2


@pytest.mark.anyio
async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "CAPACITY", 8 << 10)
    origin = Origin()  # an answer counts as 2 kB and its body
    for name in "abcda":
        await origin.get(f"/assets/{name}.js")
    assert len(origin.asked) == 5  # the first had gone when it was asked for again
    await origin.get("/assets/d.js")
    assert len(origin.asked) == 5
    monkeypatch.setattr(page_cache, "CAPACITY", 1 << 10)
    small = Origin()
    for _ in range(2):
        assert (await small.get("/assets/a.js")).status_code == 200
    assert len(small.asked) == 2
