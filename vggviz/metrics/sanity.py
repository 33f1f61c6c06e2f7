"""Whether a map depends on what the network has learned: layers are put back to untrained."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from vggviz.metrics.agreement import MEASURES, agreements

__all__ = ["randomise", "similarities"]


def randomise(
    model: nn.Module,
    fresh: nn.Module,
    layers: Mapping[str, Sequence[str]],
    *,
    cascading: bool = True,
) -> Iterator[tuple[str, nn.Module]]:
    """The network with ever more of its layers untrained: (layer, a copy of `model`), top down.

    `fresh` is the same network before training: parameters and buffers come from it. `layers` are
    the paths of the modules that go together, by name, from the top down. `cascading` keeps the
    layers before untrained; without it each copy has only its own layer untrained. `model` and
    `fresh` stay as they are.

    Raises ValueError for a path that is no module, and where the two networks differ in shape.

    Adebayo et al. 2018, 'Sanity Checks for Saliency Maps', section 3.
    """
    existing = dict(model.named_modules())
    unknown = [path for paths in layers.values() for path in paths if path not in existing]
    if unknown:
        raise ValueError(f"the model has no module {', '.join(map(repr, unknown))}")
    trained, untrained = model.state_dict(), fresh.state_dict()
    if _shapes(trained) != _shapes(untrained):
        raise ValueError("the untrained network is built otherwise than the trained one")
    state = dict(trained)
    for name, paths in layers.items():
        prefixes = tuple(f"{path}." for path in paths)
        replaced = {key: untrained[key] for key in state if key.startswith(prefixes)}
        state = {**(state if cascading else trained), **replaced}
        changed = copy.deepcopy(model)
        changed.load_state_dict(state)
        yield name, changed


def similarities(before: Tensor, after: Tensor) -> Tensor:
    """Spearman and SSIM of maps before and after: (B, h, w) twice → (B, 2).

    NaN where a map is flat; a map that became flat has lost all likeness.
    """
    columns = [MEASURES.index(name) for name in ("spearman", "ssim")]
    return agreements(before, after)[:, torch.tensor(columns)]


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}
