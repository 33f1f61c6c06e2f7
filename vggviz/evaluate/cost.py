"""What a network costs: parameters, multiply-adds, and time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vggviz.capture import evaluating

__all__ = ["latencies", "multiply_adds", "parameters"]


def parameters(model: nn.Module) -> int:
    """How many numbers the network has learned."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, image: Tensor) -> int:
    """Multiplications, each with its addition, in one forward pass of `image` (1, 3, H, W).

    Convolutions and matrix products only, as PyTorch's FlopCounterMode counts them (it counts
    two operations for each pair); norms, activations, pooling and products by a gate are left
    out.
    """
    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return int(counter.get_total_flops()) // 2


def latencies(
    models: Mapping[str, tuple[nn.Module, Tensor]],
    rounds: int,
    *,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds that each of `models` takes for its picture (1, 3, H, W), in each round.

    After one warm-up each, every round runs every network once, in an order drawn anew, so that
    whatever disturbs the machine hits all alike: ratios within a round are worth more than
    seconds. `progress` is told after each pass.
    """
    names, generator = list(models), torch.Generator().manual_seed(0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection in the middle of a pass would be counted as the network's
    try:
        for number in range(rounds + 1):  # round 0 is the warm-up
            for index in torch.randperm(len(names), generator=generator).tolist():
                model, image = models[names[index]]
                with evaluating(model), torch.no_grad():
                    start = perf_counter()
                    model(image)
                    taken = perf_counter() - start
                if number:
                    seconds[names[index]].append(taken)
                progress()
    finally:
        if collecting:
            gc.enable()
    return seconds
