"""What people take home: files that travel inside the answer, and a link to what is shown.

Nothing is written to a disk: the browser makes the file from what it was sent, so there is no
address at which anyone else could find it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from vggviz.app.examples import Example
from vggviz.app.handlers import boundary
from vggviz.app.inputs import refusal, sent
from vggviz.app.link import PARTS, asked, parts, query, read, settings
from vggviz.app.networks import Networks, Owned
from vggviz.app.parts.maps import View
from vggviz.app.pictures import Shown
from vggviz.app.rerun import recall
from vggviz.app.shell import HIDDEN, OPACITY, Shell
from vggviz.explanation import FORMATS
from vggviz.locales import preferred_language, text

__all__ = ["build", "menu", "open_link", "take"]

ROOM = 48 << 20
"""The most bytes of a file that goes through the page."""
TYPES = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "npz": "application/zip",
    "json": "application/json",
    "html": "text/html",
}
"""The formats in the menu's order, with their media types."""


def menu(lang: str = "en") -> str:
    """The menu: a button a format, and one that copies the link."""
    buttons = "".join(
        f'<button type="button" data-format="{format}">{escape(text(lang, f"take.{format}"))}'
        f"<small>{format.upper()}</small></button>"
        for format in TYPES
    )
    link = escape(text(lang, "take.link"))
    return (
        f'<details lang="{lang}"><summary>{escape(text(lang, "take.name"))}</summary>'
        f'<div role="group" aria-label="{escape(text(lang, "take.name"))}">{buttons}'
        f'<button type="button" data-format="link">{link}</button>'
        f'<output data-copied="{escape(text(lang, "take.copied"))}"></output></div></details>'
    )


def take(
    networks: Networks,
    shown: Shown | None,
    view: View,
    target: str,
    own: Owned,
    lang: str,
    pictures: Sequence[Example],
    format: str,
    tab: str = "explore",
    address: str = "",
    opacity: float = OPACITY,
) -> dict[str, str]:
    """A file as {name, type, data}, data in base64, or {query} for the format 'link'.

    The network runs once more on the very square that is shown, since a session does not keep
    whole attention maps. Raises gr.Error, a sentence for people.
    """
    if shown is None:
        raise refusal(text(lang, "take.nothing"))
    state = asked(shown, view, tab, lang, pictures, target, opacity)
    if format == "link":
        if state is None:
            raise refusal(text(lang, "take.no_link"))
        return {"query": query(state)}
    if format not in TYPES:
        raise refusal(text(lang, "take.no_format"))
    with boundary(lang):
        explanation = recall(networks, shown, own)
        stem = re.sub(r"[^a-z0-9]+", "-", f"{shown.target.label} {shown.attention}".lower())
        stem = f"vggviz-{stem.strip('-')[:60]}"
        if format == "html":
            link = f"{address}?{query(state)}" if state and address else ""
            content = explanation.report(lang=lang, link=link).encode()
        else:
            title = f"{explanation.network}: {shown.top[0].label}"
            content = FORMATS[format](explanation, title, lang)
    if len(content) > ROOM:
        raise refusal(text(lang, "take.too_large", size=len(content) >> 20, most=ROOM >> 20))
    data = base64.b64encode(content).decode()
    return {"name": f"{stem}.{format}", "type": TYPES[format], "data": data}


def open_link(
    networks: Networks,
    pictures: Sequence[Example],
    tabs: Sequence[str],
    given: dict[str, str],
    wish: int,
    accepted: str | None = None,
) -> tuple[Any, ...]:
    """What the page's parts (`PARTS`) and the wish become when it is opened by a link."""
    state, ignored = read(given, networks, pictures, tabs)
    lang = preferred_language(given.get("lang"), accepted)
    if ignored:
        listed = ", ".join(f"{name}={given[name][:40]}" for name in ignored)
        gr.Warning(escape(text(lang, "take.ignored", listed=listed), quote=False))
    if not any(state._replace(lang="")):
        return tuple(gr.skip() for _ in (*PARTS, "wish"))
    with boundary(lang):
        return (*settings(networks, pictures, state, lang=lang), wish + 1)


def build(
    shell: Shell,
    opened: Any,
    part: gr.HTML,
    pictures: Sequence[Example],
    tabs: Sequence[str],
) -> None:
    """Wire up the menu, a `gr.HTML` of `menu` with the script `CLICK`, and links into the page,
    which are read after the event `opened`: by then the page speaks its language."""
    given = gr.JSON(visible=False)

    def choose(
        shown: Shown,
        target: str,
        own: Owned,
        lang: str,
        opacity: float,
        event: gr.EventData,
        *view: str,
    ) -> dict[str, str]:
        """What was clicked comes from a browser: it may be anything."""
        asked_for = {name: sent(event).get(name) for name in ("format", "tab", "address")}
        texts = {name: text for name, text in asked_for.items() if isinstance(text, str)}
        tab = texts.get("tab", "")
        return take(
            shell.networks,
            shown,
            View(*view),
            target,
            own,
            lang,
            pictures,
            texts.get("format", ""),
            tab if tab in tabs else "explore",
            texts.get("address", "")[:300],
            opacity,
        )

    def load(wish: int, request: gr.Request) -> tuple[Any, ...]:
        query = dict(request.query_params)
        header = request.headers.get("accept-language")
        return open_link(shell.networks, pictures, tabs, query, wish, header)

    *looks, opacity = shell.view.values()
    view = [shell.stage, *looks]
    part.select(
        choose,
        [shell.shown, shell.target, shell.own, shell.lang, opacity, *view],
        given,
        concurrency_id="network",
        show_progress_on=[part],
        api_visibility="private",
    ).success(None, given, given, js=_GIVE, api_visibility="private")
    opened.then(
        load,
        shell.wish,
        [*parts(shell), shell.wish],
        concurrency_id="network",
        api_visibility="private",
        **HIDDEN,
    )


CLICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-format]");
  if (!button) return;
  const tab = document.querySelector('#tabs [role="tab"][aria-selected="true"]');
  element.querySelector("output").textContent = "…";
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
"""
"""The menu's script: a click is a `select` event; a click elsewhere or Escape closes the menu."""

_GIVE = """
async (given) => {
  const said = document.querySelector("#take output");
  if (given?.data) {
    const bytes = Uint8Array.from(atob(given.data), (letter) => letter.charCodeAt(0));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([bytes], {type: given.type}));
    link.download = given.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    said.textContent = given.name;
  } else if (given?.query) {
    const text = location.origin + location.pathname + "?" + given.query;
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
    said.textContent = said.dataset.copied;
  }
  return null;
}
"""
