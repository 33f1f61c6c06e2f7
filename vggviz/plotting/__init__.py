"""Maps as colours, as overlays, as the figure for a lecture and as a page to print."""

from vggviz.plotting.figure import figure
from vggviz.plotting.maps import COLORMAPS, colours, data_uri, gradient, overlay, resize, stretch
from vggviz.plotting.page import png, svg
from vggviz.plotting.report import METHOD_NAMES, report

__all__ = [
    "COLORMAPS",
    "METHOD_NAMES",
    "colours",
    "data_uri",
    "figure",
    "gradient",
    "overlay",
    "png",
    "report",
    "resize",
    "stretch",
    "svg",
]
