"""Maps as colours, as overlays, as the figure for a lecture and as a page to print."""

from vggviz.plotting.figure import figure
from vggviz.plotting.html import notebook, report
from vggviz.plotting.maps import COLORMAPS, colours, data_uri, gradient, overlay, resize, stretch
from vggviz.plotting.page import is_own_png, png, svg
from vggviz.plotting.panels import panels, stage_name

__all__ = [
    "COLORMAPS",
    "colours",
    "data_uri",
    "figure",
    "gradient",
    "is_own_png",
    "notebook",
    "overlay",
    "panels",
    "png",
    "report",
    "resize",
    "stage_name",
    "stretch",
    "svg",
]
