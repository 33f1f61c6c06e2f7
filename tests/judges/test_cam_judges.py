"""CAMs against outside judges: captum, torchcam and pytorch-grad-cam, before any resizing.

Judges are asked for their raw maps, after the ReLU: captum with `relu_attributions=True`,
torchcam with `normalized=False`, pytorch-grad-cam by `get_cam_image`, the last step before it
rescales and resizes, followed by its own `np.maximum(…, 0)`. The maps of one layer, of all
pictures and targets, are then divided by the judge's largest value, ours by the same, so that a
tolerance is relative to maps that end at 1. (Not each by its own largest value: in single precision
a map whose terms all but cancel out is rounding, with every judge as with us.)

Compared is what is defined alike. Left out, with the reason:
captum knows Grad-CAM only. torchcam's Grad-CAM++ has Σ_ab A_ab g_ab³ in the denominator, where
eq. 19 has g_ij³ Σ_ab A_ab: the gradient has slipped into the sum. pytorch-grad-cam's Grad-CAM++
adds 1e-6 to a denominator of the order of g²: it is heard where gradients are large; its EigenCAM
centres the activation first, which the paper doesn't; its Score-CAM resizes with aligned corners.
Both of their XGrad-CAMs add an ε to Σ A without regard to its sign: at a convolution's output,
where that sum may be near 0 or below, they drift, so they are heard after a ReLU only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
import torchvision
from peers import Judge, captum, distance, jacobgil_judge, torchcam_judge
from torch import Tensor, nn

from vggviz.cam import cams
from vggviz.networks import Network

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
Build = Callable[..., Network]
Draw = Callable[..., Tensor]

LAYERS = ["conv1_1", "pool2", "conv3_4", "relu4_4", "conv5_4", "relu5_4", "pool5", "block5"]
NETWORKS = {
    "plain": {},
    "batch norm": {"architecture": "vgg19_bn"},
    "cbam": {"attention": "cbam"},
    "cbam, batch norm": {"attention": "cbam", "architecture": "vgg19_bn"},
    "cbam after pooling": {"attention": "cbam", "placement": "after_pool", "blend": "replace"},
    "self-attention": {"attention": "self_attention", "stages": ("block5",)},
}
# For each of two pictures a class of its own: (T, B).
TARGETS = torch.tensor([[0, 1], [3, 4]])


GRADCAM_JUDGES = {
    "captum": (captum, 1e-5),
    "torchcam": (torchcam_judge("GradCAM"), 1e-5),
    "pytorch-grad-cam": (jacobgil_judge("GradCAM"), 1e-4),
}


def judged(judge: Judge, model: nn.Module, x: Tensor, path: str) -> Tensor:
    """The judge's maps (T, B, h, w), target by target."""
    return torch.stack([judge(model, x, path, target) for target in TARGETS])


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", ["single", "double"])
def test_gradcam(network: str, precision: str, small_vgg: Build, pictures: Draw) -> None:
    dtype = torch.float32 if precision == "single" else torch.float64
    model = small_vgg(dtype=dtype, **NETWORKS[network]).eval()
    x = pictures(2, 32).to(dtype)
    paths = list(dict.fromkeys(model.path(name) for name in LAYERS))
    ours = cams(model, x, paths, ("gradcam",), TARGETS).maps
    for path in paths:
        for name, (judge, tolerance) in GRADCAM_JUDGES.items():
            off = distance(ours[path, "gradcam"], judged(judge, model, x, path))
            assert off <= (tolerance if precision == "single" else 1e-10), (name, path)


@pytest.mark.parametrize(
    ("method", "name", "judge", "layers"),
    [
        ("layercam", "torchcam", torchcam_judge("LayerCAM"), LAYERS),
        ("layercam", "pytorch-grad-cam", jacobgil_judge("LayerCAM"), LAYERS),
        ("hirescam", "pytorch-grad-cam", jacobgil_judge("HiResCAM"), LAYERS),
        ("xgradcam", "torchcam", torchcam_judge("XGradCAM"), ["relu4_4", "relu5_4", "pool5"]),
        ("xgradcam", "pytorch-grad-cam", jacobgil_judge("XGradCAM"), ["relu4_4", "relu5_4"]),
        # Like us, it scales the mask to [0, 1] first and then resizes it.
        ("scorecam", "torchcam", torchcam_judge("ScoreCAM", batch_size=16), ["relu5_4", "block4"]),
    ],
)
@pytest.mark.parametrize("attention", ["none", "cbam"])
def test_other_methods(
    attention: str,
    method: str,
    name: str,
    judge: Judge,
    layers: list[str],
    small_vgg: Build,
    pictures: Draw,
) -> None:
    model, x = small_vgg(attention=attention).eval(), pictures(2, 32)
    paths = list(dict.fromkeys(model.path(layer) for layer in layers))
    ours = cams(model, x, paths, (method,), TARGETS).maps
    for path in paths:
        assert distance(ours[path, method], judged(judge, model, x, path)) <= 1e-5, path


def test_gradcam_plus_plus(small_vgg: Build, pictures: Draw) -> None:
    model, x = small_vgg(attention="cbam", dtype=torch.float64).eval(), pictures(2, 32).double()
    with torch.no_grad():
        model.classifier[0].weight.mul_(1e9)  # gradients so large that the judge's ε is nothing
    paths = list(dict.fromkeys(model.path(layer) for layer in LAYERS))
    ours = cams(model, x, paths, ("gradcam++",), TARGETS).maps
    judge = jacobgil_judge("GradCAMPlusPlus")
    for path in paths:
        assert distance(ours[path, "gradcam++"], judged(judge, model, x, path)) <= 1e-5, path


@pytest.fixture
def stock() -> nn.Module:
    """torchvision's VGG19 as it is, ReLUs in place; only its 124 million classifier weights, which
    prove nothing here, make room for one layer."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        model = torchvision.models.vgg19(init_weights=False)
    model.classifier = nn.Linear(512 * 49, 10)
    model.features.to_empty(device="cpu")
    with torch.no_grad():
        for value in model.state_dict().values():
            spread = (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.1
            value.normal_(0, spread, generator=generator)
    assert all(layer.inplace for layer in model.features if isinstance(layer, nn.ReLU))
    return model.eval()


def test_relus_in_place(stock: nn.Module, pictures: Draw, untouched: Untouched) -> None:
    """The last convolution (features.34), its ReLU (35) and pooling (36), in one pass.

    At the convolution only captum and we are right. torchcam and pytorch-grad-cam keep the
    tensor itself, which the ReLU then overwrites: they show the ReLU's activation there.
    """
    x, target = pictures(1, 64), torch.tensor([3])
    conv, relu, pool = paths = ["features.34", "features.35", "features.36"]
    with untouched(stock):
        ours = cams(stock, x, paths, ("gradcam",), target).maps
    off = {
        (path, name): distance(ours[path, "gradcam"][0], judge(stock, x, path, target))
        for path in paths
        for name, (judge, _) in GRADCAM_JUDGES.items()
    }
    for name, (_, tolerance) in GRADCAM_JUDGES.items():
        assert max(off[relu, name], off[pool, name]) <= tolerance
        assert (off[conv, name] <= tolerance) == (name == "captum")
        assert name == "captum" or off[conv, name] > 0.01
    stock.features[35].inplace = False  # and with this one alone they all agree
    for judge, tolerance in GRADCAM_JUDGES.values():
        off_now = distance(ours[conv, "gradcam"][0], judge(stock, x, conv, target))
        assert off_now <= tolerance
