"""What came out for one picture, and its files."""

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

from vggviz import plotting as render
from vggviz.attention import ATTENTION
from vggviz.cam import METHODS
from vggviz.files import atomic_write
from vggviz.images import Crop
from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

__all__ = ["FILES", "FORMATS", "Explanation"]

FILES = ("json", "npz", "png")
"""The formats that are written where no others are asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """One picture explained for one class.

    `image` is the crop that the network saw, uint8 (S, S, 3), and `crop` where it lies in the
    original; `attention` are the records by stage, `heatmaps` the maps by (stage, method), both at
    the stage's resolution and in the network's order; `provenance` tells which weights, which
    versions and how; `features` are the outputs (C, H, W) of what was to be watched, by its name.
    """

    image: npt.NDArray[np.uint8]
    crop: Crop
    prediction: Prediction
    target: Ranked
    attention: Mapping[str, tuple[AttentionRecord, ...]]
    heatmaps: Mapping[tuple[str, str], Heatmap]
    provenance: Mapping[str, Any]
    features: Mapping[str, Tensor] = field(default_factory=dict[str, "Tensor"])

    @property
    def note(self) -> str:
        """What has not been learned, in plain words; '' where everything was."""
        trained = self.provenance["trained"]
        if trained == "nothing":
            return "untrained: all weights are random, nothing here was learned"
        if trained == "backbone" and not self.provenance["gamma"]:
            return "attention untrained: its weights are random, and the network works with them"
        if trained == "backbone":
            return "attention untrained: it is blended in with γ = 0, the network ignores it"
        return ""

    @property
    def network(self) -> str:
        """The network's name, for a heading."""
        config = self.provenance["config"]
        family = str(config.get("architecture", "vgg19")).partition("_")[0]
        return str(config.get("network", family.upper().replace("RESNET", "ResNet-")))

    def _named(self) -> str:
        """Weights and attention, and before them the network where it is not vggviz's own."""
        config = self.provenance["config"]
        own = [config["network"]] if "network" in config else []
        return " · ".join((*own, self.provenance["weights"], config["attention"]))

    @property
    def stages(self) -> tuple[str, ...]:
        """All stages of heatmaps and attention, in the order in which they came: the network's."""
        return tuple(dict.fromkeys((*(stage for stage, _ in self.heatmaps), *self.attention)))

    def __repr__(self) -> str:
        """Weights, attention, class, methods and how many stages, on one line."""
        methods = dict.fromkeys(method for _, method in self.heatmaps)
        maps = f", {', '.join(methods)}" if methods else ""
        return (
            f"<Explanation {self.provenance['weights']!r} "
            f"{self.provenance['config']['attention']}: {self.target.label!r} "
            f"{self.target.probability:.1%}{maps} at {len(self.stages)} stages>"
        )

    def _repr_html_(self) -> str:
        """For notebooks: see `render.notebook`."""
        named = self._named()
        return render.notebook(
            self.image,
            self.prediction,
            self.attention,
            self.heatmaps,
            target=self.target,
            about=f"{named} · {self.note}" if self.note else named,
            order=self.stages,
            titles=_titles(),
        )

    @property
    def picture_note(self) -> str:
        """What was done to the picture, or is wrong with it, in plain words; '' for nothing."""
        picture = self.provenance.get("picture", {})
        notes = []
        if picture.get("stretched"):
            low, high = picture["stretched"]
            notes.append(f"values {low:g} to {high:g} shown as black to white")
        if picture.get("one_colour"):
            notes.append("the picture has one colour: the maps mean nothing")
        return "; ".join(notes)

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
            "note": self.note,
            "picture_note": self.picture_note,
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

    def figure(self, title: str = "") -> Figure:
        """The picture for a lecture: crop, prediction, attention and CAMs, stage by stage."""
        said = " · ".join(filter(None, (self._named(), self.note, self.picture_note)))
        return render.figure(
            self.image,
            self.prediction,
            self.attention,
            self.heatmaps,
            title=title or self.network,
            note=said,
            target=self.target.label,
            order=self.stages,
            titles=_titles(),
        )

    def report(self, title: str = "", link: str = "", lang: str = "en") -> str:
        """One page of HTML to read and to print, with all pictures in it; see `render.report`."""
        key = self.provenance["config"]["attention"]
        spec = ATTENTION.get(key)
        attention, explanations = spec.title if spec else key, dict[str, str]()
        if lang != "zh":  # the sentences of the specs are English
            attention = f"{spec.title}: {spec.explanation}" if spec else key
            explanations = {key: method.explanation for key, method in METHODS.items()}
        return render.report(
            self.image,
            self.prediction,
            self.attention,
            self.heatmaps,
            target=self.target,
            provenance=self.provenance,
            title=title,
            link=link,
            lang=lang,
            order=self.stages,
            titles=_titles(),
            explanations=explanations,
            subtitle=f"{self.network} · {self.provenance['weights']} · {attention}",
        )

    def save(
        self,
        folder: str | os.PathLike[str],
        stem: str = "explanation",
        formats: Sequence[str] = FILES,
    ) -> tuple[Path, ...]:
        """Write `<stem>.<format>` to `folder` for each of `FORMATS` that is asked for; each file
        whole or not at all.

        Returns their paths. Raises ValueError for an unknown format, OSError where the folder
        cannot be written.
        """
        for format in formats:
            if format not in FORMATS:
                raise ValueError(f"no format {format!r}: choose from {', '.join(FORMATS)}")
        return tuple(
            _write(Path(folder) / f"{stem}.{format}", FORMATS[format](self, stem))
            for format in formats
        )


def _titles() -> dict[str, str]:
    """The title of every CAM method by its key."""
    return {key: method.title for key, method in METHODS.items()}


# Names of files that are no UTF-8 hold half pairs of UTF-16: as escapes they are valid JSON, too.
def _json(explanation: Explanation, title: str) -> bytes:
    return json.dumps(explanation.to_json(), indent=2, ensure_ascii=False).encode(
        errors="backslashreplace"
    )


def _npz(explanation: Explanation, title: str) -> bytes:
    packed = io.BytesIO()
    arrays: dict[str, Any] = explanation.arrays()
    np.savez(packed, **arrays)
    return packed.getvalue()


FORMATS: dict[str, Callable[[Explanation, str], bytes]] = {
    "json": _json,
    "npz": _npz,
    "png": lambda explanation, title: render.png(explanation.figure(title)),
    "svg": lambda explanation, title: render.svg(explanation.figure(title)),
    "html": lambda explanation, title: explanation.report(title).encode(errors="backslashreplace"),
}
"""The files of an explanation by their ending: of it and a title, the file's content."""


def _write(file: Path, content: bytes) -> Path:
    with atomic_write(file) as part:
        part.write_bytes(content)
    return file
