"""The tabs beside Explore: one file each, with its name's key and how it is built."""

from vggviz.app.tabs import blocks, faithful, lessons, pixel, types, what_if

__all__ = ["TABS"]

TABS = {
    "pixel": pixel,
    "blocks": blocks,
    "types": types,
    "what_if": what_if,
    "faithful": faithful,
    "lessons": lessons,
}
"""The tabs in order, by id: `shell.tabs` opens the one whose id is `selected`."""
