"""The explanation of one picture for one class, and its files."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vggviz import plotting
from vggviz.attention import ATTENTION
from vggviz.cam import METHODS
from vggviz.files import atomic_write
from vggviz.images import Crop
from vggviz.locales import text, translated
from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from vggviz.plotting.panels import Panels

__all__ = ["FILES", "FORMATS", "Explanation"]

FILES = ("json", "npz", "png")
"""The formats that are written where no others are asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """One picture explained for one class.

    `image` is the crop that the network saw, uint8 (S, S, 3), and `crop` where it lies in the
    original; `attention` are the records by stage, `heatmaps` the maps by (stage, method), both at
    the stage's resolution and in the network's order; `provenance` names the weights, the versions
    and the settings; `features` are the outputs (C, H, W) of watched layers by name;
    `contributions` (C,), by stage, what each channel of its output contributes to the score of the
    class: Σ_n a_cn ∂z/∂a_cn, where a gradient was computed.
    """

    image: npt.NDArray[np.uint8]
    crop: Crop
    prediction: Prediction
    target: Ranked
    attention: Mapping[str, tuple[AttentionRecord, ...]]
    heatmaps: Mapping[tuple[str, str], Heatmap]
    provenance: Mapping[str, Any]
    features: Mapping[str, Tensor] = field(default_factory=dict[str, "Tensor"])
    contributions: Mapping[str, Tensor] = field(default_factory=dict[str, "Tensor"])

    def note(self, lang: str = "en") -> str:
        """What has not been learned, as a clause; '' where everything was."""
        trained = self.provenance["trained"]
        if trained == "backbone" and not self.provenance["gamma"]:
            trained = "replaced"
        return "" if trained == "all" else text(lang, f"report.{trained}")

    def picture_note(self, lang: str = "en") -> str:
        """What was done to the picture, or is wrong with it, as clauses; '' for nothing."""
        picture, notes = self.provenance.get("picture", {}), []
        if picture.get("stretched"):
            low, high = picture["stretched"]
            notes.append(text(lang, "report.stretched", low=low, high=high))
        if picture.get("one_colour"):
            notes.append(text(lang, "report.one_colour"))
        return text(lang, "language.and").join(notes)

    @property
    def network(self) -> str:
        """The network's name, for a heading."""
        config = self.provenance["config"]
        if "network" in config:
            return str(config["network"])
        family = str(config["architecture"]).partition("_")[0]
        return family.upper().replace("RESNET", "ResNet-")

    @property
    def stages(self) -> tuple[str, ...]:
        """All stages of heatmaps and attention, in the order in which they came: the network's."""
        return tuple(dict.fromkeys((*(stage for stage, _ in self.heatmaps), *self.attention)))

    def spatial(self, stage: str) -> Tensor | None:
        """The attention at a stage as a map over positions, (h, w): that of the first record that
        has one, or, where all weights are of rows and of columns, the mean over channels of their
        product; None for none."""
        records = self.attention.get(stage, ())
        if [record.kind for record in records] == ["axis", "axis"]:
            one, other = (record.weights.reshape(-1, *record.grid) for record in records)
            return (one * other).mean(0)  # (C, H, 1) * (C, 1, W)
        maps = (record.spatial for record in records)
        return next((map for map in maps if map is not None), None)

    def __repr__(self) -> str:
        """Weights, attention, class, methods and how many stages, on one line."""
        methods = dict.fromkeys(method for _, method in self.heatmaps)
        maps = f", {', '.join(methods)}" if methods else ""
        return (
            f"<Explanation {self.provenance['weights']!r} "
            f"{self.provenance['config']['attention']}: {self.target.label!r} "
            f"{self.target.probability:.1%}{maps} at {len(self.stages)} stages>"
        )

    def panels(self, lang: str = "en", scale: str = "raw") -> Panels:
        """Attention and maps as they are drawn, with their texts: a row for each kind of attention,
        then for each method. Colours go from 0 to 1 for weights in [0, 1], else from 0 to the map's
        largest value; with the `scale` 'stretch' from its smallest to its largest value."""
        titles = {
            key: translated(lang, f"method.{key}.name", method.title)
            for key, method in METHODS.items()
        }
        return plotting.panels(self.attention, self.heatmaps, titles, lang, scale)

    def _repr_html_(self) -> str:
        """The result in a notebook."""
        about = " · ".join(filter(None, (self._heading(), self.note())))
        return plotting.notebook(
            self.image, self.prediction, self.panels(), target=self.target, about=about
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON types."""
        stages: dict[str, Any] = {}
        for stage, records in self.attention.items():
            stages.setdefault(stage, {})["attention"] = [
                {
                    **({"path": record.path} if record.path else {}),
                    "kind": record.kind,
                    "shape": list(record.weights.shape),
                    "grid": list(record.grid),
                    "low": record.low,
                    "high": record.high,
                }
                for record in records
            ]
        for (stage, method), heatmap in self.heatmaps.items():
            stages.setdefault(stage, {}).setdefault("maps", {})[method] = {
                "shape": list(heatmap.values.shape),
                "low": heatmap.low,
                "high": heatmap.high,
                "flat": heatmap.flat,
            }
        return {
            "weights": self.provenance["weights"],
            "attention": self.provenance["config"]["attention"],
            "target": self.target._asdict(),
            "top": [ranked._asdict() for ranked in self.prediction.top(5)],
            "note": self.note(),
            "picture_note": self.picture_note(),
            "stages": stages,
            "provenance": dict(self.provenance),
        }

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Raw attention by '{stage}/attention/{kind}', maps by '{stage}/{method}', and 'crop'.

        Attention that was found in a foreign network is '{path}/attention/{kind}', by the module
        that computes it. Of several records with one key the later ones are '{kind}_2',
        '{kind}_3' …, in the order of `attention`.
        """
        found: dict[str, npt.NDArray[Any]] = {"crop": self.image}
        number = Counter[str]()
        for stage, records in self.attention.items():
            for record in records:
                key = f"{record.path or stage}/attention/{record.kind}"
                number[key] += 1
                found[f"{key}_{number[key]}" if number[key] > 1 else key] = record.weights.numpy()
        for (stage, method), heatmap in self.heatmaps.items():
            found[f"{stage}/{method}"] = heatmap.raw.numpy()
        return found

    def _heading(self) -> str:
        """Network, weights and attention."""
        config = self.provenance["config"]
        return " · ".join((self.network, self.provenance["weights"], config["attention"]))

    def figure(self, title: str = "", lang: str = "en") -> Figure:
        """The picture for a lecture: crop, prediction, attention and CAMs, stage by stage."""
        notes = self._heading(), self.note(lang), self.picture_note(lang)
        return plotting.figure(
            self.image,
            self.prediction,
            self.panels(lang),
            title=title or self.network,
            note=" · ".join(filter(None, notes)),
            target=self.target.label,
            lang=lang,
        )

    def report(self, title: str = "", link: str = "", lang: str = "en", scale: str = "raw") -> str:
        """One page of HTML to read and to print, with all pictures in it: see `plotting.report`;
        `scale` is that of the colours, as in `panels`."""
        key, made = self.provenance["config"]["attention"], self.provenance
        attention = key
        if key in ATTENTION:
            name = translated(lang, f"attention.{key}.name", ATTENTION[key].title)
            line = translated(lang, f"attention.{key}.line", ATTENTION[key].explanation)
            attention = text(lang, "report.attention", name=name, line=line)
        footer = [
            text(
                lang,
                "report.made",
                **made["versions"],
                weights=made["weights"],
                attention=key,
                fingerprint=made["fingerprint"] or "–",
            )
        ]
        if made["gamma"]:
            shares = text(lang, "language.list").join(
                f"{plotting.stage_name(stage, lang)}: γ = {value:.2f}".replace("-", "−")
                for stage, value in made["gamma"].items()
            )
            footer.append(text(lang, "report.gamma", shares=shares))
        return plotting.report(
            self.image,
            self.prediction,
            self.panels(lang, scale),
            target=self.target,
            title=title,
            subtitle=f"{self.network} · {made['weights']} · {attention}",
            notes=[note for note in (self.note(lang), self.picture_note(lang)) if note],
            footer=footer,
            link=link,
            lang=lang,
            explanations={
                key: translated(lang, f"method.{key}.line", method.explanation)
                for key, method in METHODS.items()
            },
        )

    def save(
        self,
        folder: str | os.PathLike[str],
        stem: str = "explanation",
        formats: Sequence[str] = FILES,
        lang: str = "en",
    ) -> tuple[Path, ...]:
        """Write `<stem>.<format>` to `folder` for each of `formats`, keys of `FORMATS`, and return
        the paths; each file whole or not at all. Figures and reports are in the language `lang`.

        Raises ValueError for an unknown format, OSError where the folder cannot be written.
        """
        for format in formats:
            if format not in FORMATS:
                raise ValueError(f"no format {format!r}: choose from {', '.join(FORMATS)}")
        files = [Path(folder) / f"{stem}.{format}" for format in formats]
        for file, format in zip(files, formats, strict=True):
            with atomic_write(file) as part:
                part.write_bytes(FORMATS[format](self, stem, lang))
        return tuple(files)


# Names of files that are no UTF-8 hold half pairs of UTF-16: as escapes they are valid JSON, too.
def _json(explanation: Explanation, title: str, lang: str) -> bytes:
    text = json.dumps(explanation.to_json(), indent=2, ensure_ascii=False)
    return text.encode(errors="backslashreplace")


def _npz(explanation: Explanation, title: str, lang: str) -> bytes:
    packed = io.BytesIO()
    arrays: dict[str, Any] = explanation.arrays()
    np.savez(packed, **arrays)
    return packed.getvalue()


def _html(explanation: Explanation, title: str, lang: str) -> bytes:
    return explanation.report(title, lang=lang).encode(errors="backslashreplace")


FORMATS: dict[str, Callable[[Explanation, str, str], bytes]] = {
    "json": _json,
    "npz": _npz,
    "png": lambda explanation, title, lang: plotting.png(explanation.figure(title, lang)),
    "svg": lambda explanation, title, lang: plotting.svg(explanation.figure(title, lang)),
    "html": _html,
}
"""The files of an explanation by their ending: of it, a title and a language, the content."""
