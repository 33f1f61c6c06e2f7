"""The page's own border: what a browser or a program sent is data, never a path or an address."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vggviz.app.errors import boundary, user_error
from vggviz.gradio_private import BlockFunction, SessionState, event_data, is_known_file
from vggviz.locales import text

__all__ = ["Page"]

# What Gradio's components and its models of data raise on values that no page sends.
_ODD: tuple[type[Exception], ...] = (ValueError, TypeError, LookupError, AttributeError)
_ODD += (ArithmeticError, OSError, RecursionError)


class Page(gr.Blocks):
    """Blocks whose events end in a result or in one sentence, whatever was sent.

    Gradio would fetch a picture from any public address that stands where a path should, whole
    and of any size, and it takes a path without its `meta` as it is: here only files that were
    uploaded, or come along, are files.
    """

    async def preprocess_data(
        self,
        block_fn: BlockFunction,
        inputs: list[Any],
        state: SessionState | None,
        explicit_call: bool = False,
    ) -> list[Any]:
        """As Blocks does it. Raises gr.Error for what can't be read, and for foreign files."""
        try:
            _check(inputs)
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except _ODD as error:
            raise user_error(text("en", "trouble.odd")) from error

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As Blocks does it. Raises gr.Error, a sentence for people."""
        with boundary():
            try:
                _check(event_data(kwargs.get("event_data")))
                return await super().process_api(*args, **kwargs)
            except gr.Error as error:
                if not error.print_exception:  # ours
                    raise
                raise user_error(text("en", "trouble.odd")) from error


def _check(value: Any) -> None:
    if foreign(value):
        raise user_error(text("en", "trouble.foreign"))


def foreign(value: Any) -> bool:
    """Whether a path stands anywhere in this JSON that is neither an upload nor an example."""
    if isinstance(value, (list, tuple)):
        return any(map(foreign, value))
    if not isinstance(value, dict):
        return False
    path = value.get("path")
    if isinstance(path, str) and path and not is_known_file(path):
        return True
    return any(map(foreign, value.values()))
