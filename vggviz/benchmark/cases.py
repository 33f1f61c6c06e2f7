"""The timed cases: bare forward passes, our explanations, and those of other libraries."""

from __future__ import annotations

import shutil
from functools import partial

import torch
from torch import Tensor

from vggviz.benchmark import libraries
from vggviz.benchmark.fixtures import Case, Fixtures, Work
from vggviz.cam import cams
from vggviz.networks import Network, NetworkConfig, resolve

__all__ = ["BARE", "CASES"]

BARE = "bare"
BATCH, CLASSES = 16, 3


def _forward(
    fixtures: Fixtures,
    case: Case,
    attention: str = "none",
    layout: torch.memory_format = torch.contiguous_format,
) -> Work:
    images = fixtures.images(case.images).contiguous(memory_format=layout)
    return partial(_bare, fixtures.network(attention, layout), images)


def _forward_bf16(fixtures: Fixtures, _: Case) -> Work:
    return partial(_bare, fixtures.explained("none", "bf16"), _half(fixtures.image))


def _forward_compiled(fixtures: Fixtures, _: Case) -> Work:
    """The same, compiled. Compiling happens in the warm-up, and takes longer than it ever saves
    on a CPU (24 s, for 3% of a forward pass), so that explanations don't."""
    if not (shutil.which("c++") or shutil.which("g++")):
        raise ModuleNotFoundError("torch.compile needs a C++ compiler")
    model = fixtures.explained("none", "bf16")
    model.compile(fullgraph=True)
    return partial(_bare, model, _half(fixtures.image))


def _half(images: Tensor) -> Tensor:
    return images.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def _bare(model: Network, images: Tensor) -> list[Tensor]:
    return [model(images)]


def _ours(
    fixtures: Fixtures, case: Case, attention: str = "none", precision: str = "exact"
) -> Work:
    model, images = fixtures.explained(attention, precision), fixtures.images(case.images)
    return partial(_cams, model, _half(images) if precision == "bf16" else images, case)


def _cams(model: Network, images: Tensor, case: Case) -> list[Tensor]:
    paths = [model.path(stage) for stage in case.stages]
    targets = torch.arange(case.targets) if case.targets > 1 else None
    found = cams(model, images, paths, ("gradcam",), targets)
    maps = [found.maps[path, "gradcam"] for path in paths]  # (T, B, h, w) each
    if case.targets > 1:
        return [cam[:, 0] for cam in maps]
    return [cam[0] if case.images > 1 else cam[0, 0] for cam in maps]


_cbam = partial(_ours, attention="cbam")
_bf16 = partial(_ours, precision="bf16")

_channels_last = partial(_forward, layout=torch.channels_last)

STAGES = resolve(NetworkConfig()).stages
LAST = STAGES[-1:]
CASES: dict[str, Case] = {
    BARE: Case("bare forward", _forward),
    "bare-channels-last": Case("bare forward, channels-last", _channels_last),
    "bare-bf16": Case("bare forward, bfloat16", _forward_bf16),
    "bare-compiled": Case("bare forward, bfloat16, compiled", _forward_compiled),
    "bare-cbam": Case("bare forward with cbam", partial(_forward, attention="cbam")),
    "bare-b16": Case("bare forward, batch 16", _forward, images=BATCH),
    "vggviz-1": Case("vggviz", _ours, LAST),
    "vggviz-5": Case("vggviz", _ours, STAGES),
    "vggviz-1-b16": Case("vggviz, batch 16", _ours, LAST, "vggviz-1", images=BATCH),
    "vggviz-5-b16": Case("vggviz, batch 16", _ours, STAGES, "vggviz-5", images=BATCH),
    "vggviz-5-t3": Case("vggviz, 3 classes", _ours, STAGES, targets=CLASSES),
    "vggviz-cbam-1": Case("vggviz, cbam and Grad-CAM", _cbam, LAST),
    "vggviz-cbam-5": Case("vggviz, cbam and Grad-CAM", _cbam, STAGES),
    "bf16-1": Case("vggviz, bfloat16", _bf16, LAST, "torchcam-1"),
    "bf16-5": Case("vggviz, bfloat16", _bf16, STAGES, "torchcam-5"),
    "onnx-5": Case("vggviz, exported to onnxruntime", libraries.onnxruntime, STAGES, "vggviz-5"),
    "torchcam-1": Case("torchcam", libraries.torchcam, LAST, "vggviz-1"),
    "torchcam-5": Case("torchcam", libraries.torchcam, STAGES, "vggviz-5"),
    "torchcam-5-b16": Case(
        "torchcam, batch 16", libraries.torchcam, STAGES, "vggviz-5-b16", images=BATCH
    ),
    "torchcam-5-t3": Case(
        "torchcam, 3 classes", libraries.torchcam, STAGES, "vggviz-5-t3", targets=CLASSES
    ),
    "captum-1": Case("captum", libraries.captum, LAST, "vggviz-1"),
    "captum-5": Case("captum", libraries.captum, STAGES, "vggviz-5"),
    "grad-cam-1": Case("pytorch-grad-cam", libraries.grad_cam, LAST, "vggviz-1"),
    "grad-cam-5": Case("pytorch-grad-cam", libraries.grad_cam, STAGES, "vggviz-5"),
    "grad-cam-frozen-1": Case(
        "pytorch-grad-cam, frozen weights", libraries.grad_cam_frozen, LAST, "vggviz-1"
    ),
    "grad-cam-frozen-5": Case(
        "pytorch-grad-cam, frozen weights", libraries.grad_cam_frozen, STAGES, "vggviz-5"
    ),
}
