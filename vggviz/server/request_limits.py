"""Limits of a request's size, and the routes of Gradio that are closed."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vggviz.app import LAUNCH
from vggviz.app.page import HOUR
from vggviz.gradio_private import (
    CLOSED,
    INVALID,
    MCP,
    SHORT,
    Queue,
    get_upload_folder,
    request_kind,
)
from vggviz.server.queue_eviction import QueueEviction
from vggviz.server.structure import Structure
from vggviz.server.uploads import BLOCKS, SHARE, UploadQuota, client_address

__all__ = ["BODY", "RequestLimits", "delete_partial_uploads"]

log = logging.getLogger(__name__)

FILE: int = LAUNCH["max_file_size"]
BODY = FILE * 4 // 3 + (1 << 20)
"""The most bytes of a request: the largest file as base64, and some room."""
SMALL = 4096
"""The most bytes of a request that logs in or cancels something."""
LARGE = 1 << 20
FEW = 8
"""A request of more than LARGE bytes is refused while more than FEW events wait or requests as
large are being received: they are held in memory. An upload goes to the disk, and is named in a
small request."""
MINUTE = 60
TOO_LARGE = 413, f"That is too large: at most {FILE >> 20} MB can be sent."
TOO_LONG = 413, f"That is too long: at most {SMALL} bytes can be sent here."
FULL = 507, "The server has no room for uploads now: please try again later."
UNREADABLE = 400, "The request can't be read."
COMPLEX = 400, "The request can't be read: it has too many parts."
BUSY = (
    503,
    "Busy: too many wait for so large a request. Please try again later, or upload the picture "
    "first, as the page and gradio_client do.",
)


class _Refused(OSError):
    """Stops the reading of a request; an OSError, as of a connection that was cut."""


class RequestLimits:
    """ASGI middleware that bounds what a request may hold, while it is received.

    404 for a closed route, 413 for too many bytes, 400 for too much JSON structure or invalid
    content, 503 for too many large requests at once, 507 where uploads find no room, and 429 where
    one address sent too many bytes. It also runs the `eviction`, and deletes partial uploads.
    """

    def __init__(
        self, app: ASGIApp, queue: Queue, eviction: QueueEviction, quota: UploadQuota
    ) -> None:
        self.app = app
        self.queue = queue
        self.eviction = eviction
        self.quota = quota
        self._deleted = float("-inf")  # when partial uploads were
        self._large = 0  # large requests that are being received

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await self.eviction.run(time.monotonic())
        path, address = scope["path"], client_address(scope)
        started, size, large, is_upload = False, 0, False, request_kind(path) == "upload"
        stored = is_upload or MCP in path  # whose pictures become files, too
        most, over = (SMALL, TOO_LONG) if SHORT.fullmatch(path) else (BODY, TOO_LARGE)
        structure, tail = Structure(), b""
        refusal: tuple[int, str] | None = None

        async def send_unless_refused(message: Message) -> None:
            nonlocal started
            if refusal is None:
                started = True
                await send(message)

        async def receive_limited() -> Message:
            nonlocal size, large, tail, refusal
            message = await receive()
            if not (chunk := message.get("body", b"")):
                return message
            size += len(chunk)
            if stored:
                files = (tail + chunk).count(b"filename")
                tail = (tail + chunk)[-len(b"ilename") :]
                self.quota.add(address, len(chunk) + files * BLOCKS, time.monotonic())
                refusal = self._over_quota(address)
            if size > most:
                refusal = over
            elif not is_upload and not structure.fits(chunk):
                refusal = COMPLEX
            elif size > LARGE and not (is_upload or large):
                large = True
                self._large += 1
                if self._large + len(self.queue) > FEW:
                    refusal = BUSY
            if refusal is not None:
                raise _Refused
            return message

        try:
            if CLOSED.search(path):
                refusal = 404, "There is no such page here."
            elif _content_length(scope) > most:
                refusal = over
            else:
                await self.app(scope, receive_limited, send_unless_refused)
        except _Refused:
            pass
        except OSError as error:
            if not is_upload:
                raise
            log.warning("an upload could not be kept: errno %s", error.errno)
            refusal = FULL
            delete_partial_uploads(Path(get_upload_folder()), MINUTE)
        except ClientDisconnect:
            log.info("a request was cut off")
        except INVALID as error:
            log.warning("a request could not be read: %s", type(error).__name__)
            refusal = refusal or UNREADABLE
        finally:
            self._large -= large
        if refusal is not None and not started:
            status, sentence = refusal
            plain = PlainTextResponse(sentence, status)  # which the page quotes after an upload
            answer = plain if is_upload else JSONResponse({"detail": sentence}, status)
            await answer(scope, receive, send)
        if is_upload and time.monotonic() - self._deleted > HOUR:
            self._deleted = time.monotonic()
            delete_partial_uploads(Path(get_upload_folder()))

    def _over_quota(self, address: str) -> tuple[int, str] | None:
        now = time.monotonic()
        if self.quota.is_full(now):
            return FULL
        if not self.quota.exceeds_share(address, now):
            return None
        most = self.quota.most // SHARE // 10**6
        sentence = f"More than {most} MB came from your address within an hour: please try again"
        return 429, f"{sentence} later."


def delete_partial_uploads(folder: Path, age: float = HOUR) -> None:
    """Delete uploads that were cut off, which Gradio forgets, after `age` seconds. Complete uploads
    lie in folders of their own and are Gradio's to delete."""
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.is_file() and time.time() - file.stat().st_mtime > age:
            file.unlink(missing_ok=True)


def _content_length(scope: Scope) -> int:
    """The bytes of a request's body as its headers say, 0 where they do not."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0
