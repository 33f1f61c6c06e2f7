"""A guard of the page's inputs: no path or address that a client sends is opened or fetched."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vggviz.app.errors import boundary, user_error
from vggviz.gradio_private import BlockFunction, SessionState, event_data, is_known_file
from vggviz.locales import text

__all__ = ["Page"]

# What Gradio's components and data models raise on values of the wrong type or structure.
_INPUT_ERRORS: tuple[type[Exception], ...] = (ValueError, TypeError, LookupError, AttributeError)
_INPUT_ERRORS += (ArithmeticError, OSError, RecursionError)


class Page(gr.Blocks):
    """Blocks whose events end in a result or in one sentence, whatever was sent.

    Gradio fetches a picture of any size from a public address in the place of a path, and reads a
    path without its `meta` as it is. Here only uploaded files and bundled examples are accepted.
    """

    async def preprocess_data(
        self,
        block_fn: BlockFunction,
        inputs: list[Any],
        state: SessionState | None,
        explicit_call: bool = False,
    ) -> list[Any]:
        """As in Blocks. Raises gr.Error for values of the wrong type and for foreign files."""
        try:
            _check(inputs)
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except _INPUT_ERRORS as error:
            raise user_error(text("en", "trouble.odd")) from error

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As in Blocks, but every exception is a gr.Error with one sentence for users."""
        with boundary():
            try:
                _check(event_data(kwargs.get("event_data")))
                return await super().process_api(*args, **kwargs)
            except gr.Error as error:
                if not error.print_exception:  # ours
                    raise
                raise user_error(text("en", "trouble.odd")) from error


def _check(value: Any) -> None:
    if has_foreign_path(value):
        raise user_error(text("en", "trouble.foreign"))


def has_foreign_path(value: Any) -> bool:
    """Whether this JSON contains a path that is neither an upload nor an example."""
    if isinstance(value, (list, tuple)):
        return any(map(has_foreign_path, value))
    if not isinstance(value, dict):
        return False
    path = value.get("path")
    if isinstance(path, str) and path and not is_known_file(path):
        return True
    return any(map(has_foreign_path, value.values()))
