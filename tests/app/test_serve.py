"""The page as a server of its own: watched, stopped, shut behind a password."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from served import APP, OFFLINE, PATIENT, ROOT, SERVE, Served, served
from student import Answer, students

from vggviz.weights import assets_folder

EXAMPLES = assets_folder() / "examples"
pytestmark = pytest.mark.slow


def fetch(url: str, data: bytes | None = None) -> tuple[int, str]:
    """Status and body, also of an error."""
    kind = {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, kind), timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def explained(client: Client, picture: Path) -> dict[str, Any]:
    """What the page's API says of a picture."""
    return client.predict(image=handle_file(str(picture)), api_name="/explain")


def meters(server: Served) -> dict[str, float]:
    """What Prometheus reads."""
    status, text = fetch(f"{server.address}/metrics")
    assert status == 200, text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_it_is_watched_without_anyones_names_and_stops_when_work_is_done(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="needs the extra 'serve'")
    mine = tmp_path / "my-sister.jpg"
    shutil.copy(EXAMPLES / "koala.jpg", mine)
    with served(tmp_path, SERVE, {"VGGVIZ_LOG": "json", "VGGVIZ_AT_ONCE": "1"}) as server:
        status, told = fetch(f"{server.address}/healthz")
        assert (status, json.loads(told)["status"]) == (200, "ok")
        client = Client(server.address, verbose=False, httpx_kwargs={**PATIENT})
        assert explained(client, mine)["target"]["label"] == "koala"
        joined = 'vggviz_requests_total{route="/gradio_api/queue/join",status="200"}'
        heard = 'vggviz_request_seconds_count{route="/gradio_api/queue/data"}'
        until = time.monotonic() + 60
        while (found := meters(server)).get(heard) != 1:  # counted once the stream is closed
            assert time.monotonic() < until
        assert found[joined] == 1
        assert found["vggviz_queue_length"] == 0
        assert found["vggviz_requests_under_way"] == 1  # this very question
        assert found["process_resident_memory_bytes"] > 1e8

        # Twenty people wait in a queue that serves one at a time; then the host stops the server.
        async def lesson() -> list[Answer]:
            async with students(server.address, 20) as people:
                for one in people:
                    await one.open()
                jobs = [asyncio.create_task(one.explain(EXAMPLES / "koala.jpg")) for one in people]
                await asyncio.sleep(0)
                while meters(server)[joined] < 21:
                    await asyncio.sleep(0.01)
                server.process.send_signal(signal.SIGTERM)
                until = time.monotonic() + 60
                while fetch(f"{server.address}/healthz")[0] != 503:
                    assert time.monotonic() < until
                refused = fetch(f"{server.address}/gradio_api/queue/join", b"{}")
                assert refused[0] == 503
                assert "try again" in json.loads(refused[1])["detail"]
                assert not all(job.done() for job in jobs)
                return await asyncio.gather(*jobs)

        answers = asyncio.run(lesson())
        assert [answer.said for answer in answers] == ["ok"] * 20
        assert {answer.details["target"]["label"] for answer in answers} == {"koala"}
        assert server.process.wait(120) == 0

        lines = [line for line in server.printed().splitlines() if line.startswith("{")]
        logged = [json.loads(line) for line in lines]
        assert {"/gradio_api/upload", "/gradio_api/queue/data"} <= {x.get("route") for x in logged}
        assert all(x["level"] == "info" for x in logged), server.printed()
        assert "sister" not in server.printed()
        assert "koala" not in server.printed()
        assert "127.0.0.1:" not in "".join(lines)
        assert "Traceback" not in server.printed()


def test_it_starts_behind_a_proxy_that_is_for_everything_else(tmp_path: Path) -> None:
    """On an address of IPv6, too, which must not be asked of the proxy either."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
    env = {"no_proxy": "", "VGGVIZ_HOST": "::1"}
    with served(tmp_path, env=env, until="* To create") as server:
        assert fetch(f"http://[::1]:{server.port}/healthz")[0] == 200


SYSTEM_PROXY = """
import sys, urllib.request
system = {"http": "http://127.0.0.1:9", "https": "http://127.0.0.1:9"}
urllib.request.getproxies = lambda: urllib.request.getproxies_environment() or system
from vggviz.cli import main
sys.argv = ["vggviz", "serve"]
main()
"""


def test_it_starts_where_the_system_and_no_variable_names_a_proxy(tmp_path: Path) -> None:
    """As Windows' registry and macOS's settings do, for which `getproxies` is stood in."""
    env = dict.fromkeys((*OFFLINE, "all_proxy", "ALL_PROXY", "NO_PROXY"), "")
    with served(tmp_path, ("-c", SYSTEM_PROXY), env) as server:
        assert fetch(f"{server.address}/healthz")[0] == 200


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_more_pages_can_be_open_than_a_laptop_begins_with(tmp_path: Path) -> None:
    few = ("-c", f"ulimit -Sn 256 && exec {sys.executable} app.py")
    with served(tmp_path, few, python="sh") as server, ExitStack() as stack:
        for number in range(300):
            page = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60))
            page.sendall(
                b"GET /gradio_api/heartbeat/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number
            )
            assert page.recv(12) == b"HTTP/1.1 200"
        assert fetch(f"{server.address}/healthz")[0] == 200


@pytest.mark.parametrize("command", [APP, SERVE])
def test_where_it_can_not_listen_it_says_so(command: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        env = {**os.environ, "VGGVIZ_HOST": "127.0.0.1", "VGGVIZ_PORT": port}
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True
        )
    assert done.returncode in (1, 2)
    assert done.stderr == (
        f"vggviz: the page can't be served at 127.0.0.1, port {port}: the port is taken, or the "
        "address is not one of this machine's\n"
    )


@pytest.fixture(scope="module")
def classroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`vggviz serve --classroom --password chalk`, with few explanations a minute."""
    folder = tmp_path_factory.mktemp("room")
    command = (*SERVE, "--classroom", "--password", "chalk")
    until = "Everyone in this network"
    with served(folder, command, {"VGGVIZ_RATE": "10"}, until=until) as server:
        yield server


def test_a_room_is_told_where_the_page_is(classroom: Served) -> None:
    pytest.importorskip("segno", reason="needs the extra 'serve'")
    assert f":{classroom.port}\n" in classroom.printed()
    assert "█▀▀▀▀▀█" in classroom.printed() or "▄▄▄▄▄" in classroom.printed()
    # Every address of this machine answers, not 127.0.0.1 alone.
    assert fetch(f"http://127.0.0.2:{classroom.port}/healthz")[0] == 200


def test_the_password_is_asked_before_anything_is_read_or_told(classroom: Served) -> None:
    with socket.create_connection(("127.0.0.1", classroom.port), 30) as stranger:
        head = "POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000"
        stranger.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode())
        assert stranger.recv(12) == b"HTTP/1.1 401"  # of a body that never comes
    for path in ("config", "openapi.json", "gradio_api/openapi.json", "gradio_api/heartbeat/x"):
        assert fetch(f"{classroom.address}/{path}")[0] == 401, path
    for path in ("upload", "mcp/", "call/explain"):
        assert fetch(f"{classroom.address}/gradio_api/{path}", b"{}")[0] == 401, path
    status, html = fetch(f"{classroom.address}/")
    assert (status, '"auth_required":true' in html) == (200, True)
    assert html.rstrip().endswith("</html>")
    assert not re.search("named_endpoints|code_snippets|Grad-CAM", html)
    assert fetch(f"{classroom.address}/login", b"x" * 5000)[0] == 413


def test_nobody_passes_the_rate_by_with_another_address_in_a_header(classroom: Served) -> None:
    def end(number: int) -> int:
        told = {"X-Forwarded-For": f"192.0.2.{number}", "Content-Type": "application/json"}
        return httpx.post(f"{classroom.address}/gradio_api/reset", headers=told).status_code

    assert [end(number) for number in range(11)] == [401] * 10 + [429]


def test_the_cookie_is_not_sent_on_behalf_of_other_stages(classroom: Served) -> None:
    form = {"username": "eve", "password": "chalk"}
    answer = httpx.post(f"{classroom.address}/login", data=form)
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    assert all("samesite=lax" in cookie.lower() for cookie in cookies), cookies


def test_a_password_opens_the_page_and_nothing_else_does(classroom: Served) -> None:
    assert fetch(f"{classroom.address}/gradio_api/info")[0] == 401
    assert fetch(f"{classroom.address}/gradio_api/queue/status")[0] == 401
    start = time.monotonic()
    with pytest.raises(Exception, match="Could not login"):
        Client(classroom.address, auth=("ada", "cheese"), verbose=False, httpx_kwargs={**PATIENT})
    assert time.monotonic() - start > 1  # so that nobody tries thousands
    client = Client(
        classroom.address, auth=("ada", "chalk"), verbose=False, httpx_kwargs={**PATIENT}
    )
    assert explained(client, EXAMPLES / "koala.jpg")["target"]["label"] == "koala"
    assert "chalk" not in classroom.printed()


def test_one_phone_can_not_keep_the_room_waiting(classroom: Served) -> None:
    client = Client(
        classroom.address, auth=("bob", "chalk"), verbose=False, httpx_kwargs={**PATIENT}
    )
    told: list[str] = []
    for _ in range(11):
        try:
            told.append(explained(client, EXAMPLES / "koala.jpg")["target"]["label"])
        except Exception as error:
            told.append(re.sub(".*(429 Too Many Requests).*", r"\1", str(error).splitlines()[0]))
    assert told[-1].endswith("429 Too Many Requests")
    assert len(set(told)) == 2  # before that it was answered
    assert told[0] == "koala"
