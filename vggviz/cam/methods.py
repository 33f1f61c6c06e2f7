"""The CAM methods by key.

A new method is a function in `formulas.py` (or a file of its own), an entry in `METHODS` and a slow
reference implementation in `tests/support/reference.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from vggviz.cam import formulas, perturbation, scores
from vggviz.types import InputError

__all__ = ["METHODS", "Method", "Score", "check_methods"]

Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, K) and targets (T, B) to what is differentiated for each, (T, B)."""


@dataclass(frozen=True, slots=True)
class Method:
    """A CAM method: its function, the arguments that it needs, and how it is presented.

    `function` returns raw maps, never negative, at the resolution of what it is given. `needs`
    decides what `vggviz.cam.cams` calls it with, at each layer, for a batch of B images and T
    targets:

    'gradient': `function(activation, gradient)`, the layer's output (B, C, h, w) and the gradients
        of the targets' logits (T, B, C, h, w); returns (T, B, h, w).
    'activation': `function(activation)`, (B, C, h, w); returns (B, h, w), the same for all targets.
    'attention': `function(weights, gradient, kind, grid)`: the attention weights (B, ...) over
        positions inside the layer, their gradients (T, B, ...), their kind (see
        `AttentionRecord`), and the grid (h, w) of the positions that are weighed, for 'token' of
        the keys; returns (T, B, h, w). Where attention works in windows, `positions=` (N, M) says
        where each query's own keys lie. A layer without attention over positions has no map.
    'passes': `function(predict, image, activation, targets, progress=progress)`, one image at a
        time: `predict` maps (b, 3, H, W) to logits (b, K) without gradients, the image is
        (3, H, W), the layer's output (C, h, w), the targets (T,), and `progress(done, total)`
        must be called now and then; returns (T, h, w).
    'ablation': the same with `resume`, which maps other outputs of the layer (b, C, h, w) to
        logits, instead of `predict`.

    `score` is what is differentiated, by default the target's logit.
    `title` (as the authors spell it) and `explanation` (one sentence) are shown on the page, in
    reports and in the documentation; `paper` names the source, '' where there is none.
    """

    needs: Literal[
        "gradient", "curvature", "layers", "activation", "attention", "passes", "ablation"
    ]
    function: Callable[..., Tensor]
    title: str
    explanation: str
    paper: str = ""
    score: Score = scores.logit

    @property
    def slow(self) -> bool:
        """Whether it runs the network many times."""
        return self.needs in ("passes", "ablation")

    @property
    def class_specific(self) -> bool:
        """Whether the map depends on the target."""
        return self.needs != "activation"


METHODS: dict[str, Method] = {
    "gradcam": Method(
        "gradient",
        formulas.gradcam,
        title="Grad-CAM",
        explanation="Channels weighted by the mean of their gradient.",
        paper="Selvaraju et al. 2017",
    ),
    "gradcam++": Method(
        "gradient",
        formulas.gradcam_plus_plus,
        title="Grad-CAM++",
        explanation="As Grad-CAM, but positive gradients count, each by its own share.",
        paper="Chattopadhay et al. 2018",
    ),
    "hirescam": Method(
        "gradient",
        formulas.hirescam,
        title="HiResCAM",
        explanation="Each activation times its own gradient, summed over channels.",
        paper="Draelos, Carin 2020",
    ),
    "layercam": Method(
        "gradient",
        formulas.layercam,
        title="LayerCAM",
        explanation="Each activation times its own gradient where that is positive.",
        paper="Jiang et al. 2021",
    ),
    "xgradcam": Method(
        "gradient",
        formulas.xgradcam,
        title="XGrad-CAM",
        explanation="Channels weighted by their gradient, averaged by activation.",
        paper="Fu et al. 2020",
    ),
    "gradcam-elementwise": Method(
        "gradient",
        formulas.gradcam_elementwise,
        title="Grad-CAM, element by element",
        explanation="Each activation times its own gradient, where the product is positive.",
        paper="pytorch-grad-cam",
    ),
    "finercam": Method(
        "gradient",
        formulas.gradcam,
        title="Finer-CAM",
        explanation="Grad-CAM of what tells the class from the three whose scores are nearest.",
        paper="Zhang et al. 2025",
        score=scores.finer,
    ),
    "shapleycam": Method(
        "curvature",
        formulas.shapleycam,
        title="ShapleyCAM",
        explanation="As Grad-CAM, but gradients are corrected by half of their own change.",
        paper="Cai 2025",
        score=scores.residual_softmax,
    ),
    "refinecam": Method(
        "layers",
        formulas.refinecam,
        title="RefineCAM",
        explanation="The product of Grad-CAM++ here and at all later stages.",
        paper="Domeniconi et al. 2026",
    ),
    "eigencam": Method(
        "activation",
        formulas.eigencam,
        title="Eigen-CAM",
        explanation="The first principal component of the activations: no gradient, no class.",
        paper="Muhammad, Yeasin 2020",
    ),
    "eigengradcam": Method(
        "gradient",
        formulas.eigengradcam,
        title="EigenGradCAM",
        explanation="The first principal component of activations times gradients.",
        paper="pytorch-grad-cam",
    ),
    "scorecam": Method(
        "passes",
        perturbation.scorecam,
        title="Score-CAM",
        explanation="Channels weighted by the score of the picture masked with each of them.",
        paper="Wang et al. 2020",
    ),
    "ablationcam": Method(
        "ablation",
        perturbation.ablationcam,
        title="Ablation-CAM",
        explanation="Channels weighted by what the score loses without each of them.",
        paper="Desai, Ramaswamy 2020",
    ),
    "attention*gradient": Method(
        "attention",
        formulas.attention_gradient_map,
        title="Attention × gradient",
        explanation="Each attention weight times its gradient.",
        paper="Chefer et al. 2021",
    ),
}
"""The CAM methods, in the order in which they are listed everywhere."""


def check_methods(keys: Sequence[str]) -> tuple[str, ...]:
    """Return the keys as a tuple. Raises ValueError for one that is not in `METHODS`."""
    for key in keys:
        if key not in METHODS:
            raise InputError("no_method", method=key, known=", ".join(METHODS))
    return tuple(keys)
