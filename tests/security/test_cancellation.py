"""Long work on a real server: it ends when its user leaves, or takes too long, and others go on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
from PIL import Image
from served import PATIENT, SERVE, Served, served

from vggviz.app import api, handlers
from vggviz.app.inputs import UploadedPicture
from vggviz.app.networks import Networks
from vggviz.app.session import Session
from vggviz.app.tabs import all_stages, all_types, faithful
from vggviz.weights import assets_folder

KOALA = assets_folder() / "examples" / "koala.jpg"
API = "/gradio_api"
MOST = 10  # seconds that the server grants one request
IDLE = 0.05  # of a core: an idle server's own polling takes less
SOON = 3.0  # seconds of computing that may still be spent on work that nobody waits for
LONG: dict[str, tuple[str, list[Any]]] = {
    # 736 passes of one function, of which Gradio ends none; and 306 passes at full size.
    "scorecam": ("explain", ["everyday", "cbam", "all", "scorecam", ""]),
    "curves": ("faithfulness", ["random", "cbam", "block5", "gradcam", ""]),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One request at a time: who does not end keeps all others waiting."""
    env = {"VGGVIZ_AT_ONCE": "1", "VGGVIZ_SECONDS": str(MOST)}
    with served(tmp_path_factory.mktemp("leaving"), SERVE, env) as server:
        said = "error"
        while said != "complete":  # on a busy machine loading takes longer than one request may
            with asked(server, "explain", ["random", "cbam", "block5", "gradcam", ""]) as lines:
                said = answer(lines)[0]
        yield server
        assert "Traceback" not in server.printed(), server.printed()


@contextmanager
def asked(server: Served, name: str, values: list[Any]) -> Iterator[Iterator[str]]:
    """A request of the API; whoever leaves the block has hung up."""
    with httpx.Client(base_url=server.address, **PATIENT) as client:
        files = {"files": ("koala.jpg", KOALA.read_bytes())}
        (path,) = client.post(f"{API}/upload", files=files).raise_for_status().json()
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        joined = client.post(f"{API}/call/{name}", json={"data": [picture, *values]})
        event = joined.raise_for_status().json()["event_id"]
        with client.stream("GET", f"{API}/call/{name}/{event}") as stream:
            yield stream.iter_lines()


def answer(lines: Iterator[str]) -> tuple[str, Any]:
    """'complete' or 'error', and what came with it."""
    for line in lines:
        if line in ("event: complete", "event: error"):
            return line.removeprefix("event: "), json.loads(next(lines).removeprefix("data: "))
    return "cut off", None


def cpu(server: Served) -> float:
    """Seconds of computing time that the server has had."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def rest(server: Served) -> float:
    """Wait until the server does next to nothing; what it has computed until then, in seconds."""
    while True:
        before = cpu(server)
        time.sleep(1)
        if cpu(server) - before < IDLE:
            return before


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("work", LONG)
def test_work_ends_when_its_user_leaves_and_the_next_one_is_answered(
    server: Served, work: str
) -> None:
    name, values = LONG[work]
    before = cpu(server)
    with asked(server, name, values):
        while cpu(server) - before < 1:
            time.sleep(0.05)
    left = cpu(server)
    with asked(server, "explain", ["everyday", "se", "block5", "gradcam", ""]) as lines:
        said, (told,) = answer(lines)
    assert (said, told["target"]["label"]) == ("complete", "koala")
    assert rest(server) - left < SOON


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_work_of_a_page_that_is_closed_ends(server: Served, browser: Any) -> None:
    """A generator, on a network of full size, in a real browser."""
    page = browser.new_context().new_page()
    page.goto(f"{server.address}/?weights=random&tab=faithful")
    page.locator("#answer .badge").wait_for(state="attached", timeout=120_000)  # it is untrained
    page.locator("#faithful progress").wait_for()
    for _ in range(10):
        page.locator("#faithful-start").click()  # again where the link's result came after it
        before = cpu(server)
        time.sleep(2)
        if cpu(server) - before > 0.1:
            break
    page.wait_for_function("document.querySelector('#faithful progress').value > 0")
    page.context.close()
    left = cpu(server)
    assert rest(server) - left < SOON


def test_work_that_takes_too_long_is_ended_with_a_sentence(server: Served) -> None:
    start = time.perf_counter()
    with asked(server, *LONG["curves"]) as lines:
        said, told = answer(lines)
    assert said == "error"
    assert told["error"].startswith(f"This took more than {MOST} seconds and was stopped")
    assert time.perf_counter() - start > MOST
    left = cpu(server)
    assert rest(server) - left < SOON


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_a_server_that_nobody_uses_computes_next_to_nothing(server: Served) -> None:
    rest(server)
    before = cpu(server)
    time.sleep(5)
    assert (cpu(server) - before) / 5 < IDLE


def test_nobody_passes_the_queue_by(server: Served) -> None:
    """The routes for direct calls know no limit of how many run at once, and a high rate."""
    for route in ("run", "api"):
        body = {"data": [None, "everyday", "cbam", "all", "gradcam", ""]}
        refused = httpx.post(f"{server.address}{API}/{route}/explain", json=body, **PATIENT)
        assert refused.status_code == 404
        assert "join the queue" in refused.text


def test_all_long_work_knows_its_limit(networks: Networks) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    picture = UploadedPicture(Image.fromarray(coarse).resize((120, 90)), "a.png")
    request = ("small", "cbam", "", "", "block4")
    result = handlers.explain(Session(networks), picture, *request)[1]
    missing = (result.request, "block4", "scorecam")
    session, chinese = Session(networks, result), Session(networks, result, lang="zh")
    methods = ("scorecam",)
    works: dict[str, Callable[[], Any]] = {
        "more": lambda: handlers.add_method(session, missing),
        "grid": lambda: all_stages.grid(session, methods, progress=lambda _: None),
        "download": lambda: all_stages.download(session, methods),
        "types": lambda: list(all_types.run(session, "block4")),
        "curves": lambda: list(faithful.run(session, "block4")),
        "api": lambda: api.explain(session, picture, "small", "cbam", methods="scorecam"),
        "api curves": lambda: api.faithfulness(session, picture, "small", "cbam"),
        "Chinese": lambda: list(faithful.run(chinese, "block4")),
    }
    assert not list(faithful.run(session, None))  # type: ignore[arg-type]  # too early
    networks.seconds = 0
    for name, work in works.items():
        with pytest.raises(gr.Error) as ended:
            work()
        sentence = "已超过 0 秒" if name == "Chinese" else "This took more than 0 seconds"
        assert ended.value.message.startswith(sentence), name
        assert not ended.value.print_exception
