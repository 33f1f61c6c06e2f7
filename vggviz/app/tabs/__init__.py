"""The tabs beside Explore: one file each, with its name's key and how it is built."""

from vggviz.app.tabs import all_stages, all_types, faithful, paint, pixel, what_if

__all__ = ["TABS"]

TABS = {
    "paint": paint,
    "pixel": pixel,
    "blocks": all_stages,
    "types": all_types,
    "what_if": what_if,
    "faithful": faithful,
}
"""The tabs in order, by id, which also stands in links: `shell.tabs` opens the one whose id is
`selected`."""
