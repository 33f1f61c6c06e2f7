"""Errors as the page shows them: a toast with one sentence in the visitor's language."""

from __future__ import annotations

import html
import logging
from collections.abc import Generator
from contextlib import contextmanager

import gradio as gr

from vggviz.locales import TEXTS, text
from vggviz.types import Error

__all__ = ["boundary", "sentence", "user_error"]

log = logging.getLogger(__name__)

LONGEST = 300  # characters of a toast


def user_error(message: str) -> gr.Error:
    """An error that Gradio shows as a toast. The message may quote a file's name or typed text, so
    it is escaped and cut at `LONGEST`, and lone surrogates, which JSON can't hold, are replaced."""
    valid = message.encode("utf-8", "replace").decode()
    valid = valid if len(valid) <= LONGEST else f"{valid[: LONGEST - 1]}…"
    return gr.Error(html.escape(valid, quote=False), print_exception=False)


@contextmanager
def boundary(lang: str = "en") -> Generator[None, None, None]:
    """A context that turns an `Error` into a toast (gr.Error) in this language; of any other
    exception, which is logged, the toast says only that something went wrong."""
    try:
        yield
    except gr.Error:
        raise
    except Error as error:
        raise user_error(sentence(error, lang)) from error
    except Exception as error:  # the one broad except of the house: a page must not go blank
        log.exception("an explanation failed")
        raise user_error(text(lang, "trouble.server")) from error


def sentence(error: Exception, lang: str = "en") -> str:
    """The message of an error as a sentence: with a full stop, and a capital where it does not
    begin with a value, such as the name of a file."""
    message = error.message(lang) if isinstance(error, Error) else str(error)
    code = error.code if isinstance(error, Error) else ""
    if not TEXTS["en"].get(f"error.{code}", "").startswith("{"):
        message = f"{message[:1].upper()}{message[1:]}"
    return message if message.endswith((".", "?", "。", "？")) else f"{message}."
