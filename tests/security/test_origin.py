"""Which web sites may use the page, by the headers that browsers send."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from served import SERVE, served
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from vggviz.server.headers import SecurityHeaders
from vggviz.server.origin import SameOrigin

JOIN = "/gradio_api/queue/join"
SPACE = "someone-vggviz.hf.space"


def client(bound: str = "0.0.0.0", **settings: tuple[str, ...]) -> TestClient:
    """An app that answers 200 to all that is let through."""

    async def answer(request: Request) -> Response:
        return PlainTextResponse("")

    routes = [Route("/{path:path}", answer, methods=["GET", "HEAD", "POST", "PUT", "OPTIONS"])]
    middleware = [Middleware(SameOrigin, bound=bound, **settings)]
    return TestClient(Starlette(routes=routes, middleware=middleware))


def browser(site: str, mode: str, dest: str, **more: str) -> dict[str, str]:
    """Headers of the Fetch Metadata standard."""
    fetch = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    return {**fetch, **{name.replace("_", "-"): value for name, value in more.items()}}


SAME = browser("same-origin", "cors", "empty")
FORM = browser("cross-site", "navigate", "document", Origin="https://evil.example")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", JOIN, {}, 200),  # a program
        ("POST", JOIN, {"Origin": "https://page.example"}, 200),  # an older browser, own page
        ("POST", JOIN, {"Origin": "http://page.example:80"}, 200),
        ("POST", JOIN, {"Origin": "https://page.example:8443"}, 403),
        ("POST", JOIN, {"Origin": "https://evil.example"}, 403),
        ("POST", JOIN, {"Origin": "https://page.example.evil.example"}, 403),
        ("POST", JOIN, {"Origin": "null"}, 403),  # a sandboxed frame, a file
        ("POST", JOIN, {"Origin": "http://["}, 403),
        ("POST", JOIN, SAME, 200),
        ("POST", JOIN, {**SAME, "Origin": "https://behind.a.proxy"}, 200),  # Host is the proxy's
        ("POST", JOIN, browser("none", "cors", "empty"), 200),
        ("POST", JOIN, browser("cross-site", "cors", "empty"), 403),
        ("POST", JOIN, browser("same-site", "cors", "empty"), 403),  # another port or subdomain
        ("POST", "/gradio_api/upload", FORM, 403),
        ("POST", "/login", FORM, 403),
        ("PUT", "/", browser("cross-site", "navigate", "document"), 403),
        ("GET", "/config", browser("cross-site", "no-cors", "script"), 403),
        ("GET", "/gradio_api/file=x.png", browser("cross-site", "no-cors", "image"), 403),
        ("GET", "/gradio_api/mcp/", browser("cross-site", "navigate", "document"), 403),
        ("GET", "/logout", browser("cross-site", "navigate", "document"), 403),
        ("GET", "/", browser("cross-site", "navigate", "document"), 200),  # a link
        ("GET", "/", browser("cross-site", "navigate", "iframe"), 200),  # see frame-ancestors
        (
            "OPTIONS",
            JOIN,
            {**browser("cross-site", "cors", "empty"), "Origin": "https://e.co"},
            403,
        ),
    ],
)
def test_other_stages_can_link_to_the_page_and_nothing_else(
    method: str, path: str, headers: Mapping[str, str], status: int
) -> None:
    found = client().request(method, path, headers={"Host": "page.example", **headers})
    assert found.status_code == status
    assert "evil" not in found.text


def test_the_frame_of_a_space_and_all_that_it_asks_are_let_through() -> None:
    """As Chromium sends them from https://huggingface.co/spaces/someone/vggviz."""
    visitor, own = client(), {"Host": SPACE, "Referer": f"https://{SPACE}/"}
    frame = browser("cross-site", "navigate", "iframe", Referer="https://huggingface.co/")
    assert visitor.get("/?__theme=light", headers={"Host": SPACE, **frame}).status_code == 200
    for path, mode, dest in (
        ("/theme.css", "no-cors", "style"),
        ("/assets/index.js", "cors", "script"),
        ("/config", "cors", "empty"),
        ("/gradio_api/heartbeat/x", "cors", "empty"),
        ("/gradio_api/file=x.png", "no-cors", "image"),
    ):
        sent = {**own, **browser("same-origin", mode, dest)}
        assert visitor.get(path, headers=sent).status_code == 200, path
    for path in ("/gradio_api/upload", JOIN):
        sent = {**own, **SAME, "Origin": f"https://{SPACE}"}
        assert visitor.post(path, headers=sent).status_code == 200, path


def test_an_origin_that_is_configured_may_call() -> None:
    visitor = client(origins=("https://friend.example",))
    for origin, status in (("https://friend.example", 200), ("https://friend.example.org", 403)):
        sent = {"Host": "page.example", **browser("cross-site", "cors", "empty"), "Origin": origin}
        assert visitor.post(JOIN, headers=sent).status_code == status
        assert visitor.options(JOIN, headers=sent).status_code == status


@pytest.mark.parametrize(
    ("bound", "hosts", "right", "wrong"),
    [
        (
            "127.0.0.1",
            (),
            ("127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860", "127.9.9.9"),
            ("evil.example", "localhost.evil.example", "0.0.0.0:7860", "192.0.2.7", "[::1", ""),
        ),
        ("::1", (), ("[::1]:7860", "localhost:7860"), ("evil.example:7860",)),
        (
            "0.0.0.0",
            ("desk", "desk.local"),
            ("desk:7860", "Desk.local", "192.0.2.7:7860", "[2001:db8::7]", "localhost:7860"),
            ("evil.example:7860", "desk.evil.example"),
        ),
        ("127.0.0.1", ("page.example",), ("page.example", "localhost"), ("192.0.2.7", "x.example")),
        ("0.0.0.0", (), ("anything.example", "192.0.2.7"), ()),  # a name that no one told us
    ],
)
def test_a_foreign_name_that_points_here_gets_no_answer(
    bound: str, hosts: tuple[str, ...], right: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    """As DNS rebinding makes them: the browser takes the page for the name's own."""
    visitor = client(bound, hosts=hosts)
    assert [visitor.get("/", headers={"Host": host}).status_code for host in right] == [200] * len(
        right
    )
    for host in wrong:
        assert visitor.get("/", headers={"Host": host, **SAME}).status_code == 421, host


@pytest.mark.parametrize(
    ("frames", "cookie"),
    [((), b"SameSite=Lax"), (("https://huggingface.co",), b"SameSite=None; Partitioned")],
)
def test_every_answer_has_the_headers_and_cookies_stay_at_home(
    frames: tuple[str, ...], cookie: bytes
) -> None:
    async def answer(request: Request) -> Response:
        found = PlainTextResponse("", status_code=404)
        found.set_cookie("access-token-x", "t", httponly=True, samesite="none", secure=True)
        return found

    middleware = [Middleware(SecurityHeaders, frames=frames)]
    app = Starlette(routes=[Route("/{path:path}", answer)], middleware=middleware)
    headers = TestClient(app).get("/x").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["frame-ancestors"].split() == ["'self'", *frames]
    assert policy["object-src"] == "'none'"
    assert headers["Set-Cookie"].endswith(f"{cookie.decode()}; Secure")
    uploaded = TestClient(app).get("/gradio_api/file=/tmp/x.html").headers
    assert uploaded["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_the_scripts_of_a_configured_origin_read_answers_without_cookies(tmp_path: Path) -> None:
    env = {"VGGVIZ_ORIGINS": "https://friend.example"}
    with served(tmp_path, SERVE, env) as server:
        for origin, allowed in (("https://friend.example", True), ("https://evil.example", False)):
            sent = {**browser("cross-site", "cors", "empty"), "Origin": origin}
            asks = {**sent, "Access-Control-Request-Method": "POST"}
            url = f"{server.address}/gradio_api/queue/join"
            for found in (httpx.options(url, headers=asks), httpx.post(url, headers=sent)):
                told = found.headers.get("Access-Control-Allow-Origin")
                assert told == (origin if allowed else None)
                assert "Access-Control-Allow-Credentials" not in found.headers
        own = httpx.get(server.address, headers={**SAME, "Origin": server.address})
        assert own.status_code == 200
        assert "Access-Control-Allow-Origin" not in own.headers
