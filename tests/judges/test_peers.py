"""The stated errors: each CAM method against every library that computes the same map.

The largest difference over networks, layers, pictures and classes, in parts of the library's
largest value, in single precision. Compared is what is defined alike; `test_cam_judges` says what
is left out, and why. Here:
pytorch-grad-cam's EigenGradCAM leaves a sign to LAPACK, so either is taken; its Ablation-CAM
divides by the target's logit, which is undone, and replaces a channel by -1e7 where a layer has
values below 0, so that it is heard after ReLUs only; its Finer-CAM differentiates the weights of
the similar classes, which the paper does not, so torchcam is heard. Both libraries' RefineCAM
rest on their own Grad-CAM++, of which torchcam's has a slip and pytorch-grad-cam's an ε: maps of
the latter, with gradients so large that its ε is nothing, are combined by the former.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import peers
import pytest
import torch
from torch import Tensor

from vggviz.cam import METHODS, cams
from vggviz.networks import Network

STATED = Path(__file__).parents[2] / "docs" / "results" / "data" / "peers.json"
TARGETS = torch.tensor([[0, 1], [3, 4]])  # (T, B)
NETWORKS = {
    "plain": {},
    "cbam, batch norm": {"attention": "cbam", "architecture": "vgg19_bn"},
    "VGG16, self-attention": {
        "attention": "self_attention", "architecture": "vgg16", "stages": ("block5",)
    },
}  # fmt: skip
EVERYWHERE = ("conv1_1", "pool2", "relu4_1", "conv5_1", "block5")
RELUS = ("relu4_1", "relu5_3")
PEERS: dict[tuple[str, str], tuple[peers.Judge, tuple[str, ...]]] = {
    ("gradcam", "captum"): (peers.captum, EVERYWHERE),
    ("gradcam", "torchcam"): (peers.torchcam_judge("GradCAM"), EVERYWHERE),
    ("gradcam", "pytorch-grad-cam"): (peers.jacobgil_judge("GradCAM"), EVERYWHERE),
    ("gradcam++", "pytorch-grad-cam"): (peers.jacobgil_judge("GradCAMPlusPlus"), EVERYWHERE),
    ("hirescam", "pytorch-grad-cam"): (peers.jacobgil_judge("HiResCAM"), EVERYWHERE),
    ("layercam", "torchcam"): (peers.torchcam_judge("LayerCAM"), EVERYWHERE),
    ("layercam", "pytorch-grad-cam"): (peers.jacobgil_judge("LayerCAM"), EVERYWHERE),
    ("xgradcam", "torchcam"): (peers.torchcam_judge("XGradCAM"), RELUS),
    ("xgradcam", "pytorch-grad-cam"): (peers.jacobgil_judge("XGradCAM"), RELUS),
    ("gradcam-elementwise", "pytorch-grad-cam"): (
        peers.jacobgil_judge("GradCAMElementWise"), EVERYWHERE
    ),
    ("finercam", "torchcam"): (peers.finer, EVERYWHERE),
    ("shapleycam", "pytorch-grad-cam"): (peers.shapley, EVERYWHERE),
    ("refinecam", "torchcam"): (peers.refined, ("block3", "block4", "block5")),
    ("eigengradcam", "pytorch-grad-cam"): (peers.eigen_gradient, EVERYWHERE),
    ("scorecam", "torchcam"): (peers.torchcam_judge("ScoreCAM", batch_size=16), RELUS),
    ("ablationcam", "pytorch-grad-cam"): (peers.ablation, RELUS),
}  # fmt: skip
LARGE = ("gradcam++", "refinecam")  # judged with gradients so large that the judge's ε is nothing


def stated() -> dict[tuple[str, str], float]:
    """The errors that the documentation states, by method and library."""
    methods: dict[str, dict[str, float]] = json.loads(STATED.read_text("utf-8"))
    return {(key, name): error for key, found in methods.items() for name, error in found.items()}


def measure(method: str, name: str, small_vgg: Callable[..., Network], x: Tensor) -> float:
    """The largest difference of a method's maps from a library's."""
    judge, layers = PEERS[method, name]
    worst = 0.0
    for config in NETWORKS.values():
        model = small_vgg(**config).eval()
        if method in LARGE:
            with torch.no_grad():
                model.classifier[0].weight.mul_(1e9)
        paths = list(dict.fromkeys(model.path(layer) for layer in layers))
        ours = cams(model, x, paths, (method,), TARGETS).maps
        one = peers.refined(paths) if judge is peers.refined else judge
        for path in paths:
            theirs = torch.stack([one(model, x, path, target) for target in TARGETS])
            if method == "eigengradcam":  # the sign of each map is free
                signs = torch.where((theirs * ours[path, method]).sum((-2, -1)) < 0, -1, 1)
                theirs = (theirs * signs[..., None, None]).relu()
            worst = max(worst, peers.distance(ours[path, method], theirs))
    return worst


def test_a_library_is_named_for_every_method_that_one_has() -> None:
    assert stated().keys() == PEERS.keys()
    assert METHODS.keys() - {method for method, _ in PEERS} == {"eigencam", "attention*gradient"}
    assert max(stated().values()) <= 1e-4


@pytest.mark.parametrize(("method", "name"), PEERS)
def test_the_error_is_what_is_stated(
    method: str,
    name: str,
    small_vgg: Callable[..., Network],
    pictures: Callable[..., Tensor],
    record_property: Callable[[str, object], None],
) -> None:
    error = measure(method, name, small_vgg, pictures(2, 32))
    record_property("error", error)
    print(f"{method}, {name}: {error:.1e}")  # `pytest -rP` shows what was measured
    assert error <= stated()[method, name]
