"""The component that returns the named API's results."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vggviz.gradio_private import JsonData, NoStub

__all__ = ["JSONOutput"]


class JSONOutput(gr.JSON, metaclass=NoStub):
    """A JSON component that also takes JSON as a text, and passes it on as a text: Gradio's MCP
    server would write other values as Python literals."""

    is_template = True

    def postprocess(self, value: Any) -> JsonData | None:
        """Return a text as it is, and anything else as Gradio does."""
        return JsonData(root=value) if isinstance(value, str) else super().postprocess(value)
