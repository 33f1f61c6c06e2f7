"""Other libraries' raw maps, after the ReLU and before any resizing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytorch_grad_cam as jacobgil
import torch
import torchcam.methods as torchcam
from captum.attr import LayerGradCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, ClassifierOutputTarget
from torch import Tensor, nn

Judge = Callable[[nn.Module, Tensor, str, Tensor], Tensor]
"""A model, images (B, 3, H, W), a layer's path and the classes (B,) to maps (B, h, w)."""


def captum(model: nn.Module, x: Tensor, path: str, target: Tensor) -> Tensor:
    judge = LayerGradCam(model, model.get_submodule(path))
    return judge.attribute(x, target, relu_attributions=True)[:, 0].detach()


def torchcam_judge(name: str, **options: Any) -> Judge:
    def judge(model: nn.Module, x: Tensor, path: str, target: Tensor) -> Tensor:
        with getattr(torchcam, name)(model, path, **options) as extractor:
            scores = model(x)
            return extractor(target.tolist(), scores, normalized=False)[0].detach()

    return judge


def jacobgil_judge(
    name: str, target_of: Callable[[int], object] = ClassifierOutputTarget, *, relu: bool = True
) -> Judge:
    def judge(model: nn.Module, x: Tensor, path: str, target: Tensor) -> Tensor:
        model = copy.deepcopy(model)  # it leaves gradients in the parameters
        layer = model.get_submodule(path)
        wanted = [target_of(index) for index in target.tolist()]
        raw: list[Tensor] = []
        with getattr(jacobgil, name)(model, [layer]) as extractor:
            compute = extractor.get_cam_image

            def recorded(*args: object) -> object:
                raw.append(torch.as_tensor(compute(*args)))
                return np.asarray(raw[0])

            extractor.get_cam_image = recorded
            extractor(x, wanted)
        return raw[0].relu() if relu else raw[0]

    return judge


def distance(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of a layer's maps (T, B, h, w), in parts of the judge's maximum."""
    assert ours.shape == theirs.shape
    top = theirs.amax()
    assert top > 0
    return float((ours - theirs).abs().max() / top)


def ablation(model: nn.Module, x: Tensor, path: str, target: Tensor) -> Tensor:
    """pytorch-grad-cam's Ablation-CAM times the target's logit, by which it divides its weights."""
    with torch.no_grad():
        logits = model(x).gather(1, target[:, None])
    found = jacobgil_judge("AblationCAM", relu=False)(model, x, path, target)
    return (found.to(logits) * logits[..., None]).relu()


def refined(paths: Sequence[str]) -> Judge:
    """pytorch-grad-cam's Grad-CAM++ at a layer and those of `paths` behind it, by torchcam's
    RefineCAM."""

    def judge(model: nn.Module, x: Tensor, path: str, target: Tensor) -> Tensor:
        later = paths[paths.index(path) :]
        maps = [jacobgil_judge("GradCAMPlusPlus")(model, x, one, target) for one in later]
        return torchcam.RefineCAM.fuse_cams(maps, normalized=False)

    return judge


def finer(model: nn.Module, x: Tensor, path: str, target: Tensor) -> Tensor:
    with torchcam.FinerCAM(model, path) as extractor:
        return extractor(target.tolist(), model(x), normalized=False)[0].detach()


def eigen_gradient(model: nn.Module, x: Tensor, path: str, target: Tensor) -> Tensor:
    """pytorch-grad-cam's EigenGradCAM, whose sign is free: before the ReLU."""
    return jacobgil_judge("EigenGradCAM", relu=False)(model, x, path, target)


shapley = jacobgil_judge("ShapleyCAM", ClassifierOutputReST)
