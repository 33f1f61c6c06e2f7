"""Maps as colours, as overlays, as the figure for a lecture and as a page to print."""

from vggviz.plotting.figure import figure
from vggviz.plotting.maps import COLORMAPS, colours, data_uri, gradient, overlay, resize, stretch
from vggviz.plotting.notebook import notebook
from vggviz.plotting.page import is_own_png, png, svg
from vggviz.plotting.report import report

__all__ = [
    "COLORMAPS",
    "colours",
    "data_uri",
    "figure",
    "gradient",
    "is_own_png",
    "notebook",
    "overlay",
    "png",
    "report",
    "resize",
    "stretch",
    "svg",
]
