"""The same maps by other libraries."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from vggviz.benchmark.fixtures import Case, Fixtures, Work
from vggviz.export.onnx_file import write_onnx
from vggviz.export.trace import Traceable
from vggviz.networks import Network

__all__ = ["captum", "grad_cam", "grad_cam_frozen", "onnxruntime", "torchcam"]


def torchcam(fixtures: Fixtures, case: Case) -> Work:
    """One extractor for all layers: one forward and, for each class, one partial backward."""
    library = import_module("torchcam.methods")
    model, images = fixtures.network(), fixtures.images(case.images)
    paths = [model.path(stage) for stage in case.stages]

    def work() -> list[Tensor]:
        with library.GradCAM(model, paths) as extractor:
            scores: Tensor = model(images)
            if case.targets > 1:
                each = [extractor(t, scores, retain_graph=True) for t in range(case.targets)]
                return [torch.cat(maps) for maps in zip(*each, strict=True)]  # (T, h, w)
            found: list[Tensor] = extractor(scores.argmax(1).tolist(), scores)
            return [cam if case.images > 1 else cam[0] for cam in found]

    return work


def onnxruntime(fixtures: Fixtures, case: Case) -> Work:
    """The exported file, on as many threads as PyTorch has."""
    library, _ = map(import_module, ("onnxruntime", "onnxscript"))
    model = fixtures.network()
    layers = {stage: model.path(stage) for stage in case.stages}
    options = library.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with TemporaryDirectory() as folder:
        file = Path(folder, "vgg.onnx")
        write_onnx(Traceable(model, fixtures.image.shape[-1], layers, ("gradcam",)), file, {})
        session = library.InferenceSession(file, options, ["CPUExecutionProvider"])
    inputs = {"pixels": fixtures.image.numpy(), "target": np.array([-1])}
    names = [f"gradcam/{stage}" for stage in case.stages]

    def work() -> list[Tensor]:
        return [torch.from_numpy(maps[0]) for maps in session.run(names, inputs)]

    return work


def grad_cam(fixtures: Fixtures, case: Case) -> Work:
    """pytorch-grad-cam, as its documentation shows it."""
    return _each(fixtures.network(), fixtures.images(case.images), case)


def grad_cam_frozen(fixtures: Fixtures, case: Case) -> Work:
    """The same without gradients of the weights, which its users must know to turn off.

    The picture then has to require a gradient, or there would be no graph.
    """
    model = fixtures.network().requires_grad_(False)
    return _each(model, fixtures.images(case.images).requires_grad_(True), case)


def _each(model: Network, images: Tensor, case: Case) -> Work:
    """One object for each layer: given several layers, the library returns only their mean."""
    library = import_module("pytorch_grad_cam")
    layers = [model.get_submodule(model.path(stage)) for stage in case.stages]

    def work() -> list[Tensor]:
        maps: list[Tensor] = []
        for layer in layers:
            with library.GradCAM(model, [layer]) as extractor:
                found = torch.from_numpy(extractor(images, None))
                maps.append(found if case.images > 1 else found[0])
        return maps

    return work


def captum(fixtures: Fixtures, case: Case) -> Work:
    """One call for each layer. It is given the class, which spares it a forward pass."""
    library = import_module("captum.attr")
    model, target = fixtures.network(), fixtures.target
    layers = [model.get_submodule(model.path(stage)) for stage in case.stages]

    def work() -> list[Tensor]:
        found: list[Tensor] = [
            library.LayerGradCam(model, layer).attribute(
                fixtures.image, target, relu_attributions=True
            )
            for layer in layers
        ]
        return [cam[0, 0].detach() for cam in found]

    return work
