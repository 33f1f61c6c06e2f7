"""What several test files share: a small network, pictures for it, and the rule of no traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vggviz.vgg import VGG, VGGConfig

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def count_hooks(model: nn.Module) -> int:
    """All hooks of all modules."""
    return sum(len(getattr(module, name)) for module in model.modules() for name in HOOKS)


@contextmanager
def leaving_no_trace(model: nn.Module) -> Iterator[None]:
    """Assert that the block, even one that raises, leaves `model` as it was.

    Training flags per module; of each parameter the value, `requires_grad` and `.grad`; buffers;
    no hooks; and around the model the global random state and whether gradients are recorded.
    """
    flags = {path: module.training for path, module in model.named_modules()}
    parameters = {
        name: (p.requires_grad, p.grad, None if p.grad is None else p.grad.clone())
        for name, p in model.named_parameters()
    }
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random, recording = torch.get_rng_state(), torch.is_grad_enabled()
    assert count_hooks(model) == 0
    try:
        yield
    finally:
        assert count_hooks(model) == 0
        assert {path: module.training for path, module in model.named_modules()} == flags
        for name, p in model.named_parameters():
            wanted, grad, value = parameters[name]
            assert p.requires_grad == wanted, name
            assert p.grad is grad, name
            assert value is None or (grad is not None and torch.equal(grad, value)), name
        assert model.state_dict().keys() == state.keys()
        for name, value in model.state_dict().items():
            assert torch.equal(value, state[name]), name
        assert torch.equal(torch.get_rng_state(), random)
        assert torch.is_grad_enabled() == recording


@pytest.fixture
def untouched() -> Callable[[nn.Module], AbstractContextManager[None]]:
    """`with untouched(model):` fails where the block changes anything about the model."""
    return leaving_no_trace


@pytest.fixture
def small_vgg() -> Callable[..., VGG]:
    """Build a VGG19 at an eighth of its width, 10 classes, by default with the `gap` head.

    Unlike a fresh network nothing is at its neutral value: biases and norms are drawn, γ is 0.6.
    In training mode, as any module at first.
    """

    def build(*, seed: int = 0, dtype: torch.dtype = torch.float32, **config: Any) -> VGG:
        generator = torch.Generator().manual_seed(seed)
        full = {"width": 0.125, "head": "gap", "num_classes": 10, **config}
        model = VGG(VGGConfig(**full), generator)
        with torch.no_grad():
            for name, value in model.state_dict().items():
                drawn = torch.randn(value.shape, generator=generator)
                if name.endswith("gamma"):
                    value.fill_(0.6)
                elif name.endswith("running_var"):
                    value.copy_(drawn.abs() * 0.5 + 0.5)
                elif name.endswith(("bias", "running_mean")):
                    value.add_(drawn * 0.2)
                elif name == "classifier.0.weight" and config.get("head", "gap") == "gap":
                    value.copy_(drawn)
        return model.to(dtype)

    return build


@pytest.fixture
def pictures() -> Callable[..., Tensor]:
    """Draw `count` normalised pictures (count, 3, size, size): coarse blobs and fine noise."""

    def draw(count: int = 1, size: int = 64, *, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn(count, 3, 6, 6, generator=generator)
        fine = torch.randn(count, 3, size, size, generator=generator)
        return F.interpolate(coarse, (size, size), mode="bicubic") * 1.5 + fine * 0.3

    return draw
