"""What the page's server does not let in: routes that nothing here needs, and what is too large."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

from gradio.route_utils import FnIndexInferError
from gradio.utils import get_upload_folder
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vggviz.app import LAUNCH
from vggviz.app.page import HOUR
from vggviz.server.queue_eviction import Unread

__all__ = ["BODY", "Door", "sweep"]

log = logging.getLogger(__name__)

FILE: int = LAUNCH["max_file_size"]
BODY = FILE * 4 // 3 + (1 << 20)
"""The most bytes of a request: the largest file as base64, and some room."""
LARGE = 1 << 20
FEW = 8
"""A request of more than LARGE bytes is taken while no more than so many wait or are as large and
come: memory holds them. An upload goes to the disk, and is named in a small request."""
MINUTE = 60
BUSY = (
    "Busy: too many wait for so large a request. Please try again later, or upload the picture "
    "first, as the page and gradio_client do."
)

# Gradio's own, which fetch from addresses, write files that no one deletes, or run functions of
# components: the page has no use for them.
CLOSED = re.compile(
    r"/gradio_api/(proxy=|file[=/]https?:|deep_link|component_server|process_recording|stream/|vibe)"
)
# What Gradio raises before an event begins, where a request is not what its page sends.
_ODD: tuple[type[Exception], ...] = (ValueError, TypeError, LookupError, AttributeError)
_ODD += (RuntimeError, OverflowError, FnIndexInferError)


class _Refused(OSError):
    """No more of a request is read; what reads it may answer to that in its way."""


class Door:
    """ASGI middleware: closed routes answer 404, too large requests 413, too many large ones 503,
    unreadable ones 400, uploads that find no room 507. What is left behind, on the disk and
    `unread`, is cleared away."""

    def __init__(self, app: ASGIApp, unread: Unread) -> None:
        self.app = app
        self.unread = unread
        self._swept = float("-inf")
        self._large = 0  # requests that are being received

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await self.unread.forget(time.monotonic())
        begun, size, large, uploads = False, 0, False, scope["path"].endswith("/upload")
        answer: JSONResponse | None = None

        async def sending(message: Message) -> None:
            nonlocal begun
            if answer is None:
                begun = True
                await send(message)

        async def receiving() -> Message:
            nonlocal size, large, answer
            message = await receive()
            size += len(message.get("body", b""))
            if size > BODY:
                answer = _answer(413, f"That is too large: at most {FILE >> 20} MB can be sent.")
            elif size > LARGE and not (uploads or large):
                large = True
                self._large += 1
                if self._large + len(self.unread.queue) > FEW:
                    answer = _answer(503, BUSY)
            if answer is not None:
                raise _Refused
            return message

        try:
            if CLOSED.search(scope["path"]):
                answer = _answer(404, "There is no such page here.")
            else:
                await self.app(scope, receiving, sending)
        except _Refused:
            pass
        except OSError as error:
            if not uploads:
                raise
            log.warning("an upload could not be kept: errno %s", error.errno)
            answer = _answer(507, "The server has no room for uploads now: please try again later.")
            sweep(Path(get_upload_folder()), MINUTE)
        except ClientDisconnect:
            log.info("a request was cut off")
        except _ODD as error:
            log.warning("a request could not be read: %s", type(error).__name__)
            answer = answer or _answer(400, "The request can't be read.")
        finally:
            self._large -= large
        if answer is not None and not begun:
            await answer(scope, receive, send)
        if uploads and time.monotonic() - self._swept > HOUR:
            self._swept = time.monotonic()
            sweep(Path(get_upload_folder()))


def sweep(folder: Path, age: float = HOUR) -> None:
    """Delete the beginnings of uploads that were cut off, which Gradio forgets, after so many
    seconds. Whole uploads lie in folders of their own and are Gradio's to delete."""
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.is_file() and time.time() - file.stat().st_mtime > age:
            file.unlink(missing_ok=True)


def _answer(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status)
