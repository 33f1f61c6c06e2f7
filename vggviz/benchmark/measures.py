"""The measures, each on its own: response times, memory, start, finding attention."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from vggviz.cache import Cache, explain_cached
from vggviz.cam import cams
from vggviz.explainer import Explainer
from vggviz.explanation import Explanation
from vggviz.hooks import finding
from vggviz.metrics.agreement import agreement
from vggviz.metrics.faithfulness import perturb
from vggviz.networks import ForeignNetwork
from vggviz.platform.timing import Interval
from vggviz.plotting import overlay, stretch
from vggviz.weights import assets_folder

__all__ = ["MEASURES", "Measure", "MeasureValues", "find_works"]

Take = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number in `unit`, taken anew each time; `often` times a round."""

    label: str
    unit: str
    aim: str
    prepare: Callable[[], Take]
    often: int = 1


@dataclass(frozen=True, slots=True)
class MeasureValues:
    """The values of one measure, in `unit`; `aim` is what it should be."""

    label: str
    unit: str
    aim: str
    values: tuple[float, ...]

    @property
    def interval(self) -> Interval:
        """The median, and where it lies with a confidence of 95%."""
        return Interval.of(self.values)

    @property
    def p95(self) -> float:
        """What at least 95% of the values don't exceed: of n, the ⌈0.95 n⌉th."""
        return sorted(self.values)[math.ceil(0.95 * len(self.values)) - 1]

    def to_json(self) -> dict[str, Any]:
        """All values, the median, its interval and the 95th percentile."""
        return {**asdict(self), **self.interval._asdict(), "p95": self.p95}


def _page() -> Take:
    """A picture's bytes in, all that the page shows of it out: the pictures in turn."""
    explainer, files = Explainer.load("everyday", "cbam"), itertools.cycle(_pictures())

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
    """The same picture once more, at another opacity: no pass."""
    explainer, cache = Explainer.load("everyday", "cbam"), Cache()
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
    explainer, file = Explainer.load("everyday", "cbam"), _pictures()[0]
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
    return lambda: (
        _printed_number(_PEAK.replace("{work}", _FIVE))
        / _printed_number(_PEAK.replace("{work}", _BARE))
    )


def _import() -> Take:
    """`import vggviz` beyond Python itself."""
    program = "import time; t = time.perf_counter(); import vggviz; print(time.perf_counter() - t)"
    return lambda: _printed_number(program)


def _load() -> Take:
    """`Explainer.load` of the bundled network, torch being there already."""
    program = (
        "import torch, time; t = time.perf_counter(); from vggviz import Explainer; "
        "Explainer.load('everyday'); print(time.perf_counter() - t)"
    )
    return lambda: _printed_number(program)


def _printed_number(program: str) -> float:
    """The number that a fresh Python prints."""
    return float(subprocess.check_output([sys.executable, "-c", program]))


def _find(known: bool) -> Take:
    """Finding attention with Grad-CAM at the last stage of SE-ResNet-50, at 224 px, in units of the
    network's bare forward pass just before."""
    bare, explain = find_works(known)

    def take() -> float:
        start = perf_counter()
        bare()
        between = perf_counter()
        explain()
        return (perf_counter() - between) / (between - start)

    return take


def find_works(known: bool) -> tuple[Callable[[], Tensor], Callable[[], tuple[int, Tensor]]]:
    """The bare forward pass of SE-ResNet-50 with random weights, which returns its logits, and one
    pass that finds attention by a search, or at `known` places: it returns how many weights were
    found and a Grad-CAM map (7, 7). Raises ModuleNotFoundError without timm."""
    create = import_module("timm").create_model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = create("legacy_seresnet50").eval().requires_grad_(False)
    network = ForeignNetwork(plain, 224)
    stage, places = network.stages[-1], network.places if known else None
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def bare() -> Tensor:
        logits: Tensor = plain(image)
        return logits

    def explain() -> tuple[int, Tensor]:
        with finding(plain, places) as found:
            result = cams(plain, image, [stage])
        return len(found), result.maps[stage, "gradcam"][0, 0]

    return bare, explain


MEASURES: dict[str, Measure] = {
    "page": Measure("everyday, all that the page shows of a picture", "ms", "p95 ≤ 60", _page, 8),
    "again": Measure("everyday, a second view of the same picture", "ms", "≤ 20", _again, 8),
    "faithful": Measure("everyday, deletion and insertion of one map", "s", "≤ 2", _faithful),
    "find": Measure(
        "find_attention + Grad-CAM of one stage, SE-ResNet-50 at 224 px: first search",
        "× bare forward",
        "",
        partial(_find, known=False),
    ),
    "find-known": Measure(
        "the same at places that are known", "× bare forward", "≤ 1.15", partial(_find, known=True)
    ),
    "memory": Measure(
        "peak memory of five maps at 224 px", "× bare forward and backward", "≤ 1.5", _memory
    ),
    "import": Measure("import vggviz", "s", "≤ 0.1", _import),
    "load": Measure("Explainer.load('everyday') beyond importing torch", "s", "≤ 1.5", _load),
}
