"""A foreign web site in a real browser: it reads nothing of the page and sends nothing to it, but
may show it in a frame where the host says so."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from conftest import WAIT
from page import ANSWER, EXAMPLES, MAPS, changes, upload
from served import SERVE, SPACE, Served, served


@dataclass
class Site:
    """A site on another host name of this machine: `html` is its only page."""

    html: str = ""
    server: http.server.ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(site.html.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Its origin: a browser takes localhost and 127.0.0.1 for two sites."""
        return f"http://localhost:{self.server.server_port}"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


ATTACKS = """
<iframe name="sink"></iframe>
<form id="form" method="post" enctype="multipart/form-data" target="sink"
 action="PAGE/gradio_api/upload"><input name="files" value="x"></form>
<script>
const read = async (path, options) => {
  try { return await (await fetch("PAGE" + path, options)).text(); } catch { return "refused"; }
};
const json = {method: "POST", body: '{"data": [], "session_hash": "evil", "fn_index": 0}'};
(async () => {
  window.found = [
    await read("/config", {credentials: "include"}),
    await read("/gradio_api/token", {credentials: "include"}),
    await read("/gradio_api/queue/join", {...json, headers: {"Content-Type": "application/json"}}),
    await read("/gradio_api/queue/join", {...json, mode: "no-cors"}),
    await read("/gradio_api/cancel", {...json, mode: "no-cors"}),
  ];
  document.getElementById("form").submit();
})();
</script>
"""


def test_a_foreign_page_reads_nothing_and_sends_nothing(app: str, browser: Any, site: Site) -> None:
    site.html = ATTACKS.replace("PAGE", app)
    context = browser.new_context()
    page = context.new_page()
    answers: dict[tuple[str, str], int] = {}
    page.on(
        "response",
        lambda one: answers.update({(one.request.method, urlsplit(one.url).path): one.status}),
    )
    with page.expect_response("**/upload"):
        page.goto(site.address)
    assert page.evaluate("window.found") == ["refused", "refused", "refused", "", ""]
    posted = {path: status for (method, path), status in answers.items() if method == "POST"}
    assert posted == {
        "/gradio_api/queue/join": 403,
        "/gradio_api/cancel": 403,
        "/gradio_api/upload": 403,
    }
    context.close()


def test_a_foreign_page_can_link_to_the_page_but_not_frame_it(
    app: str, browser: Any, site: Site
) -> None:
    site.html = f'<iframe src="{app}/"></iframe><a href="{app}/">the page</a>'
    context = browser.new_context()
    context.set_default_timeout(WAIT)
    page = context.new_page()
    refusals: list[str] = []
    page.on("console", lambda message: refusals.append(message.text))
    page.goto(site.address)
    page.wait_for_function("true")
    assert any("frame-ancestors" in text for text in refusals), refusals
    page.locator("a").click()
    page.locator(f"{MAPS} img").first.wait_for()
    context.close()


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Served]:
    """The page as on a Space, for a stand-in of huggingface.co."""
    env = {**SPACE, "VGGVIZ_FRAMES": site.address}
    with served(tmp_path_factory.mktemp("space"), SERVE, env) as server:
        yield server


def test_in_the_frame_of_a_space_the_page_works(space: Served, browser: Any, site: Site) -> None:
    site.html = f'<iframe src="{space.address}/?__theme=light" width="1300" height="900"></iframe>'
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, locale="en-GB")
    context.set_default_timeout(WAIT)
    page = context.new_page()
    refused: list[str] = []
    page.on(
        "console",
        lambda message: refused.append(message.text) if "Security Policy" in message.text else None,
    )
    page.on(
        "response", lambda one: refused.append(one.url) if one.status in (401, 403, 421) else None
    )
    page.goto(site.address)
    (frame,) = page.main_frame.child_frames
    frame.locator(f"{MAPS} img").nth(1).wait_for()
    frame.locator("#picture input[type=file]").wait_for(state="attached")
    changes(frame, ANSWER, lambda: upload(frame, EXAMPLES / "koala.jpg"))
    assert frame.locator("#answer .name").first.text_content() == "koala"
    assert not refused
    context.close()


def test_a_space_is_framed_by_hugging_face_and_no_one_else(
    tmp_path: Path, space: Served, site: Site
) -> None:
    from vggviz.server.settings import Settings

    assert Settings.from_environ(SPACE).frames == "https://huggingface.co https://*.hf.space"
    assert Settings.from_environ({}).frames == ""
    policy = httpx.get(space.address).headers["Content-Security-Policy"]
    assert policy.endswith(f"frame-ancestors 'self' {site.address}")
