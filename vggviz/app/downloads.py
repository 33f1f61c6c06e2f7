"""The menu of downloads, whose files are sent within the response, and links to the page's state.

Nothing is written to a disk: the browser makes the file from the response, so that no address
exists at which anyone else could find it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from vggviz.app.errors import user_error
from vggviz.app.examples import Example
from vggviz.app.inputs import event_data
from vggviz.app.link import COMPONENTS, component_updates, components, page_state, query, read_query
from vggviz.app.session import Session, handler
from vggviz.app.shell import HIDDEN, OPACITY, PRIVATE, Shell
from vggviz.app.tabs import TABS
from vggviz.app.view import View
from vggviz.explanation import FORMATS
from vggviz.locales import preferred_language, text
from vggviz.weights import REPLACED

__all__ = ["build", "download", "menu", "open_link"]

MOST_BYTES = 48 << 20
"""The most bytes of a file that goes through the page."""
DRAWN = ("png", "svg")
"""The formats that the browser makes of what is on the screen: see `save.js`."""
TYPES = {
    "npz": "application/zip",
    "json": "application/json",
    "html": "text/html",
}
"""The formats that the server makes, with their media types."""


def menu(lang: str = "en") -> str:
    """The menu: a button a format, and one that copies the link."""
    buttons = "".join(
        f'<button type="button" data-format="{format}">{escape(text(lang, f"take.{format}"))}'
        f"<small>{format.upper()}</small></button>"
        for format in (*DRAWN, *TYPES)
    )
    link = escape(text(lang, "take.link"))
    return (
        f'<details lang="{lang}"><summary>{escape(text(lang, "take.name"))}</summary>'
        f'<div role="group" aria-label="{escape(text(lang, "take.name"))}">{buttons}'
        f'<button type="button" data-format="link">{link}</button>'
        f'<output data-copied="{escape(text(lang, "take.copied"))}" '
        f'data-failed="{escape(text(lang, "take.failed"))}"></output></div></details>'
    )


@handler
def download(
    session: Session,
    view: View,
    target: str,
    pictures: Sequence[Example],
    format: str,
    tab: str = "explore",
    address: str = "",
    opacity: float = OPACITY,
) -> dict[str, str]:
    """A file as {name, type, data}, data in base64, or {query} for the format 'link'.

    `target` is the class that was chosen, `address` that of the page, for a link
    in the report. What a result doesn't hold comes from the cache, or is computed again. Raises
    gr.Error.
    """
    if session.result is None:
        raise user_error(session.text("take.nothing"))
    result = session.result
    state = page_state(session, view, tab, pictures, target, opacity)
    if format == "link":
        if state is None:
            raise user_error(session.text("take.no_link"))
        return {"query": query(state)}
    if format not in TYPES:
        raise user_error(session.text("take.no_format"))
    explanation = session.explanation()
    stem = re.sub(r"[^a-z0-9]+", "-", f"{result.target.label} {result.attention}".lower())
    stem = f"vggviz-{stem.strip('-')[:60]}"
    if format == "html":
        link = f"{address}?{query(state)}" if state and address else ""
        content = explanation.report(lang=session.lang, link=link, scale=view.scale).encode()
    else:
        title = f"{explanation.network}: {result.top[0].label}"
        content = FORMATS[format](explanation, title, session.lang)
    if len(content) > MOST_BYTES:
        sizes = {"size": len(content) >> 20, "most": MOST_BYTES >> 20}
        raise user_error(session.text("take.too_large", **sizes))
    data = base64.b64encode(content).decode()
    return {"name": f"{stem}.{format}", "type": TYPES[format], "data": data}


@handler
def open_link(
    session: Session,
    pictures: Sequence[Example],
    parameters: dict[str, str],
    run_request: int,
) -> tuple[Any, ...]:
    """The page's components (`COMPONENTS`) and a new `run_request` as the page opens by a link.
    Parts of the link that do not exist are ignored, with a warning; of weights that others
    replaced it is said."""
    if (name := parameters.get("weights", "")) in REPLACED:
        gr.Info(escape(session.text("take.replaced", name=name, by=REPLACED[name])))
    state, ignored = read_query(session, parameters, pictures, ("explore", *TABS))
    if ignored:
        listed = ", ".join(f"{name}={parameters[name][:40]}" for name in ignored)
        gr.Warning(escape(session.text("take.ignored", listed=listed), quote=False))
    if not any(state._replace(lang="")):
        return tuple(gr.skip() for _ in (*COMPONENTS, "run_request"))
    return (*component_updates(session, pictures, state), run_request + 1)


def build(shell: Shell, opened: Any, part: gr.HTML, pictures: Sequence[Example]) -> None:
    """Connect the menu, a `gr.HTML` of `menu` with the script `CLICK`, and links into the page,
    which are read after the event `opened`: by then the page has its language."""
    file = gr.JSON(visible=False)

    def choose(
        session: Session, target: str, opacity: float, event: gr.EventData, *view: str
    ) -> dict[str, str]:
        """The entry that was clicked. It comes from a browser: it may be anything."""
        data = {name: event_data(event).get(name) for name in ("format", "tab", "address")}
        texts = {name: value for name, value in data.items() if isinstance(value, str)}
        return download(
            session,
            View(*view),
            target,
            pictures,
            texts.get("format", ""),
            texts.get("tab", "") if texts.get("tab") in TABS else "explore",
            texts.get("address", "")[:300],
            opacity,
        )

    def load(session: Session, run_request: int, request: gr.Request) -> tuple[Any, ...]:
        parameters = dict(request.query_params)
        header = request.headers.get("accept-language")
        lang = preferred_language(parameters.get("lang"), header)
        session = replace(session, lang=lang)
        return open_link(session, pictures, parameters, run_request)

    made = part.select(
        shell.bind(choose),
        [*shell.states, shell.target, shell.view["opacity"], *shell.view_inputs],
        file,
        concurrency_id="network",
        show_progress_on=[part],
        **PRIVATE,
    )
    made.success(None, file, file, js=_SAVE, **PRIVATE)
    made.failure(None, None, None, js=_CLEAR, **PRIVATE)
    opened.then(
        shell.bind(load),
        [*shell.states, shell.run_request],
        [*components(shell), shell.run_request],
        concurrency_id="network",
        **HIDDEN,
    ).then(None, None, None, js="() => { window.vggviz.linked = true; }", **HIDDEN)


CLICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-format]");
  if (!button) return;
  const tab = document.querySelector('#tabs [role="tab"][aria-selected="true"]');
  const status = element.querySelector("output");
  status.textContent = "…";
  if (DRAWN.includes(button.dataset.format)) {
    window.vggviz.save(button.dataset.format)
      .then((name) => { status.textContent = name; })
      .catch(() => {
        status.textContent = "";
        window.vggviz.say(status.dataset.failed);
      });
    return;
  }
  trigger("select", {
    format: button.dataset.format,
    tab: tab?.dataset.tabId ?? "",
    address: location.origin + location.pathname,
  });
});
document.addEventListener("click", (event) => {
  if (!element.contains(event.target)) element.querySelector("details")?.removeAttribute("open");
});
element.addEventListener("keydown", (event) => {
  const details = element.querySelector("details");
  if (event.key === "Escape" && details.open) {
    details.open = false;
    details.querySelector("summary").focus();
  }
});
""".replace("DRAWN", json.dumps(DRAWN))
"""The menu's script: a click is a `select` event; a click elsewhere or Escape closes the menu."""

_CLEAR = "() => { document.querySelector('#take output').textContent = ''; }"

_SAVE = """
async (file) => {
  const status = document.querySelector("#take output");
  if (file?.data) {
    const bytes = Uint8Array.from(atob(file.data), (letter) => letter.charCodeAt(0));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([bytes], {type: file.type}));
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    status.textContent = file.name;
  } else if (file?.query) {
    const paint = new URLSearchParams(location.search).get("paint"); // which the browser alone has
    const query = file.query + (paint ? "&paint=" + paint : "");
    const text = location.origin + location.pathname + "?" + query;
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // only a page of https or of this machine may use the clipboard's own interface
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    status.textContent = status.dataset.copied;
  }
  return null;
}
"""
