"""A simulated browser: it opens the page, asks, waits in the queue, and looks at what it gets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

API = "/gradio_api"
URI = re.compile(r"data:image/\w+;base64,([A-Za-z0-9+/=]+)")
FILE = re.compile(r'"(https?://[^"]*/gradio_api/file=[^"]*)"')


@dataclass(frozen=True)
class Answer:
    """What came of one question: 'ok', 'busy' or what else was said, and when.

    `ranks` are the places in the queue that it was told, in order; `pictures` the bytes of every
    picture in the answer, `details` the explanation as JSON.
    """

    said: str
    seconds: float
    ranks: tuple[int, ...] = ()
    size: int = 0
    details: Any = None
    pictures: tuple[bytes, ...] = ()

    def fingerprint(self) -> str:
        """The SHA-256 of all pictures, in order."""
        return hashlib.sha256(b"".join(self.pictures)).hexdigest()

    def whole(self) -> bool:
        """Whether every picture can be decoded to its last row."""
        for content in self.pictures:
            try:
                Image.open(io.BytesIO(content)).load()
            except OSError:
                return False
        return bool(self.pictures)

    def shows(self, colour: tuple[int, int, int]) -> bool:
        """Whether one of the pictures is of this colour on average, up to what JPEG does to it."""
        for content in self.pictures:
            mean = Image.open(io.BytesIO(content)).convert("RGB").resize((1, 1)).getpixel((0, 0))
            assert isinstance(mean, tuple)
            if all(abs(a - b) < 6 for a, b in zip(mean, colour, strict=True)):
                return True
        return False


class Student:
    """One visitor with cookies and a session of his own.

    `question` is what the page sends when a picture is chosen, as its config says: the function,
    and one value an input, None for the picture.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.session = uuid.uuid4().hex[:12]
        self.function = -1
        self.values: list[Any] = []
        self.picture = -1
        self.examples = Path()  # where the server keeps them
        self.asking = asyncio.Lock()  # one question at a time: a session has one stream of answers

    def twin(self) -> Student:
        """The same browser with another tab open: another session."""
        twin = Student(self.client)
        twin.function, twin.values, twin.picture = self.function, self.values, self.picture
        twin.examples = self.examples
        return twin

    async def open(self) -> int:
        """Load the page; bytes received."""
        page = await self.client.get("/")
        page.raise_for_status()
        answer = await self.client.get("/config")
        config = answer.raise_for_status().json()
        parts = {part["id"]: part for part in config["components"]}
        (chosen,) = [i for i, part in parts.items() if part["props"].get("elem_id") == "picture"]
        self.examples = Path(parts[chosen]["props"]["value"]["path"]).parent
        on_choice = [chosen, "input"]
        (first,) = [one for one in config["dependencies"] if on_choice in one["targets"]]
        # The choice empties the chosen classes in the browser; then a number is counted up, and the
        # question follows that.
        (after,) = [one for one in config["dependencies"] if one["trigger_after"] == first["id"]]
        counted = [[part, "change"] for part in after["outputs"]]
        (asked,) = [
            one for one in config["dependencies"] if any(t in one["targets"] for t in counted)
        ]
        self.function = asked["id"]
        inputs = [parts[index] for index in asked["inputs"]]
        self.picture = [part["type"] for part in inputs].index("image")
        self.values = [
            None if part["type"] in ("state", "image") else part["props"].get("value")
            for part in inputs
        ]
        return len(page.content) + len(answer.content)

    @asynccontextmanager
    async def present(self) -> AsyncIterator[None]:
        """Hold the heartbeat that an open page holds; when it ends, the session is forgotten."""

        async def listen() -> None:
            url = f"{API}/heartbeat/{self.session}"
            async with self.client.stream("GET", url, timeout=None) as beats:
                async for _ in beats.aiter_raw():
                    pass

        task = asyncio.create_task(listen())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, httpx.HTTPError):
                await task

    async def upload(self, content: bytes, name: str = "mine.jpg") -> str:
        """Bring a picture of one's own; the path under which the server keeps it."""
        answer = await self.client.post(f"{API}/upload", files={"files": (name, content)})
        return str(answer.raise_for_status().json()[0])

    async def explain(self, picture: str | Path) -> Answer:
        """Ask about a picture that lies on the server, and wait for the whole answer: an upload by
        its path there, or a bundled example by its path here."""
        async with self.asking:
            return await self._explain(picture)

    async def _explain(self, picture: str | Path) -> Answer:
        start, ranks = time.perf_counter(), []
        if isinstance(picture, Path):
            picture = self.examples / picture.name
        data = list(self.values)
        data[self.picture] = {"path": str(picture), "meta": {"_type": "gradio.FileData"}}
        body = {"data": data, "fn_index": self.function, "session_hash": self.session}
        try:
            joined = await self.client.post(f"{API}/queue/join", json=body)
            if joined.status_code == 503:
                return Answer("busy", time.perf_counter() - start)
            event = joined.raise_for_status().json()["event_id"]
            stream = self.client.stream("GET", f"{API}/queue/data?session_hash={self.session}")
            async with stream as messages:
                messages.raise_for_status()
                async for line in messages.aiter_lines():
                    told = json.loads(line[5:]) if line.startswith("data:") else {}
                    if told.get("event_id") != event:
                        continue
                    if told["msg"] == "estimation":
                        ranks.append(int(told["rank"]))
                    if told["msg"] == "process_completed":
                        return await self._answer(told, len(line), start, tuple(ranks))
            return Answer("cut off", time.perf_counter() - start, tuple(ranks))
        except httpx.HTTPError as error:
            said = f"{type(error).__name__}: {error}"
            return Answer(said, time.perf_counter() - start, tuple(ranks))

    async def _answer(
        self, told: dict[str, Any], size: int, start: float, ranks: tuple[int, ...]
    ) -> Answer:
        text = json.dumps(told["output"])
        pictures = [base64.b64decode(found) for found in URI.findall(text)]
        for url in FILE.findall(text):  # pictures that travel as files are fetched as browsers do
            pictures.append((await self.client.get(httpx.URL(url).raw_path.decode())).content)
        seconds = time.perf_counter() - start
        if not told["success"]:
            return Answer(str(told["output"].get("error")), seconds, ranks, size)
        details = told["output"]["data"][0]
        return Answer("ok", seconds, ranks, size, details, tuple(pictures))


@asynccontextmanager
async def students(address: str, count: int) -> AsyncIterator[list[Student]]:
    """Visitors with their own cookies, over one pool of connections."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    transport = httpx.AsyncHTTPTransport(limits=limits, verify=False)
    made = [
        Student(httpx.AsyncClient(base_url=address, transport=transport, timeout=120))
        for _ in range(count)
    ]
    async with transport:
        yield made
