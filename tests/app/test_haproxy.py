"""Two processes of the page behind the repository's HAProxy configuration."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from gradio_client import Client, handle_file
from served import PATIENT, ROOT, SERVE, Served, free_port, served
from student import Answer, students

from vggviz.weights import assets_folder

CONFIG = ROOT / "deploy" / "haproxy.cfg"
HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
EXAMPLES = assets_folder() / "examples"

pytestmark = [
    pytest.mark.skipif(not HAPROXY, reason="no haproxy: install Debian's package"),
    pytest.mark.slow,
]
pytest.importorskip("prometheus_client", reason="needs the extra 'serve'")


@dataclass(frozen=True)
class Balanced:
    """Two servers and the address in front of them."""

    address: str
    servers: tuple[Served, Served]

    def seen(self, route: str) -> list[int]:
        """How often each server has answered a route."""
        found = []
        for server in self.servers:
            text = httpx.get(f"{server.address}/metrics", **PATIENT).text
            wanted = f'vggviz_requests_total{{route="{route}",'
            lines = [line for line in text.splitlines() if line.startswith(wanted)]
            found.append(sum(int(float(line.rsplit(" ", 1)[1])) for line in lines))
        return found


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    folder = tmp_path_factory.mktemp("balanced")
    with ExitStack() as stack:
        one = stack.enter_context(served(folder, SERVE, until=""))  # both start at once
        two = stack.enter_context(served(folder, SERVE))
        until = time.monotonic() + 120
        while "Running on" not in one.printed():
            assert time.monotonic() < until, one.printed()
            time.sleep(0.1)
        port = free_port()
        env = {
            **os.environ,
            "VGGVIZ_LISTEN": f"127.0.0.1:{port}",
            "VGGVIZ_ONE": f"127.0.0.1:{one.port}",
            "VGGVIZ_TWO": f"127.0.0.1:{two.port}",
        }
        proxy = subprocess.Popen([str(HAPROXY), "-f", str(CONFIG)], env=env)
        stack.callback(proxy.wait)
        stack.callback(proxy.terminate)
        address = f"http://127.0.0.1:{port}"
        while not _answers(address):
            assert time.monotonic() < until
            time.sleep(0.05)
        yield Balanced(address, (one, two))


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", **PATIENT).status_code == 200
    except httpx.ConnectError:
        return False


def test_a_class_is_shared_out_and_everyone_stays_where_he_was(balanced: Balanced) -> None:
    async def lesson() -> list[Answer]:
        async with students(balanced.address, 12) as people:
            for one in people:
                await one.open()
            cookies = [dict(one.client.cookies) for one in people]
            asked = [one.explain(EXAMPLES / "koala.jpg") for one in people]
            first = await asyncio.gather(*asked)
            second = await asyncio.gather(*(one.explain(EXAMPLES / "hog.jpg") for one in people))
            assert [dict(one.client.cookies) for one in people] == cookies
            return [*first, *second]

    answers = asyncio.run(lesson())
    assert [answer.said for answer in answers] == ["ok"] * 24
    assert len({answer.fingerprint() for answer in answers[:12]}) == 1
    assert len({answer.fingerprint() for answer in answers[12:]}) == 1
    assert all(answer.whole() for answer in answers)
    joins = balanced.seen("/gradio_api/queue/join")
    assert sum(joins) == 24
    assert min(joins) >= 8  # twelve each, but for who came while a check was on its way
    assert joins == balanced.seen("/gradio_api/queue/data")  # asked and answered by the same one


def test_assets_are_fetched_once_and_metrics_stay_private(balanced: Balanced) -> None:
    page = httpx.get(balanced.address, **PATIENT).text
    start = page.index("/assets/index-")
    path = page[start : page.index('"', start)]
    route = "/assets/{path:path}"
    before = sum(balanced.seen(route))
    got = [httpx.get(f"{balanced.address}{path}", **PATIENT) for _ in range(20)]
    assert {answer.status_code for answer in got} == {200}
    assert len({answer.content for answer in got}) == 1
    assert len(got[0].content) > 10_000
    assert sum(balanced.seen(route)) - before <= 1
    for path in (b"/metrics", b"/metrics/", b"/%6detrics", b"/metric%73?x"):  # sent as they are
        url = httpx.URL(balanced.address).copy_with(raw_path=path)
        assert httpx.get(url, **PATIENT).status_code == 403, path


def test_programs_without_cookies_are_served_too(balanced: Balanced) -> None:
    picture = handle_file(str(EXAMPLES / "koala.jpg"))
    for _ in range(2):
        client = Client(balanced.address, verbose=False, httpx_kwargs={**PATIENT})
        told = client.predict(image=picture, api_name="/explain")
        assert told["target"]["label"] == "koala"


def test_one_server_stops_and_the_next_question_goes_to_the_other(balanced: Balanced) -> None:
    """The last test here, since one server is gone after it."""

    async def lesson() -> None:
        async with students(balanced.address, 6) as people:
            for one in people:
                await one.open()
            running = [asyncio.create_task(one.explain(EXAMPLES / "bee.jpg")) for one in people]
            await asyncio.sleep(0.1)
            balanced.servers[0].process.send_signal(signal.SIGTERM)
            said = [answer.said for answer in await asyncio.gather(*running)]
            assert set(said) <= {"ok", "busy"}
            assert said.count("ok") >= 3
            await asyncio.to_thread(balanced.servers[0].process.wait, 120)
            await asyncio.sleep(1)
            for one in people:  # whose server is gone gets the other one
                assert (await one.explain(EXAMPLES / "koala.jpg")).said == "ok"

    asyncio.run(lesson())
    assert balanced.servers[0].process.returncode == 0
