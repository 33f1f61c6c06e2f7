"""Print how far CAMs in single precision are from those in double precision, by stage and method.

    python docs/results/rounding.py [WEIGHTS]

The largest difference over the bundled example pictures, for the predicted class, between maps
that are scaled to [0, 1]. WEIGHTS is `lite` by default.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path

from PIL import Image

from vggviz.cam import METHODS, cams
from vggviz.cam.results import heatmap
from vggviz.explainer import Explainer

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
FAST = tuple(name for name, one in METHODS.items() if not one.slow and name != "attention*gradient")


def main(weights: str = "lite") -> None:
    """Print a line for each stage."""
    explainer = Explainer.load(weights, "none")
    single, double = explainer.model, deepcopy(explainer.model).double()
    paths = {stage: single.path(stage) for stage in explainer.names("all")}
    worst = dict.fromkeys(((stage, method) for stage in paths for method in FAST), 0.0)
    for file in sorted(EXAMPLES.glob("*.jpg")):
        x = explainer.preprocess(Image.open(file))
        target = single(x).argmax(1)[None]
        one = cams(single, x, [*paths.values()], FAST, target).maps
        two = cams(double, x.double(), [*paths.values()], FAST, target).maps
        for (stage, method), before in worst.items():
            raw = (found[paths[stage], method][0, 0] for found in (one, two))
            first, second = (heatmap(map, method, stage, 0).values for map in raw)
            worst[stage, method] = max(before, float((first - second).abs().max()))
    for stage in paths:
        print(stage, *(f"{method} {worst[stage, method]:.0e}" for method in FAST))


if __name__ == "__main__":
    main(*sys.argv[1:])
