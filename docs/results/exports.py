"""Export networks, compare the files with PyTorch, and write onnx.md.

`python docs/results/exports.py WORDS` measures only rows with these words in their names; all
others stay as they are in exports.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from vggviz.cam import METHODS
from vggviz.explainer import Explainer
from vggviz.export.check import differences, rounding
from vggviz.export.trace import Traceable
from vggviz.images import Preprocess
from vggviz.networks import NetworkConfig, build_network, open_network
from vggviz.networks.vgg import VGGS
from vggviz.platform.machine import machine
from vggviz.tables import markdown
from vggviz.types import POSITIONS, AttentionRecord
from vggviz.weights import Card, bundled_types

HERE = Path(__file__).parent
TEXT = """# Exported networks against PyTorch

Written by `python docs/results/exports.py`. A file holds a network's logits, attention and CAMs;
see [the how-to](../how-to/onnx.md). Logits, attention and CAMs: the largest differences between
onnxruntime and PyTorch over three pictures of noise, other ones and more of them than the file was
traced with, for the predicted class, class 0 and class 1; CAMs are scaled to [0, 1] as they are
shown. 'Within 1e-4' counts the outputs of a file that are so near everywhere.

By default onnxruntime lays channels out in blocks (NCHWc), so that convolutions add up in another
order than PyTorch's. Where rounding turns a ReLU on or off, a gradient appears or is gone, and
cells of a map jump by up to 1e-2. 'One order' is with this one optimisation off
(`ORT_ENABLE_EXTENDED`), 'float64' how far PyTorch's own float32 is from float64 for the same
reason; `lite` clips at 0 and at 6 (ReLU6), and has more such places. Its files with all methods
are of its last two stages: with Shapley-CAM's second derivatives at all five, writing a file took
more than 8 minutes, and Grad-CAM++ has [no stable value](../reference/cam-methods.md) at the
first three. VGGs and torchvision's networks have random weights, and norms some statistics of
noise.
"""
MOST = ",".join(name for name, method in METHODS.items() if not method.slow)
LITE = ("none", *bundled_types("lite"))
FOREIGN = {
    "torchvision:resnet18": "layer3,layer4",
    "torchvision:resnet50": "layer4",
    "torchvision:mobilenet_v3_small": "all",
    "torchvision:efficientnet_b0": "features.7,features.8",
    "torchvision:densenet121": "features.denseblock4",
    "torchvision:vit_b_32": "encoder.layers.encoder_layer_11.ln_1",
    "timm:seresnet18": "layer3,layer4",
}


class Row(NamedTuple):
    """One file: of a network with an attention, what it holds, and the side of its pictures."""

    network: str
    attention: str
    stages: str
    methods: str
    size: int = 0

    def title(self) -> str:
        """Network and attention, and the stages of a network that has rows of several."""
        stages = f" {self.stages}" if self.network == "lite" else ""
        return f"{self.network} {self.attention}{stages}".strip()


ROWS = [
    *(Row("everyday", attention, "all", MOST) for attention in bundled_types()),
    *(Row("lite", attention, "all", "gradcam,layercam") for attention in LITE),
    *(Row("lite", attention, "block4,block5", MOST) for attention in LITE),
    *(Row(name, "none", "block4,block5", "gradcam,layercam", 224) for name in VGGS),
    *(
        Row(name, "", stages, "gradcam,layercam", 224 if "vit" in name else 96)
        for name, stages in FOREIGN.items()
    ),
]


def explainer(row: Row) -> Explainer:
    """Bundled weights, or random ones, which need no download."""
    if not row.size:
        return Explainer.load(row.network, row.attention)
    generator = torch.Generator().manual_seed(0)
    if row.network in VGGS:
        config = NetworkConfig(architecture=row.network)
        model = build_network(config, generator)
        labels = tuple(f"class {k}" for k in range(1000))
        return Explainer(model, Card("random", config, Preprocess(row.size), labels), copy=False)
    torch.manual_seed(0)
    network = open_network(row.network).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
    if "vit" in row.network:
        torch.nn.init.normal_(network.heads.head.weight, 0, 0.02, generator)  # not zeros
    with torch.no_grad():  # signals vanish under norms that have seen nothing
        for _ in range(5):
            network(torch.rand(8, 3, row.size, row.size, generator=generator) * 4 - 2)
    return Explainer.of(network, size=row.size)


def measured(row: Row) -> dict[str, Any]:
    """Size and differences of a row's file, and of what machine and day they are."""
    one = explainer(row)
    kinds = {record.kind for found in attention(one, row.stages) for record in found}
    methods = [
        m for m in row.methods.split(",") if m != "attention*gradient" or kinds & {*POSITIONS}
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "one.onnx")
        far = one.export(file, row.stages, methods)
        size = file.stat().st_size
        layers = {name: one.model.path(name) for name in one.names(row.stages)}
        network = Traceable(one.model, one.preprocess.size, layers, methods)
        ordered = differences(file, network, layout=False)
    own = rounding(network)
    count = sum(name.startswith("attention/") for name in far)
    return {
        **largest(far),
        "ordered": largest(ordered)["maps"],
        "own": largest(own)["maps"],
        "outputs": len(far),
        "near": sum(value < 1e-4 for value in far.values()),
        "near_ordered": sum(value < 1e-4 for value in ordered.values()),
        "bytes": size,
        "stages": len(layers),
        "methods": len(methods),
        "weights": count,
        "machine": str(machine()),
    }


def largest(far: dict[str, float]) -> dict[str, float]:
    """The largest difference of logits, attention and maps."""
    found = {"logits": 0.0, "attention": 0.0, "maps": 0.0}
    for name, value in far.items():
        first = name.split("/")[0]
        kind = first if first in found else "maps"
        found[kind] = max(found[kind], value)
    return found


def attention(one: Explainer, stages: str) -> list[tuple[AttentionRecord, ...]]:
    """The attention at each stage for a black picture."""
    side = one.preprocess.size
    return [*one.explain(np.zeros((side, side, 3), np.uint8), stages, ()).attention.values()]


def main() -> None:
    """Measure the wanted rows one by one, and write both files after each."""
    file, words = HERE / "exports.json", sys.argv[1:]
    for row in ROWS:
        if words and all(word not in row.title() for word in words):
            continue
        one = measured(row)
        known: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        known[row.title()] = one
        file.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
        (HERE / "onnx.md").write_text(page(known), "utf-8")


def page(known: dict[str, Any]) -> str:
    """The page with the table of all rows that were measured."""
    cells = [
        (
            name,
            *(str(one[key]) for key in ("stages", "methods", "weights")),
            f"{one['bytes'] / 1e6:.1f}",
            f"{one['logits']:.0e}",
            f"{one['attention']:.0e}" if one["weights"] else "",
            f"{one['maps']:.0e}",
            f"{one['ordered']:.0e}",
            f"{one['own']:.0e}",
            f"{one['near']} of {one['outputs']}",
            f"{one['near_ordered']} of {one['outputs']}",
        )
        for name in map(Row.title, ROWS)
        if (one := known.get(name))
    ]
    head = [
        "network",
        "stages",
        "methods",
        "attention maps",
        "MB",
        "logits",
        "attention",
        "CAMs",
        "CAMs, one order",
        "CAMs, float64",
        "within 1e-4",
        "one order",
    ]
    # A machine's text ends with the time.
    places, times = zip(*(one["machine"].rsplit(", ", 1) for one in known.values()), strict=True)
    where = f"{'; '.join(sorted({*places}))}, shared; {min(times)[:10]} to {max(times)[:10]}."
    return f"{TEXT}\n{markdown(pd.DataFrame(cells, columns=head), where)}\n"


if __name__ == "__main__":
    main()
