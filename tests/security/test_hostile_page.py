"""Hostile files, requests and addresses against the running page, over HTTP as strangers send."""

from __future__ import annotations

import asyncio
import html
import http.server
import json
import select
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hostile
import httpx
import numpy as np
import pytest
from hostile import Hostile
from page import EXAMPLES
from PIL import Image
from served import PATIENT, ROOT, Served, served
from student import API, Answer, Student, students
from test_hostile import INSIDE, SENTENCE

from vggviz.server import request_limits

KOALA = EXAMPLES / "koala.jpg"
AS_JSON = {"Content-Type": "application/json"}
META = {"_type": "gradio.FileData"}
# kB that the server may have grown by: 131,072 of them are answers that it keeps, and while one is
# made its pictures under the maps have 576 pixels a side.
KEPT = 400_000
pytestmark = pytest.mark.slow


class Outside:
    """A web server that nothing may ask: it counts who does, and gives a good picture."""

    def __init__(self) -> None:
        outside = self
        self.asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outside.asked.append(self.path)
                if "redirect" in self.path:
                    self.send_response(302)
                    self.send_header("Location", "http://127.0.0.1:1/secret.png")
                    self.end_headers()
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(KOALA.read_bytes())

            do_HEAD = do_POST = do_CONNECT = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    web = Outside()
    yield web
    web.server.shutdown()
    web.server.server_close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, outside: Outside) -> Iterator[Served]:
    """A server whose way to everywhere else leads to `outside`, with a folder of its own for
    what is temporary."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "tmp").mkdir()
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    env = {**dict.fromkeys(names, outside.address), "TMPDIR": str(folder / "tmp")}
    with served(folder, env=env) as server:
        yield server
        assert "Traceback" not in server.printed(), server.printed()
        server.process.terminate()
        server.process.wait(60)
        uploads = folder / "uploads"  # where only the beginnings of uploads wait to be swept
        kept = {file.parent for file in files_of(uploads)}
        assert kept <= {uploads, uploads / "examples"}
        assert outside.asked == []


@pytest.fixture(scope="module")
def folder(page: Served) -> Path:
    """Where the server's uploads lie."""
    return page.log.parent / "uploads"


@pytest.fixture
def web(page: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=page.address, trust_env=False, **PATIENT) as client:
        yield client


def files_of(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file()}


def ask(web: httpx.Client, body: dict[str, Any], query: str = "") -> tuple[bool, Any]:
    """Join the queue, and wait for the end: whether it went well, and what was said."""
    session = uuid.uuid4().hex
    body = {"session_hash": session, **body}
    content = json.dumps(body)  # NaN and halves of pairs, which httpx would not send
    joined = web.post(f"{API}/queue/join{query}", content=content, headers=AS_JSON)
    if joined.status_code != 200:
        return False, joined.json()["detail"]
    with web.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            told = json.loads(line[5:]) if line.startswith("data:") else {}
            if told.get("msg") == "process_completed":
                return told["success"], told["output"].get("error") or told["output"].get("data")
    raise AssertionError("the stream ended before the answer came")


def asking(web: httpx.Client) -> tuple[int, list[Any], int]:
    """The event by which the page explains a chosen picture: its function, values, and which of
    these is the picture."""

    async def learn() -> Student:
        async with students(str(web.base_url), 1) as (student,):
            await student.open()
            return student

    student = asyncio.run(learn())
    return student.function, student.values, student.picture


def explain(web: httpx.Client, picture: Any) -> tuple[bool, Any]:
    function, values, at = asking(web)
    values[at] = picture
    return ask(web, {"fn_index": function, "data": values})


def sound(said: Any) -> bool:
    """Whether this is one sentence, without what only the server knows."""
    text = html.unescape(str(said))
    return bool(SENTENCE.fullmatch(text)) and not INSIDE.search(text) and str(ROOT) not in text


# ---------------------------------------------------------------- files


def test_every_file_gives_a_picture_or_one_sentence(
    page: Served, corpus: Mapping[str, Hostile], folder: Path
) -> None:
    """All of the corpus, uploaded and explained; then memory, files left, and a good picture."""
    resident, kept = "VmRSS", page.log.parent / "tmp"
    wrong: list[str] = []

    async def send(student: Student, one: Hostile) -> str:
        answer = await student.explain(await student.upload(one.content, one.name))
        came = "picture" if answer.said == "ok" else "refused"
        if one.right not in ("", came):
            wrong.append(f"{one.name}: {came} instead of {one.right}: {answer.said}")
        if came == "refused" and (not sound(answer.said) or str(folder) in answer.said):
            wrong.append(f"{one.name}: {answer.said!r} is no sentence for people")
        return came

    async def crowd() -> tuple[Answer, Answer, int, int]:
        async with students(page.address, 4) as people:
            for student in people:
                await student.open()
            first = await people[0].explain(KOALA)
            large = [one for one in corpus.values() if one.name.startswith("large")]
            for one in large:
                await send(people[0], one)
            before = hostile.kilobytes(resident, page.process.pid)
            waiting = iter(one for one in corpus.values() if one not in large)

            async def work(student: Student) -> None:
                for one in waiting:
                    await send(student, one)

            await asyncio.gather(*map(work, people))
            after = hostile.kilobytes(resident, page.process.pid)
            return first, await people[0].explain(KOALA), before, after

    temporary = files_of(kept)
    first, last, before, after = asyncio.run(crowd())
    assert not wrong, "\n".join(wrong)
    assert last.details["target"]["label"] == "koala"
    assert last.fingerprint() == first.fingerprint()
    assert after - before < KEPT, f"{before} kB before, {after} kB after"
    assert files_of(kept) == temporary
    assert [file for file in files_of(folder) if file.parent == folder] == []
    examples = files_of(folder / "examples")
    assert len(files_of(folder) - examples) <= len(corpus)  # and nothing that was made of them


def test_a_file_that_is_too_large_is_refused_in_a_sentence(web: httpx.Client, folder: Path) -> None:
    before = files_of(folder)
    for size in (request_limits.FILE + 1, request_limits.BODY + 1):
        answer = web.post(f"{API}/upload", files={"files": ("big.png", bytes(size))})
        assert answer.status_code == 413
        assert sound(answer.text)
    chunks = (b" " * (1 << 20) for _ in range(64))  # of a length that was not told before
    answer = web.post(f"{API}/queue/join", content=chunks, headers=AS_JSON)
    assert (answer.status_code, sound(answer.json()["detail"])) == (413, True)
    assert files_of(folder) == before


def test_few_large_requests_are_held_at_once(page: Served, web: httpx.Client) -> None:
    """While some are still coming, one more is told so; when they are through there is room."""
    odd = {"data": ["x" * (2 * request_limits.LARGE)], "session_hash": "large", "fn_index": 10**6}
    content = json.dumps(odd).encode()
    told = {"Host": "localhost", **AS_JSON, "Content-Length": len(content)}
    head = f"POST {API}/queue/join HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in told.items()) + "\r\n"

    def send() -> httpx.Response:
        return web.post(f"{API}/queue/join", content=content, headers=AS_JSON)

    def begin() -> socket.socket:
        slow = socket.create_connection(("127.0.0.1", page.port), timeout=60)
        slow.sendall(head.encode() + content[:-1])
        return slow

    assert send().status_code == 400
    slow, until = [begin() for _ in range(request_limits.FEW)], time.monotonic() + 60
    while (answer := send()).status_code != 503 and time.monotonic() < until:
        refused = select.select(slow, [], [], 0.2)[0]  # where the question above was among the few
        for one in refused:
            one.close()
        slow = [begin() if one in refused else one for one in slow]
    assert (answer.status_code, answer.json()["detail"]) == request_limits.BUSY
    for one in slow:
        one.sendall(content[-1:])
        assert one.recv(100).startswith(b"HTTP/1.1 400")
        one.close()
    assert send().status_code == 400


def test_an_upload_that_is_cut_off_is_swept_away(web: httpx.Client, folder: Path) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    web.post(f"{API}/upload", content=head + bytes(999), headers=kind)
    (begun,) = [file for file in folder.iterdir() if file.is_file()]
    request_limits.delete_partial_uploads(folder)
    assert begun.exists(), "it may still be coming"
    time.sleep(0.1)
    others = files_of(folder) - {begun}
    request_limits.delete_partial_uploads(folder, age=0.05)
    assert not begun.exists()
    assert files_of(folder) == others


# ---------------------------------------------------------------- paths and addresses


def test_no_address_is_ever_asked(web: httpx.Client, outside: Outside) -> None:
    """Neither on this machine, nor beside it, nor anywhere: `outside` is also the way out."""
    addresses = [
        f"{outside.address}/picture.png",
        f"{outside.address}/redirect",
        outside.address.replace("127.0.0.1", "localhost"),
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:80/",
        "http://2130706433/",
        "http://huggingface.co/picture.png",  # which Gradio trusts, whatever it resolves to
        "https://huggingface.co/picture.png",
        "HTTP://huggingface.co/picture.png",
        "ftp://127.0.0.1/picture.png",
        "file:///etc/passwd",
        f"file://{KOALA}",
        "//127.0.0.1/picture.png",
        "data:text/plain,hello",
    ]
    for address in addresses:
        for picture in (
            {"path": address, "meta": META},
            {"path": address},
            {"path": address, "url": address, "meta": META, "is_stream": True},
            {"path": None, "url": address, "meta": META},
            {"url": address},
        ):
            done, said = explain_once(web, picture)
            assert not done, picture
            assert sound(said), said
        for wrapped in ({"deep": [{"path": address, "meta": META}]}, [{"path": address}]):
            assert not explain_once(web, wrapped)[0]
        for way in ("file=", "proxy=", "file/"):
            answer = web.get(f"{API}/{way}{quote(address, safe=':/')}")
            assert answer.status_code in (403, 404), (way, address, answer)
    assert outside.asked == []


_LEARNED: dict[str, tuple[int, list[Any], int]] = {}


def explain_once(web: httpx.Client, picture: Any) -> tuple[bool, Any]:
    """As `explain`, but the page's config is read the first time only."""
    key = str(web.base_url)
    function, values, at = _LEARNED.setdefault(key, _LEARNED.get(key) or asking(web))
    data = [*values[:at], picture, *values[at + 1 :]]
    return ask(web, {"fn_index": function, "data": data})


def test_no_file_but_uploads_and_examples_is_read(
    web: httpx.Client, folder: Path, tmp_path: Path
) -> None:
    private = tmp_path / "private.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(private)
    folder.mkdir(exist_ok=True)
    link, within = folder / "link.png", folder / "within"
    link.symlink_to(private)
    within.symlink_to(tmp_path)
    weights = next((ROOT / "assets" / "weights").rglob("*.safetensors"))
    paths = [
        "/etc/passwd",
        str(ROOT / "app.py"),
        str(weights),
        str(KOALA),
        str(private),
        str(link),
        str(within / "private.png"),
        f"{folder}/../../../../../../../etc/passwd",
        f"{folder}/..%2f..%2fetc/passwd",
        str(KOALA.parent / ".." / "weights"),
        "../../etc/passwd",
        "app.py",
        "~/.ssh/id_rsa",
        "C:\\Windows\\win.ini",
        "/proc/self/environ",
        "/dev/zero",
        "a\0b",
        "x" * 5000,
        str(folder),
    ]
    good = folder.resolve() / "examples" / KOALA.name
    assert explain_once(web, {"path": str(good), "meta": META})[0]  # what may be asked for
    for path in paths:
        for picture in ({"path": path, "meta": META}, {"path": path}, {"path": path, "url": path}):
            done, said = explain_once(web, picture)
            assert not done, picture
            assert sound(said), said
            assert str(folder) not in str(said)
        answer = web.get(f"{API}/file={quote(path, safe='')}")
        assert answer.status_code in (403, 404), path
        assert b"root:x:" not in answer.content
    for raw in (
        "/../../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..//..//app.py",
        "////etc/passwd",
    ):
        for way in (f"{API}/file=", "/static/", "/assets/", f"{API}/file/", "/svelte/"):
            answer = web.get(way + raw)
            assert answer.status_code >= 400, way + raw
            assert b"root:x:" not in answer.content
    link.unlink()
    within.unlink()


@pytest.mark.parametrize(
    "name", ["../../../evil.png", "/etc/evil.png", "..\\evil.png", "..", "a/b.png"]
)
def test_an_upload_stays_in_its_folder(web: httpx.Client, folder: Path, name: str) -> None:
    before = files_of(folder.parent)
    answer = web.post(f"{API}/upload", files={"files": (name, KOALA.read_bytes())})
    if answer.status_code == 200:
        (path,) = answer.json()
        assert Path(path).resolve().is_relative_to(folder.resolve())
        assert len(Path(path).parent.name) == 64, (
            "a folder by the content's hash, which none guesses"
        )
    assert all(file.is_relative_to(folder) for file in files_of(folder.parent) - before)


def test_a_link_opens_the_page_and_no_file(web: httpx.Client) -> None:
    for value in (
        "../../etc/passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "<script>alert(1)</script>",
        "\x00",
        "x" * 5000,
    ):
        for name in (
            "example",
            "weights",
            "attention",
            "target",
            "tab",
            "lang",
            "deep_link",
            "view",
        ):
            answer = web.get("/", params={name: value})
            assert answer.status_code == 200, (name, value)
            assert "root:x:" not in answer.text
            assert "<script>alert(1)" not in answer.text


# ---------------------------------------------------------------- requests that no page sends


def test_odd_requests_get_an_answer_and_leave_no_trace(web: httpx.Client, page: Served) -> None:
    function, values, _ = asking(web)
    good = {"fn_index": function, "data": values, "session_hash": "s" * 12}
    large = {**good, "data": ["x" * (10 << 20), *values[1:]]}
    bodies: list[Any] = [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"data": ' + b"[" * 3000 + b"]" * 3000 + b', "fn_index": 0, "session_hash": "a"}',
        {},
        [],
        {**good, "data": None},
        {**good, "data": "x"},
        {**good, "data": []},
        {**good, "data": {"path": "/etc/passwd"}},
        {**good, "fn_index": -1},
        {**good, "fn_index": 10**6},
        {**good, "fn_index": "x"},
        {**good, "fn_index": None},
        {**good, "session_hash": None},
        {**good, "session_hash": ["a"]},
        {**good, "session_hash": "../../etc/passwd"},
        {**good, "trigger_id": "x"},
        {**good, "trigger_id": -7},
    ]
    for body in bodies:
        content = body if isinstance(body, bytes) else json.dumps(body)
        answer = web.post(f"{API}/queue/join", content=content, headers=AS_JSON)
        assert answer.status_code in (200, 400, 404, 422), (str(body)[:99], answer.text)
        assert not INSIDE.search(answer.text.replace("json_invalid", "")), answer.text
    for data in (
        [],
        values + ["more"] * 99,
        [None] * len(values),
        [{}] * len(values),
        large["data"],
    ):
        done, said = ask(web, {"fn_index": function, "data": data})
        assert done or sound(said), said
    for event in (
        None,
        7,
        [],
        {"index": 1e400},
        {"index": "x"},
        "x" * 9999,
        {"path": "/etc/passwd"},
    ):
        config = web.get("/config").json()
        for one in config["dependencies"]:
            if one["backend_fn"] and any(kind == "select" for _, kind in one["targets"]):
                data = [None] * len(one["inputs"])
                done, said = ask(web, {"fn_index": one["id"], "data": data, "event_data": event})
                assert done or sound(said), (one["id"], event, said)
    for name in ("explain", "figure", "pixel", "faithfulness", "paint", "nothing", "__init__"):
        for body in (
            {},
            {"data": []},
            {"data": [None]},
            {"data": [7] * 6},
            {"data": [{"path": "/etc/passwd"}]},
        ):
            for way in ("call", "run", "api"):
                answer = web.post(f"{API}/{way}/{name}", json=body)
                assert answer.status_code in (200, 400, 404, 422, 500), answer
                assert not INSIDE.search(answer.text), answer.text
                assert str(ROOT) not in answer.text
    for way in (
        "deep_link?session_hash=x",
        "component_server",
        "process_recording",
        "vibe-code",
        "stream/x",
    ):
        for verb in ("GET", "POST"):
            assert web.request(verb, f"{API}/{way}", json={}).status_code == 404
    for other in ("nobody", "../..", "%00", "s" * 12):
        answer = web.post(
            f"{API}/cancel", json={"session_hash": other, "fn_index": 0, "event_id": "x"}
        )
        assert answer.status_code in (200, 400, 422)
        with suppress(httpx.RemoteProtocolError):  # Gradio notices after its answer has begun
            assert web.get(f"{API}/call/explain/{other}", timeout=60).status_code in (200, 404)
    assert page.process.poll() is None
    (good,) = web.post(f"{API}/upload", files={"files": ("a.jpg", KOALA.read_bytes())}).json()
    assert explain(web, {"path": good, "meta": META})[0]
