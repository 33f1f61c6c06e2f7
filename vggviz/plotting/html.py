"""A result as HTML that fetches nothing: a report to read and to print, and a notebook's view."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vggviz.inline import bars
from vggviz.locales import section, text
from vggviz.plotting.maps import Pixels, data_uri, gradient, overlay
from vggviz.plotting.numbers import number
from vggviz.plotting.panels import Panel, Panels, stage_name
from vggviz.types import Prediction, Ranked

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["chart", "notebook", "report"]

SIDE = 256  # pixels of a report's picture, at least: sharp on paper at 4 cm
SMALL = 112  # pixels of a notebook's picture


def report(
    crop: Pixels,
    prediction: Prediction,
    panels: Panels,
    *,
    target: Ranked,
    title: str = "",
    subtitle: str = "",
    notes: Sequence[str] = (),
    footer: Sequence[str] = (),
    link: str = "",
    lang: str = "en",
    explanations: Mapping[str, str] | None = None,
) -> str:
    """A page of HTML in the language `lang`, a key of `LANGUAGES`.

    The crop, the top 5 and how to read maps, then the rows of `panels`, a map a stage with what its
    colours stand for. `title` is by default the predicted class, `subtitle` stands beside it,
    `notes` below it, `footer` at the end; `link` is an address that shows the same. `explanations`
    are a sentence for each CAM method, by key. All of these are text, never markup. Pictures are
    inlined, there is no script, and the page forbids itself to fetch.
    """
    words = section(lang, "report")
    ranks = list(enumerate(prediction, 1))
    beyond = [rank for rank in ranks[5:] if rank[1].index == target.index][:1]
    first = prediction.top(1)[0]

    def row_title(panel: Panel) -> str:
        if panel.target is not None:
            return words["for"].format(method=panel.title, label=target.label)
        title = words.get(panel.kind.removesuffix(" attention"), panel.title)
        return title[:1].upper() + title[1:]

    large = crop
    if len(crop) < SIDE:  # so that a map laid on a small crop has smooth colours
        large = _resized(crop, SIDE, Image.Resampling.BICUBIC)
    return _template("report").render(
        tag=text(lang, "language.tag"),
        words=words,
        labels=section(lang, "figure"),
        title=title or f"{first.label} · {first.probability:.0%}",
        subtitle=subtitle,
        notes=[note[:1].upper() + note[1:] for note in notes],
        side=len(crop),
        crop=large,
        classes=ranks[:5] + beyond,
        target=target,
        rows=panels.rows,
        stage_name=partial(stage_name, lang=lang),
        row_title=row_title,
        explanations=explanations or {},
        footer=footer,
        link=link if re.match(r"https?://", link) else "",
        ramp=gradient(),
    )


def notebook(
    crop: Pixels, prediction: Prediction, panels: Panels, *, target: Ranked, about: str
) -> str:
    """Compact HTML for a notebook: `about`, the crop, the top 5, and small pictures row by row.

    Labels and names are text, never markup. There is no script and no style sheet.
    """
    top = [(one.label, one.probability) for one in prediction.top(5)]
    if target.label not in (label for label, _ in top):
        top.append((target.label, target.probability))
    return _template("notebook").render(
        about=about,
        crop=_resized(crop, SMALL, Image.Resampling.BOX),
        bars=bars(top, target.label),
        labels=section("en", "figure"),
        rows=panels.rows,
        side=SMALL,
    )


def _resized(crop: Pixels, side: int, how: Image.Resampling) -> Pixels:
    return np.asarray(Image.fromarray(crop).resize((side, side), how))


@lru_cache
def _template(name: str) -> Template:
    """A file beside this module; all values are escaped."""
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    functions = {"chart": chart, "data_uri": data_uri, "number": number, "overlay": overlay}
    environment.globals.update(functions, scale=_scale)
    return environment.get_template(f"{name}.html")


def chart(panel: Panel) -> str:
    """An SVG path of the raw channel weights from the highest down, one unit wide each, 100 high
    from 0 to `_scale`."""
    raw = np.sort(panel.values.astype(np.float64))[::-1]
    heights = [f"{100 - 100 * max(0.0, value) / _scale(panel):.2f}" for value in raw]
    return "M0 100" + "".join(f"V{height}H{x}" for x, height in enumerate(heights, 1)) + "V100Z"


def _scale(panel: Panel) -> float:
    """The power of ten at or above the highest weight."""
    most = panel.scale.most
    return 10.0 ** math.ceil(math.log10(most)) if most > 0 else 1.0
