"""Maps as colours, as overlays, as the figure for a lecture and as a page to print."""

from vggviz.render.figure import figure
from vggviz.render.maps import COLORMAPS, colours, data_uri, overlay, resize, stretch
from vggviz.render.page import png, svg

__all__ = [
    "COLORMAPS",
    "colours",
    "data_uri",
    "figure",
    "overlay",
    "png",
    "resize",
    "stretch",
    "svg",
]
