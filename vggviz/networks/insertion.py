"""Attention behind modules of a network that vggviz did not build."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from vggviz.hooks.capture import capture, replace_output
from vggviz.networks.config import NetworkConfig
from vggviz.networks.foreign import ForeignNetwork, WrappedNetwork
from vggviz.networks.named import NetworkError
from vggviz.networks.protocol import fresh_attention

__all__ = ["CutNetwork", "ModuleWithAttention", "channels_at", "insert_attention"]

POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)  # before a classifier
TOLERANCE = 1e-3
"""Of the largest effect that pictures have on logits: what may differ after a cut."""


class ModuleWithAttention(nn.Module):
    """A module followed by attention: attention(module(x)), (B, C, H, W)."""

    def __init__(self, module: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.attention = attention

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        y: Tensor = self.attention(self.module(*args, **kwargs))
        return y


def insert_attention(network: nn.Module, attention: Mapping[str, nn.Module]) -> None:
    """Put a `ModuleWithAttention` in the place of each module whose path is a key of `attention`.

    Raises AttributeError for a path that is no module of `network`.
    """
    inner_first = sorted(attention, key=lambda path: -path.count("."))
    for path in inner_first:  # an outer module gets another path
        parent, _, name = path.rpartition(".")
        with_attention = ModuleWithAttention(network.get_submodule(path), attention[path])
        setattr(network.get_submodule(parent), name, with_attention)


class CutNetwork(WrappedNetwork):
    """A network of others with attention behind the modules at `paths`, which runs from and up to
    each of them. The network itself stays as it is.

    A pass from the middle is one over a blank picture in which the module's output is replaced by
    the given features. That is exact where nothing bypasses the module, which is tested with noise.
    By default `paths` are at the last two resolutions before the classifier's pooling, at each the
    last module with the shortest path that is such a cut.

    `stages` are the paths with '/' for '.', `channels` those of the features by stage. Attention
    replaces the features, and is drawn from `generator` (see `Network`).

    Raises NetworkError for a path where the network can't be cut, and without `paths` for a network
    whose last features are tokens or have channels last.
    """

    def __init__(
        self,
        network: ForeignNetwork,
        name: str,
        size: int,
        attention: str,
        paths: Sequence[str] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.network = network
        pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        pixels = pixels.to(next(network.parameters(), pixels))
        channels = _chosen(network, pixels, paths) if paths else _default(network, pixels)
        self._paths = {path.replace(".", "/"): path for path in network.maps if path in channels}
        self._blank = torch.zeros_like(pixels[:1])
        self.stages = tuple(self._paths)
        self.layers = {stage: f"attention.{stage}" for stage in self.stages}
        self.config = NetworkConfig(
            attention, self.stages, "after_pool", "replace", "fc", name, 1.0, network.num_classes
        )
        self.channels = {stage: channels[path] for stage, path in self._paths.items()}
        attention_modules = fresh_attention(self.config, self.channels, generator, False)
        self.attention = nn.ModuleDict(attention_modules)

    def forward(self, x: Tensor, stage: str | None = None) -> Tensor:
        """As `Network.forward`."""
        return self._run(x, stage)

    def features_before(self, x: Tensor, stage: str, start: str | None = None) -> Tensor:
        """As `Network.features_before`."""
        if start == stage:
            return x
        path = self._paths[stage]
        with capture(self.network, [path]) as trace:
            self._run(x, start, stop=stage)
        return trace.outputs[path]

    def logits_after(self, y: Tensor, stage: str) -> Tensor:
        """As `Network.logits_after`."""
        return self._run(y, stage, attended=True)

    def modules_before(self, stage: str) -> list[nn.Module]:
        """The whole network: which of its modules run before `stage` is not known."""
        return [self.network]

    def _run(
        self, x: Tensor, start: str | None, *, stop: str | None = None, attended: bool = False
    ) -> Tensor:
        """Logits (B, K) of pictures; or, from `start`, of the input of its attention, or of its
        output where that is `attended`. From `stop` on there is no attention."""
        order = list(self.stages)
        first = 0 if start is None else order.index(start)
        last = len(order) if stop is None else order.index(stop)
        x = x.contiguous()  # code of others may rely on the usual layout
        with ExitStack() as changes:
            for stage in order[first:last]:
                change: Callable[[Tensor], Tensor] = self.attention[stage]
                if stage == start:
                    y = x if attended else self.attention[stage](x)
                    change = _constant(y)
                changes.enter_context(replace_output(self.network, self._paths[stage], change))
            return self.network.run(x if start is None else self._blank.to(x.device), len(x))


def channels_at(network: ForeignNetwork, path: str, pixels: Tensor) -> int | None:
    """The channels of the output (B, C, H, W) of the module at `path` where the network can be cut
    there: it runs once, and its output alone decides on the logits. None elsewhere."""
    outputs: list[Tensor] = []

    def note(output: Tensor) -> Tensor:
        outputs.append(output.clone())  # a later module may work in place
        return output

    blank = torch.zeros_like(pixels[:1])
    try:
        with torch.no_grad():
            with replace_output(network, path, note):
                logits = network(pixels)
            if len(outputs) != 1:
                return None
            with replace_output(network, path, _constant(outputs[0])):
                again = network.run(blank, len(pixels))
            effect = (network(blank) - logits).abs().max()
    except Exception:  # where batches of two sizes meet, the network's code may raise anything
        return None
    if again.shape != logits.shape or not (again - logits).abs().max() <= TOLERANCE * effect:
        return None
    return outputs[0].shape[1]


def _chosen(network: ForeignNetwork, pixels: Tensor, paths: Collection[str]) -> dict[str, int]:
    """The channels at these paths. Raises NetworkError where the network can't be cut."""
    found: dict[str, int] = {}
    for path in paths:
        network.path(path)
        fits = path in network.maps and network.maps[path].axes == "BCHW"
        channels = channels_at(network, path, pixels) if fits else None
        if channels is None:
            raise NetworkError("no_cut", layer=path)
        found[path] = channels
    return found


def _default(network: ForeignNetwork, pixels: Tensor) -> dict[str, int]:
    """The channels at the default paths; see `CutNetwork`."""
    maps = {
        path: found
        for path, found in network.maps.items()
        if found.grid != (1, 1) and not isinstance(network.get_submodule(path), POOLS)
    }
    order = list(maps)
    if not order or maps[order[-1]].axes != "BCHW":
        raise NetworkError("no_last_map")
    found: dict[str, int] = {}
    for grid in list(dict.fromkeys(maps[path].grid for path in reversed(order)))[:2]:
        fitting = [p for p in reversed(order) if maps[p].grid == grid and maps[p].axes == "BCHW"]
        for path in sorted(fitting, key=lambda path: path.count(".")):  # stable: the last first
            if (channels := channels_at(network, path, pixels)) is not None:
                found[path] = channels
                break
    if not found:
        raise NetworkError("no_last_map")
    return found


def _constant(y: Tensor) -> Callable[[Tensor], Tensor]:
    """A change to copies of `y`: later modules may work in place."""
    return lambda _: y.clone()
