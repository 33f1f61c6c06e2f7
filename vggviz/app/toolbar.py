"""The page's own buttons as HTML: open a picture, camera, stage mode, further settings.

Their clicks are handled by `page.js` and `stage.js`, which read the texts that they show from the
attributes here.
"""

from __future__ import annotations

from html import escape

from vggviz.images.formats import image_extensions
from vggviz.locales import text

__all__ = ["PICTURE_BYTES", "more", "skip_link", "source", "stage_button"]

PICTURE_BYTES = 24 << 20
"""The most bytes of a picture that the page uploads: as many as the server takes of any file."""

_ICONS = {
    "open": '<path d="M12 16V5m0 0L7.5 9.5M12 5l4.5 4.5M5 15v3a1.5 1.5 0 0 0 1.5 1.5h11A1.5 1.5 0 '
    '0 0 19 18v-3"/>',
    "camera": '<path d="M4 8.5A1.5 1.5 0 0 1 5.5 7H8l1.5-2h5L16 7h2.5A1.5 1.5 0 0 1 20 8.5v8a1.5 '
    '1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 16.5z"/><circle cx="12" cy="12.5" r="3.3"/>',
    "stage": '<path d="M9 4H4v5m11-5h5v5M9 20H4v-5m11 5h5v-5"/>',
    "more": '<path d="M4 8h9m4 0h3M4 16h3m4 0h9"/><circle cx="15" cy="8" r="2"/>'
    '<circle cx="9" cy="16" r="2"/>',
}


def _icon(name: str) -> str:
    return f'<svg viewBox="0 0 24 24" aria-hidden="true">{_ICONS[name]}</svg>'


def skip_link(lang: str) -> str:
    """A link that is visible while the keyboard is on it: to the first map."""
    return f'<a class="skip" href="#maps">{escape(text(lang, "shell.skip"))}</a>'


def source(lang: str) -> str:
    """The buttons that open a picture and the camera, and what the scripts say of pictures."""
    said = {
        "large": text(lang, "shell.too_large", most=PICTURE_BYTES >> 20),
        "drop": text(lang, "shell.drop"),
        "none": text(lang, "shell.no_file"),
        "lost": text(lang, "shell.lost"),
        "close": text(lang, "shell.close"),
    }
    attributes = "".join(f' data-{key}="{escape(value)}"' for key, value in said.items())
    accept = ",".join(sorted(image_extensions()))
    hint, camera = escape(text(lang, "shell.open_hint")), escape(text(lang, "shell.camera"))
    return (
        f'<div class="source" role="toolbar" aria-label="{escape(text(lang, "shell.picture"))}" '
        f'data-roving data-accept="{accept}" data-most="{PICTURE_BYTES}"{attributes}>'
        f'<button type="button" class="button open" title="{hint}">{_icon("open")}'
        f"<span>{escape(text(lang, 'shell.open'))}</span></button>"
        f'<button type="button" class="button camera" aria-label="{camera}" title="{camera}">'
        f"{_icon('camera')}</button></div>"
    )


def more(lang: str) -> str:
    """The button that shows and hides everything beyond the first look."""
    name = escape(text(lang, "shell.more"))  # a phone shows the icon only
    return (
        f'<button type="button" class="button more" aria-expanded="false" aria-label="{name}">'
        f"{_icon('more')}<span>{name}</span></button>"
    )


def stage_button(lang: str) -> str:
    """The button of stage mode, with its keys for whom they are new."""
    keys = ("digits", "a", "c", "space", "arrows", "escape")
    rows = "".join(
        f"<dt>{escape(text(lang, f'stage_mode.key.{key}'))}</dt>"
        f"<dd>{escape(text(lang, f'stage_mode.{key}'))}</dd>"
        for key in keys
    )
    hint = escape(text(lang, "stage_mode.hint"))
    return (
        f'<button type="button" class="button stage" title="{hint}">'
        f"{_icon('stage')}<span>{escape(text(lang, 'stage_mode.name'))}</span><kbd>F</kbd></button>"
        f'<dl class="keys" hidden>{rows}</dl>'
    )
