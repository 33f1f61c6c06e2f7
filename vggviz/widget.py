"""A notebook's controls over the maps of one picture. Needs the extra 'notebook'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import anywidget
import numpy as np
import traitlets
from typing_extensions import Self

from vggviz.attention import ATTENTION
from vggviz.cam import METHODS
from vggviz.explanation import Explanation
from vggviz.images import ImageSource, open_image
from vggviz.inline import data_uri
from vggviz.locales import text, translated
from vggviz.plotting import colours, gradient, resize, stage_name
from vggviz.plotting.html import chart
from vggviz.plotting.panels import Panel
from vggviz.types import Error, InputError
from vggviz.weights import bundled_types

__all__ = ["ExplanationWidget"]

LABELS = {
    "attention": "shell.attention",
    "stage": "explore.stage",
    "method": "explore.method",
    "target": "widget.target",
}
"""The synchronised choices, in the order of the controls, with the keys of their labels."""


class Source(Protocol):
    """What explains the picture: an `Explainer`."""

    model: Any
    card: Any
    labels: Any
    precision: str
    device: Any

    def explain(
        self,
        image: ImageSource,
        stages: Sequence[str],
        methods: Sequence[str],
        target: int | None,
    ) -> Explanation:
        """One picture, explained."""
        ...

    @classmethod
    def load(cls, weights: str, attention: str, *, precision: str, device: Any) -> Self:
        """The same weights with another attention type."""
        ...


class ExplanationWidget(anywidget.AnyWidget):
    """One picture with its attention and one CAM, and controls for what they are of.

    `attention` is a type that the weights come with, `stage` a stage of the network, `method` a key
    of `METHODS`, `target` a class index or None for the predicted class, `opacity` in [0, 1]. All
    can be set from Python and by the controls; an unknown value raises TraitError.
    `explanation` is what the maps were drawn from last, of one stage and one method.

    The browser gets `options`, `texts` and the `view`: data, never markup.
    """

    _esm = Path(__file__).with_name("widget.js").read_text("utf-8")

    attention = traitlets.Unicode().tag(sync=True)
    stage = traitlets.Unicode().tag(sync=True)
    method = traitlets.Unicode("gradcam").tag(sync=True)
    target = traitlets.Int(None, allow_none=True).tag(sync=True)
    opacity = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    options = traitlets.Dict().tag(sync=True)
    texts = traitlets.Dict().tag(sync=True)
    view = traitlets.Dict().tag(sync=True)

    explanation: Explanation | None = None

    def __init__(self, explainer: Source, image: ImageSource, lang: str = "en") -> None:
        self._lang, self._picture = lang, open_image(image)
        config, model = explainer.card.config, explainer.model
        self._explainers = {config.attention: explainer}
        usable = [stage for stage in model.stages if stage in model.attention] or model.stages
        super().__init__(
            attention=config.attention,
            stage=usable[-2:][0],  # the last but one: of a VGG block 4, where maps point best
            options=self._options(explainer),
            texts={
                **{name: text(lang, key) for name, key in LABELS.items()},
                "opacity": text(lang, "explore.opacity"),
                "title": text(lang, "shell.title"),
                "says": text(lang, "explore.says"),
                "crop": text(lang, "figure.crop"),
                "gradient": gradient(),
            },
        )
        self._update()
        self.observe(self._update, list(LABELS))

    def _options(self, explainer: Source) -> dict[str, list[tuple[str | int | None, str]]]:
        """The values of each choice with their titles, in the order of the list."""
        lang, card = self._lang, explainer.card
        types = dict.fromkeys((*bundled_types(card.weights), card.config.attention))
        titles = {key: one.title for key, one in ATTENTION.items()}
        order = sorted(enumerate(explainer.labels), key=lambda one: one[1].lower())
        return {
            "attention": [
                (key, translated(lang, f"attention.{key}.name", titles.get(key, key)))
                for key in types
            ],
            "stage": [(stage, stage_name(stage, lang)) for stage in explainer.model.stages],
            "method": [
                (key, translated(lang, f"method.{key}.name", method.title))
                for key, method in METHODS.items()
            ],
            "target": [(None, text(lang, "shell.predicted")), *order],
        }

    @traitlets.validate("attention", "stage", "method", "target")
    def _check(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if value not in (known := [key for key, _ in self.options[name]]):
            some = ", ".join(map(repr, known[:20]))
            raise traitlets.TraitError(f"no {name} {value!r}: choose one of {some}")
        return value

    def _update(self, _: object = None) -> None:
        """Explain the picture as chosen and show it, or the sentence on why that is impossible.
        `view["of"]` is the choice, by which the browser knows whether it is still the current one.
        """
        chosen = {name: getattr(self, name) for name in LABELS}
        try:
            self.explanation = explanation = self._explain([self.method])
            view = self._drawn(explanation)
        except InputError as error:  # a method that needs what is not here: the rest is shown
            view = self._drawn(self._explain([]))
            view["notes"].append(error.message(self._lang))
        except Error as error:
            view = {"notes": [error.message(self._lang)]}
        self.view = {"of": chosen, **view}

    def __repr__(self) -> str:
        return f"<ExplanationWidget of {self.explanation!r}>"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and for readers of a notebook that doesn't run the explanation."""
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        if self.explanation is not None:
            data["text/html"] = self.explanation._repr_html_()
        return data, metadata

    def _explain(self, methods: Sequence[str]) -> Explanation:
        (first, *_), key = self._explainers.values(), self.attention
        if key not in self._explainers:
            options = {"precision": first.precision, "device": first.device}
            self._explainers[key] = type(first).load(first.card.weights, key, **options)
        return self._explainers[key].explain(self._picture, [self.stage], methods, self.target)

    def _drawn(self, explanation: Explanation) -> dict[str, Any]:
        lang, stage = self._lang, stage_name(self.stage, self._lang)
        panels = [row[self.stage] for row in explanation.panels(lang).rows]
        notes = [explanation.note(lang), explanation.picture_note(lang)]
        if self.stage not in explanation.attention:
            notes.append(text(lang, "explore.not_here", block=stage))
        top = explanation.prediction.top(5)
        return {
            "crop": data_uri(explanation.image),
            "tiles": [_tile(panel, explanation, stage) for panel in panels],
            "top": [(one.label, f"{one.probability:.1%}", one.probability) for one in top],
            "notes": [note for note in notes if note],
        }


def _tile(panel: Panel, explanation: Explanation, stage: str) -> dict[str, Any]:
    """A panel for the browser: a map as a picture over the crop, channel weights as an SVG path."""
    title = panel.title
    if panel.target is not None:
        title = f"{title}: {explanation.target.label}"
    tile = {"title": title, "alt": f"{title}, {stage}", "ends": panel.ends, "size": panel.size}
    if panel.scale.flat:
        return tile
    if panel.values.ndim == 1:
        return {**tile, "path": chart(panel), "count": len(panel.values)}
    side = len(explanation.image)
    rgb = np.rint(255 * colours(resize(panel.unit, (side, side)))).astype(np.uint8)
    return {**tile, "heat": data_uri(rgb)}
