"""A view of a result: stage, method, layout and colours, rendered without a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vggviz.app.errors import user_error
from vggviz.app.session import Session
from vggviz.cam import METHODS
from vggviz.plotting import COLORMAPS

__all__ = ["LAYOUTS", "View", "check_options", "view_options"]

LAYOUTS = ("side", "original-attention", "original-cam", "attention-cam")


def view_options() -> dict[str, Sequence[str]]:
    """The values of each field of a `View` except the stage, in their order, the default first."""
    return {
        "method": tuple(METHODS),
        "layout": LAYOUTS,
        "on": ("crop", "picture"),
        "colours": COLORMAPS,
        "scale": ("raw", "stretch"),
        "thumbnails": ("cam", "attention"),
    }


class View(NamedTuple):
    """A stage of the result, and a value of each of `view_options`."""

    stage: str
    method: str = "gradcam"
    layout: str = "side"
    on: str = "crop"
    colours: str = "inferno"
    scale: str = "raw"
    thumbnails: str = "cam"

    @classmethod
    def parse(cls, session: Session, values: Sequence[object]) -> View:
        """The view of the last result from the values of its fields as a browser sent them, which
        may be anything. Raises gr.Error where there is no such view."""
        stage, *options = values
        if stage not in session.current.names:
            raise user_error(session.text("trouble.view"))
        check_options(session, options)
        return cls(*map(str, values))


def check_options(session: Session, options: Sequence[object]) -> None:
    """Raise gr.Error unless each option is one of the values in `view_options`, in its order."""
    known = view_options().values()
    if any(one not in values for one, values in zip(options, known, strict=False)):
        raise user_error(session.text("trouble.view"))
