"""A stand-in for the Hugging Face Hub: what huggingface_hub asks of it to push and to load.

Two HTTP servers on 127.0.0.1, as on the real one: the Hub itself, which answers for a large file
with a redirect, and the store that holds its bytes and must never see a token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_stand_in"


@dataclass
class Repo:
    """A repository: its commits, oldest first, each all its files by path."""

    private: bool = False
    gated: bool = False
    commits: list[dict[str, bytes]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], message: str = "") -> str:
        before = self.commits[-1] if self.commits else {}
        self.commits.append({**before, **files})
        self.messages.append(message)
        return self.sha(len(self.commits) - 1)

    def sha(self, number: int) -> str:
        return hashlib.sha1(str(number).encode()).hexdigest()

    def files(self, revision: str) -> dict[str, bytes] | None:
        names = {self.sha(number): files for number, files in enumerate(self.commits)}
        if self.commits:
            names["main"] = self.commits[-1]
        return names.get(revision)


class Hub:
    """The state of the stand-in, and what was asked of it: (server, method, path, token)."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.store: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str, str]] = []
        self.status = 0  # answer everything with this status
        self.cut = False  # end every download half way
        self.stuck = False  # stop every download half way, and hold the connection
        self.ranges: list[str] = []  # what downloads asked for
        self.url = self.store_url = ""
        self._servers: list[ThreadingHTTPServer] = []

    def start(self) -> None:
        for name in ("hub", "store"):
            handler = type("Handler", (_Handler,), {"hub": self, "server_name": name})
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            self._servers.append(server)
        self.url, self.store_url = (
            f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers
        )

    def stop(self) -> None:
        """From now on nobody answers at these addresses."""
        while self._servers:
            server = self._servers.pop()
            server.shutdown()
            server.server_close()


@contextmanager
def standing_in() -> Iterator[Hub]:
    hub = Hub()
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.0: a connection a request, so that a stopped server is really gone."""

    hub: Hub
    server_name: str

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    do_GET = do_POST = do_PUT = do_HEAD

    def answer(self) -> None:
        hub = self.hub
        path = unquote(self.path.partition("?")[0])
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(iter(self.chunk, b""))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        hub.asked.append((self.server_name, self.command, path, token))
        if hub.status:
            return self.say(hub.status, {"error": "so it is told"})
        routes = self.STORE if self.server_name == "store" else self.HUB
        for command, pattern, method in routes:
            found = re.fullmatch(pattern, path)
            if found and self.command in command.split():
                return method(self, body, token, *found.groups())
        return self.say(501, {"error": f"the stand-in knows no {self.command} {path}"})

    def chunk(self) -> bytes:
        data = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return data

    def say(self, status: int, data: Any = None, content: bytes = b"", **headers: str) -> None:
        if data is not None:
            content = json.dumps(data).encode()
            headers["Content-Type"] = "application/json"
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            half = self.hub.cut or self.hub.stuck
            self.wfile.write(content[: len(content) // 2] if half else content)
            while self.hub.stuck:
                time.sleep(0.05)

    def refuse(self, status: int, code: str) -> None:
        self.say(status, {"error": code}, X_Error_Code=code, X_Error_Message=code)

    def repo(self, name: str, token: str) -> Repo | None:
        """The repository, or None after a refusal: a private one is as good as missing."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and token != TOKEN):
            return self.refuse(404 if token == TOKEN else 401, "RepoNotFound")
        return repo

    # The Hub

    def create(self, body: bytes, token: str) -> None:
        data = json.loads(body)
        name = f"{data['organization']}/{data['name']}"
        if token != TOKEN:
            return self.say(401, {"error": "Invalid username or password."})
        if data["organization"] != "user":
            return self.say(403, {"error": "You don't have the rights"})
        if name in self.hub.repos:
            error = "You already created this model repo"
            return self.say(409, {"error": error, "url": f"{self.hub.url}/{name}"})
        private = data.get("private") or data.get("visibility") == "private"
        self.hub.repos[name] = Repo(bool(private))
        return self.say(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def info(self, _: bytes, token: str, name: str) -> None:
        if repo := self.repo(name, token):
            sha = repo.sha(len(repo.commits) - 1)
            files = [{"rfilename": path} for path in (repo.commits[-1] if repo.commits else ())]
            about = {"id": name, "modelId": name, "private": repo.private, "sha": sha}
            self.say(200, {**about, "siblings": files, "tags": []})

    def yaml(self, body: bytes, _: str) -> None:
        good = "\nlicense: " in json.loads(body)["content"].partition("\n---\n")[0]
        self.say(200, {"errors": [], "warnings": []}) if good else self.say(400, {"errors": []})

    def preupload(self, body: bytes, token: str, name: str, _: str) -> None:
        if self.repo(name, token):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(body)["files"]
            ]
            self.say(200, {"files": files})

    def batch(self, body: bytes, token: str, name: str) -> None:
        if self.repo(name, token):
            objects = json.loads(body)["objects"]
            for item in objects:
                if item["oid"] not in self.hub.store:
                    item["actions"] = {
                        "upload": {"href": f"{self.hub.store_url}/{item['oid']}"},
                        "verify": {"href": f"{self.hub.url}/api/verify"},
                    }
            self.say(200, {"transfer": "basic", "objects": objects})

    def verify(self, body: bytes, _: str) -> None:
        stored = self.hub.store.get(json.loads(body)["oid"])
        self.say(200 if stored is not None else 404, {})

    def commit(self, body: bytes, token: str, name: str, revision: str) -> None:
        if not (repo := self.repo(name, token)):
            return
        if token != TOKEN or revision != "main":
            return self.say(403, {"error": "no"})
        header, *items = (json.loads(line) for line in body.splitlines())
        files: dict[str, bytes] = {}
        for item in items:
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.hub.store[value["oid"]]
        sha = repo.commit(files, header["value"]["summary"])
        url = f"{self.hub.url}/{name}/commit/{sha}"
        return self.say(200, {"success": True, "commitUrl": url, "commitOid": sha})

    def resolve(self, _: bytes, token: str, name: str, revision: str, path: str) -> None:
        if not (repo := self.repo(name, token)):
            return None
        if repo.gated:
            return self.refuse(403, "GatedRepo")
        if (files := repo.files(revision)) is None:
            return self.refuse(404, "RevisionNotFound")
        if path not in files:
            return self.refuse(404, "EntryNotFound")
        content = files[path]
        number = next(n for n in reversed(range(len(repo.commits))) if repo.commits[n] is files)
        commit = {"X-Repo-Commit": repo.sha(number)}
        if not path.endswith(".safetensors"):
            etag = hashlib.sha1(content).hexdigest()
            return self.say(200, None, content, ETag=f'"{etag}"', **commit)
        oid = hashlib.sha256(content).hexdigest()
        self.hub.store.setdefault(oid, content)
        linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content))}
        return self.say(302, None, Location=f"{self.hub.store_url}/{oid}", **linked, **commit)

    # The store

    def put(self, body: bytes, _: str, oid: str) -> None:
        right = hashlib.sha256(body).hexdigest() == oid
        if right:
            self.hub.store[oid] = body
        self.say(200 if right else 400)

    def get(self, _: bytes, __: str, oid: str) -> None:
        content = self.hub.store.get(oid)
        if content is None:
            return self.say(404)
        wanted, start = self.headers.get("Range", ""), 0
        self.hub.ranges.append(wanted)
        told = {"ETag": f'"{oid}"'}
        if found := re.fullmatch(r"bytes=(\d+)-", wanted):
            start, size = int(found[1]), len(content)
            told["Content_Range"] = f"bytes {start}-{size - 1}/{size}"
        return self.say(206 if start else 200, None, content[start:], **told)

    NAME = r"([^/]+/[^/]+)"
    HUB = (
        ("POST", r"/api/repos/create", create),
        ("POST", r"/api/validate-yaml", yaml),
        ("POST", r"/api/verify", verify),
        ("GET", rf"/api/models/{NAME}", info),
        ("POST", rf"/api/models/{NAME}/preupload/(.+)", preupload),
        ("POST", rf"/api/models/{NAME}/commit/(.+)", commit),
        ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", batch),
        ("HEAD GET", rf"/{NAME}/resolve/([^/]+|refs/pr/\d+)/(.+)", resolve),
    )
    STORE = (("PUT", r"/([0-9a-f]{64})", put), ("HEAD GET", r"/([0-9a-f]{64})", get))
