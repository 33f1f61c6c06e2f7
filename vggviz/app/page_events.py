"""What the page's own scripts ask for: a state by its address, the next attention type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from vggviz.app.downloads import open_link
from vggviz.app.errors import user_error
from vggviz.app.examples import Example
from vggviz.app.link import COMPONENTS, connect
from vggviz.app.session import Session, handler
from vggviz.app.shell import HIDDEN, Shell

__all__ = ["LISTEN", "answer", "build"]

LISTEN = """
document.addEventListener("vggviz:ask", (event) => trigger("select", event.detail));
"""
"""The script of the component that carries the scripts' events: a 'vggviz:ask' on the document is a
`select` event with its detail."""

LONGEST = 2000  # characters of a query


@handler
def answer(
    session: Session, pictures: Sequence[Example], data: Mapping[str, Any], run_request: int
) -> tuple[Any, ...]:
    """The updates of the page's components (`link.COMPONENTS`) and a new `run_request`: for {query}
    the state of this address, for {attention: 'next'} the next type of these weights.

    `data` comes from a browser and may be anything. Raises gr.Error.
    """
    query = data.get("query")
    if isinstance(query, str):
        return open_link(session, pictures, dict(parse_qsl(query[:LONGEST])), run_request)
    if data.get("attention") != "next":
        raise user_error(session.text("trouble.view"))
    request = session.current.request
    types = session.networks.types(request.weights, session.own)
    following = types[(types.index(request.attention) + 1) % len(types)]
    updates = [following if name == "attention" else gr.skip() for name in COMPONENTS]
    return (*updates, run_request + (len(types) > 1))


def build(shell: Shell, carrier: gr.HTML, pictures: Sequence[Example]) -> None:
    """Connect the component with the script `LISTEN`."""

    def ask(session: Session, data: Mapping[str, Any], run_request: int) -> tuple[Any, ...]:
        return answer(session, pictures, data, run_request)

    connect(shell, carrier, ask, **HIDDEN)
