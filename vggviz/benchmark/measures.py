"""What is measured by itself, not against a bare forward pass: answers, memory, the start."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from vggviz.cache import Cache, explain_cached
from vggviz.explainer import Explainer
from vggviz.explanation import Explanation
from vggviz.metrics.agreement import agreement
from vggviz.metrics.faithfulness import perturb
from vggviz.plotting import overlay, stretch
from vggviz.weights import assets_folder

__all__ = ["MEASURES", "Measure"]

Take = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number in `unit`, taken anew each time; `often` times in every round asked for."""

    label: str
    unit: str
    aim: str
    prepare: Callable[[], Take]
    often: int = 1


def _page() -> Take:
    """A picture's bytes in, all that the page shows of it out: the pictures in turn."""
    explainer, files = Explainer.load("tiny50", "cbam"), itertools.cycle(_pictures())

    def take() -> float:
        file = next(files)
        start = perf_counter()
        explanation = explainer.explain(file)
        for stage, records in explanation.attention.items():
            for map in (record.spatial for record in records):
                if map is not None:
                    agreement(map, explanation.heatmaps[stage, "gradcam"].raw)
        _overlays(explanation)
        return 1000 * (perf_counter() - start)

    return take


def _again() -> Take:
    """The same picture asked for once more: another opacity, no pass."""
    explainer, cache = Explainer.load("tiny50", "cbam"), Cache()
    file = _pictures()[0]
    opacities = itertools.cycle((0.3, 0.5, 0.7))
    explain_cached(cache, explainer, file)

    def take() -> float:
        start = perf_counter()
        _overlays(explain_cached(cache, explainer, file)[0], next(opacities))
        return 1000 * (perf_counter() - start)

    return take


def _faithful() -> Take:
    """Deletion and insertion of one Grad-CAM at block 5."""
    explainer, file = Explainer.load("tiny50", "cbam"), _pictures()[0]
    explanation = explainer.explain(file, "block5")
    pixels, heatmap = explainer.preprocess(file), explanation.heatmaps["block5", "gradcam"].values

    def take() -> float:
        start = perf_counter()
        for kind in ("deletion", "insertion"):
            list(perturb(explainer.model, pixels, heatmap, explanation.target.index, kind))
        return perf_counter() - start

    return take


def _pictures() -> list[bytes]:
    return [file.read_bytes() for file in sorted((assets_folder() / "examples").glob("*.jpg"))]


def _overlays(explanation: Explanation, opacity: float = 0.5) -> None:
    """Every map over positions as an array of pixels, at all stages."""
    for heatmap in explanation.heatmaps.values():
        overlay(explanation.image, heatmap.values.numpy(), opacity)
    for records in explanation.attention.values():
        for map in (record.spatial for record in records):
            if map is not None:
                overlay(explanation.image, stretch(map.numpy())[0], opacity)


# The most that a fresh process ever held, beyond what it held before, in MiB.
_PEAK = """
import resource, torch
from vggviz.weights import assets_folder, load_network
from vggviz.cam import cams
from vggviz.explainer import Explainer
model, card = load_network("random", "none", generator=torch.Generator().manual_seed(0))
explainer = Explainer(model, card, precision="exact", copy=False)
model, image = explainer.model, torch.zeros(1, 3, 224, 224)
def held(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = held("VmRSS")
{work}
print((held("VmHWM") - before) / 1024)
"""
_BARE = """
image.requires_grad_(True)
scores = model(image)
torch.autograd.grad(scores[0, 0], image)
"""
_FIVE = """
cams(model, image, [model.path(f"block{n}") for n in range(1, 6)])
"""


def _memory() -> Take:
    """Peak memory of five maps at 224 px over that of one bare forward and backward pass."""
    return lambda: _said(_PEAK.replace("{work}", _FIVE)) / _said(_PEAK.replace("{work}", _BARE))


def _import() -> Take:
    """`import vggviz` beyond Python itself."""
    program = "import time; t = time.perf_counter(); import vggviz; print(time.perf_counter() - t)"
    return lambda: _said(program)


def _load() -> Take:
    """`Explainer.load` of the bundled network, torch being there already."""
    program = (
        "import torch, time; t = time.perf_counter(); from vggviz import Explainer; "
        "Explainer.load('tiny50'); print(time.perf_counter() - t)"
    )
    return lambda: _said(program)


def _said(program: str) -> float:
    """The number that a fresh Python prints."""
    return float(subprocess.check_output([sys.executable, "-c", program]))


MEASURES: dict[str, Measure] = {
    "page": Measure("tiny50, all that the page shows of a picture", "ms", "p95 ≤ 60", _page, 8),
    "again": Measure("tiny50, a second view of the same picture", "ms", "≤ 20", _again, 8),
    "faithful": Measure("tiny50, deletion and insertion of one map", "s", "≤ 2", _faithful),
    "memory": Measure(
        "peak memory of five maps at 224 px", "× bare forward and backward", "≤ 1.5", _memory
    ),
    "import": Measure("import vggviz", "s", "≤ 0.1", _import),
    "load": Measure("Explainer.load('tiny50') beyond importing torch", "s", "≤ 1.5", _load),
}
