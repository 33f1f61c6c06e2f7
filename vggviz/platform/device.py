"""The device that a network computes on: which one to take, and how to run a network there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vggviz.types import InputError

__all__ = ["choose_device", "move_to", "run_network"]


def choose_device(name: str | torch.device) -> torch.device:
    """The device of this name: 'auto' is CUDA where there is one, else MPS, else the CPU; any
    other is PyTorch's, such as 'cpu', 'cuda', 'cuda:1' or 'mps'.

    Raises InputError for a device that this machine or this build of PyTorch does not have.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    present = [*(kind for kind, there in available.items() if there), "cpu"]
    try:
        device = torch.device(present[0] if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        known = ", ".join(("auto", *present))
        raise InputError("no_device", device=str(name), known=known) from error
    return device


def move_to(model: nn.Module, images: Tensor) -> Tensor:
    """`images` on the device of the parameters of `model`; as they are where it has none."""
    return images.to(next((one.device for one in model.parameters()), images.device))


def run_network(model: nn.Module, images: Tensor) -> Tensor:
    """The output of `model` for images (B, C, H, W), computed where the model is and returned
    where the images are: metrics need float64, which MPS lacks, and so work on the CPU."""
    output: Tensor = model(move_to(model, images))
    return output.to(images.device)
