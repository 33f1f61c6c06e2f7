"""Whether a map depends on what the network has learned: layers are put back to untrained."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from vggviz.metrics.agreement import MEASURES, agreements

__all__ = ["compared", "layers_of", "randomised"]


def layers_of(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Every module with parameters of its own by its path, from the last to the first.

    For networks whose modules stand in the order in which they work, as `nn.Sequential` does.
    """
    owning = [path for path, module in model.named_modules() if list(module.parameters(False))]
    return {path: (path,) for path in reversed(owning)}


def randomised(
    model: nn.Module,
    fresh: nn.Module,
    layers: Mapping[str, Sequence[str]] | None = None,
    *,
    cascading: bool = True,
) -> Iterator[tuple[str, nn.Module]]:
    """The network with ever more of its layers untrained: (layer, a copy of `model`), top down.

    `fresh` is the same network before training, made from a seeded `torch.Generator`: parameters
    and buffers come from it. `layers` are the paths of the modules that go together, by name, from
    the top down (by default `layers_of`). `cascading` keeps what went before untrained; without
    it each copy has only its own layer untrained. `model` and `fresh` stay as they are.

    Raises ValueError for a path that is no module, and where the two networks differ in shape.

    Adebayo et al. 2018, 'Sanity Checks for Saliency Maps', section 3.
    """
    chosen = layers_of(model) if layers is None else layers
    there = dict(model.named_modules())
    unknown = [path for paths in chosen.values() for path in paths if path not in there]
    if unknown:
        raise ValueError(f"the model has no module {', '.join(map(repr, unknown))}")
    trained, untrained = model.state_dict(), fresh.state_dict()
    if _shapes(trained) != _shapes(untrained):
        raise ValueError("the untrained network is built otherwise than the trained one")
    state = dict(trained)
    for name, paths in chosen.items():
        replaced = {key: untrained[key] for key in state if _below(key, paths)}
        state = {**(state if cascading else trained), **replaced}
        changed = copy.deepcopy(model)
        changed.load_state_dict(state)
        yield name, changed


def compared(before: Tensor, after: Tensor) -> Tensor:
    """Spearman and SSIM of maps before and after: (B, h, w) twice → (B, 2).

    NaN where a map is flat; a map that became flat has lost all likeness.
    """
    columns = [MEASURES.index(name) for name in ("spearman", "ssim")]
    return agreements(before, after)[:, torch.tensor(columns)]


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}


def _below(key: str, paths: Sequence[str]) -> bool:
    return any(key.startswith(f"{path}.") for path in paths)
