"""Fetching from a real server on this machine: one that breaks off, lies, or is not there."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vggviz.data import download as fetching
from vggviz.data.download import ARCHIVES, Archive, FetchError, fetch

DATA = bytes(range(256)) * 4000  # 1,024,000 bytes
DATA = DATA[:-7]


class Server(ThreadingHTTPServer):
    """Serves `data`, by default with ranges; `asked` are the Range headers it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = DATA
        self.asked: list[str | None] = []
        self.ranges = True
        self.breaks: list[int] = []  # bytes after which each answer breaks off, in turn
        self.statuses: list[int] = []  # what it answers in place of the file, in turn
        self.shift = 0  # a wrong start of ranges
        self.length = True  # whether it says how long an answer is

    @property
    def archive(self) -> Archive:
        url = f"http://127.0.0.1:{self.server_address[1]}/data.zip"
        return Archive("data.zip", url, len(DATA), hashlib.md5(DATA).hexdigest())

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        data, start = server.data, 0
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) + server.shift
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if server.length:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def get(server: Server, folder: Path, **changes: Any) -> Path:
    return fetch(server.archive, folder, pause=0.01, timeout=5, **changes)


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_what_is_fetched_is_whole_and_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    told: list[int] = []
    folder = tmp_path / "new" / "folder"
    file = get(server, folder, progress=told.append)
    assert file == folder / "data.zip"
    assert file.read_bytes() == DATA
    assert left(folder) == ["data.zip"]
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, len(DATA))
    assert get(server, folder) == file
    assert server.asked == [None]


def test_a_wrong_file_in_its_place_is_left_alone(server: Server, tmp_path: Path) -> None:
    for content in (b"short", DATA[:-1] + b"x"):
        (tmp_path / "data.zip").write_bytes(content)
        with pytest.raises(FetchError, match=r"data\.zip is not the file from .* move it away"):
            get(server, tmp_path)
        assert (tmp_path / "data.zip").read_bytes() == content
    assert server.asked == []


def test_a_broken_download_goes_on_in_the_same_call(server: Server, tmp_path: Path) -> None:
    server.breaks = [300_000, 0, 0, 200_000]  # twice in a row without anything new is borne
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == [None, *["bytes=300000-"] * 3, "bytes=500000-"]


def test_a_broken_download_goes_on_in_the_next_call(server: Server, tmp_path: Path) -> None:
    server.breaks = [300_000, 0, 0, 0]
    with pytest.raises(FetchError, match=r"it broke off.*\(0 MB are here, and the next try"):
        get(server, tmp_path)
    assert left(tmp_path) == ["data.zip.part"]
    assert (tmp_path / "data.zip.part").read_bytes() == DATA[:300_000]
    told: list[int] = []
    assert get(server, tmp_path, progress=told.append).read_bytes() == DATA
    assert server.asked[-1] == "bytes=300000-"
    assert told[0] == 300_000
    assert left(tmp_path) == ["data.zip"]


def no_ranges(server: Server) -> None:
    server.ranges = False


def other_ranges(server: Server) -> None:
    server.shift = 5


def no_length(server: Server) -> None:
    server.ranges = server.length = False


def busy(server: Server) -> None:
    server.statuses = [503, 429]


def full_range(server: Server) -> None:
    server.statuses = [416]  # without a word on the size


@pytest.mark.parametrize("mood", [no_ranges, other_ranges, no_length, busy, full_range])
def test_servers_with_their_own_mind(
    server: Server, tmp_path: Path, mood: Callable[[Server], None]
) -> None:
    """A range ignored, misunderstood or refused means starting over, never a wrong file."""
    (tmp_path / "data.zip.part").write_bytes(DATA[:1000])
    mood(server)
    assert get(server, tmp_path).read_bytes() == DATA
    assert left(tmp_path) == ["data.zip"]


def test_parts_that_are_whole_or_too_long(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "data.zip.part"
    part.write_bytes(DATA)
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == []
    (tmp_path / "data.zip").rename(part)
    with part.open("ab") as file:
        file.write(b"more")
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == [None]


@pytest.mark.parametrize("start", [0, 1000])
def test_a_wrong_sum_removes_the_part(server: Server, tmp_path: Path, start: int) -> None:
    if start:
        (tmp_path / "data.zip.part").write_bytes(b"x" * start)
    else:
        server.data = b"x" + DATA[1:]
    with pytest.raises(FetchError, match=r"is not the file with the MD5 sum .* was removed"):
        get(server, tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("start", [0, 1000])
@pytest.mark.parametrize("data", [DATA + b"longer", DATA[:500]])
def test_a_file_of_another_size_is_refused(
    server: Server, tmp_path: Path, data: bytes, start: int, length: bool
) -> None:
    server.data, server.length, server.ranges = data, length, length
    if start:
        (tmp_path / "data.zip.part").write_bytes(DATA[:start])
    message = "instead of 1,023,993" if length or len(data) > len(DATA) else "it broke off"
    with pytest.raises(FetchError, match=message) as caught:
        get(server, tmp_path)
    assert str(tmp_path / "data.zip") in str(caught.value)
    assert "data.zip" not in left(tmp_path)
    if length and not start:  # said before a byte was read
        assert left(tmp_path) == []
        assert len(server.asked) == 1


def test_a_file_that_is_gone_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(FetchError, match=r"gives no file \(HTTP 404 Not Found\).*put it at"):
        get(server, tmp_path)
    assert len(server.asked) == 1
    assert left(tmp_path) == []


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/data.zip"
        with pytest.raises(FetchError, match=r"cannot be reached \(timed out\)"):
            fetch(Archive("a", url, 10, ""), tmp_path, pause=0.01, timeout=0.1)


def test_without_a_network_it_says_where_to_put_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    archive = replace(ARCHIVES["tiny-imagenet"], url=f"http://127.0.0.1:{port}/tiny.zip")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FetchError) as caught:
        fetch(archive, Path(), pause=0.01)
    said = str(caught.value)
    assert re.fullmatch(
        rf"{archive.url} cannot be reached \(.*refused\): try again, or get this file \(248 MB\) "
        rf"where there is a network and put it at {tmp_path / 'tiny-imagenet-200.zip'}",
        said,
    )
    assert left(tmp_path) == []


def test_no_space_on_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/dev/full").exists():
        (tmp_path / "data.zip.part").symlink_to("/dev/full")
        with pytest.raises(FetchError, match=r"data\.zip\.part: no space on the disk"):
            get(server, tmp_path)
        assert left(tmp_path) == []
    asked = len(server.asked)
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        FetchError, match=r"no space on the disk \(1 MB are needed, 0 MB are free\)"
    ):
        get(server, tmp_path)
    assert len(server.asked) == asked  # known before anything was fetched
    assert left(tmp_path) == []


def test_a_folder_that_is_a_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FetchError, match=r"file/data\.zip\.part: this file cannot be written"):
        get(server, tmp_path / "file")


def test_the_command_line_knows_its_archives(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vggviz.cli", "data", "imagenet", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "vggviz: no data 'imagenet': expected tiny-imagenet\n"


def test_the_command_line_says_how_to_go_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from vggviz.cli import app

    monkeypatch.setitem(ARCHIVES, "tiny-imagenet", server.archive)
    folder = tmp_path / "my data"
    app(["data", "tiny-imagenet", "--out", str(folder)], standalone_mode=False)
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        str(folder / "data.zip"),
        f"vggviz train --data '{folder / 'data.zip'}' --out tiny-imagenet.safetensors",
    ]
    assert told.err == ""
    (folder / "data.zip").write_bytes(b"x")
    code = app(["data", "tiny-imagenet", "--out", str(folder)], standalone_mode=False)
    told = capsys.readouterr()
    assert (code, told.out) == (2, "")
    assert re.fullmatch(r"vggviz: .*move it away and start again\n", told.err)


def test_what_the_authors_archive_is() -> None:
    assert ARCHIVES["tiny-imagenet"] == Archive(
        "tiny-imagenet-200.zip",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        248_100_043,
        "90528d7ca1a48142e341f4ef8d21d0de",
    )
