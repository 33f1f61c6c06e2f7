"""The base class of networks, with the ordered stages that all other packages work with."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from threading import Lock
from typing import Literal

import torch
from torch import Tensor, nn

from vggviz.attention.build import build
from vggviz.hooks.capture import Change, bypass, intervene
from vggviz.networks.config import NetworkConfig
from vggviz.types import InputError

__all__ = ["AttentionStage", "Network", "fresh_attention", "rng_lock"]

rng_lock = Lock()  # for what draws from PyTorch's global generator, as modules do


class AttentionStage(nn.Module):
    """Attention f at one stage: f(x), or x + γ·(f(x) − x) with a γ that starts at 0.

    (B, C, H, W) → (B, C, H, W). `gamma` is None where the attention replaces the features.
    """

    gamma: nn.Parameter | None

    def __init__(self, attention: nn.Module, blend: Literal["residual", "replace"]) -> None:
        super().__init__()
        self.module = attention
        self.gamma = nn.Parameter(torch.zeros(())) if blend == "residual" else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module(x)
        return y if self.gamma is None else x + self.gamma * (y - x)


class Network(nn.Module):
    """A chain of layers, cut into `stages`, with attention possible at the end of each.

    Normalised pictures (B, 3, H, W) → logits (B, K). A subclass builds its layers under
    torchvision's parameter names (`_build`) and yields them in order (`_chain`); this class runs
    the chain from or up to any stage and finds stages and layers by name. Attention is not in the
    layers but under `attention.<stage>`, so that torchvision's weights load strictly. No ReLU works
    in place: it would overwrite the features that hooks captured.

    `stages` are the names of the stages in the order of the forward pass; `layers` maps names of
    layers such as 'conv5_4', and each stage after the layer that ends it, to module paths.

    Weights start as torchvision's do (Kaiming normal, fan out), and attention as its own
    constructor sets it, drawn from `generator`, or from PyTorch's global one. With `empty` the
    backbone's parameters are left on the meta device, to be filled by `load_state_dict(…,
    assign=True)`; attention is built for real, since a module may hold more than its state_dict.
    Under `torch.device('meta')` the whole network stays there, for its names and shapes.

    Raises ValueError where attention leaves a parameter or buffer uninitialised.
    """

    stages: tuple[str, ...] = ()
    attention: nn.ModuleDict
    resumable = True
    """Whether a pass can start from the features at a stage: `forward(features, stage)`."""

    def __init__(
        self,
        config: NetworkConfig,
        generator: torch.Generator | None = None,
        *,
        empty: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.layers: dict[str, str] = {}
        device = torch.empty(0).device  # `get_default_device` ignores `with` before torch 2.8
        empty = empty or device.type == "meta"
        with torch.device("meta"):
            channels = self._build()
        if not empty:
            for part in self.children():
                part.to_empty(device=device)
                initialise(part, generator)
        if not hasattr(self, "attention"):
            self.attention = nn.ModuleDict()
        self.attention.update(fresh_attention(config, channels, generator, empty))
        self.attention.to(device)
        named, self.layers = self.layers, {}
        ends = {path: stage for path, _, stage in self._chain() if stage is not None}
        for name, path in named.items():  # each stage after the layer that ends it
            self.layers[name] = path
            if stage := ends.get(path):
                self.layers[stage] = f"attention.{stage}" if stage in self.attention else path

    @abstractmethod
    def _build(self) -> dict[str, int]:
        """Build all layers but the attention, name them in `layers` in the order of the forward
        pass, and return the channels at the end of each stage."""

    @abstractmethod
    def _chain(self) -> Iterator[tuple[str, nn.Module, str | None]]:
        """(module path, layer, the stage that ends with this layer or None), in the order of the
        forward pass, up to the classifier."""

    @abstractmethod
    def classify(self, x: Tensor) -> Tensor:
        """Logits (B, K) of the chain's output (B, C, h, w)."""

    def forward(self, x: Tensor, stage: str | None = None) -> Tensor:
        """Logits (B, K) of normalised pictures (B, 3, H, W); or, with `stage`, of the input of its
        attention, as `features_before` returns it."""
        for module in self._modules_between(start=stage):
            x = module(x)
        return self.classify(x)

    def features_before(self, x: Tensor, stage: str, start: str | None = None) -> Tensor:
        """The input (B, C, h, w) of the attention of `stage`, or of where it would be.

        `network(network.features_before(x, stage), stage)` equals `network(x)`. With `start`, an
        earlier stage or the same, `x` is the input of the attention of `start` instead of pictures.
        """
        if start == stage:
            return x
        for module in self._modules_between(start, stage):
            x = module(x)
        return x

    def logits_after(self, y: Tensor, stage: str) -> Tensor:
        """Logits (B, K) of the output (B, C, h, w) of the attention of `stage`."""
        modules = self._modules_between(start=stage)
        if stage in self.attention:
            next(modules)
        for module in modules:
            y = module(y)
        return self.classify(y)

    def modules_before(self, stage: str) -> list[nn.Module]:
        """The layers and attention that a picture passes before the attention of `stage`."""
        return list(self._modules_between(stop=stage))

    def _modules_between(
        self, start: str | None = None, stop: str | None = None
    ) -> Iterator[nn.Module]:
        """Layers and attention in the order of the forward pass, between two stages."""
        running = start is None
        for _, layer, stage in self._chain():
            if running:
                yield layer
            if stage is None:
                continue
            if stage == stop:
                return
            running = running or stage == start
            if running and stage in self.attention:
                yield self.attention[stage]

    def path(self, place: str) -> str:
        """The module path of a stage, of a layer by name, or of a module path itself.

        A stage is its attention, or the layer that ends it where there is none. Raises ValueError
        for a name that does not exist.
        """
        if place in self.layers:
            return self.layers[place]
        if place and place in dict(self.named_modules()):
            return place
        others = [name for name in self.layers if name not in self.stages]
        ends = {"first": others[0], "last": others[-1]} if others else {}
        code = "no_layer" if others else "no_stage"
        raise InputError(code, layer=place, stages=", ".join(self.stages), **ends)

    def input_path(self, stage: str) -> str:
        """The path of the module whose output is the input of the attention of `stage`, or of where
        it would be."""
        return next(path for path, _, ends in self._chain() if ends == stage)

    def attention_paths(self, stages: Sequence[str] | None = None) -> list[str]:
        """The module paths of the attention at `stages`, by default at all that have some."""
        return [f"attention.{stage}" for stage in stages or self.stages if stage in self.attention]

    def is_link(self, path: str) -> bool:
        """Whether everything that reaches the classifier passes through the module at `path`."""
        return path in self.attention_paths() or any(path == link for link, _, _ in self._chain())

    def intervene(self, change: Change) -> AbstractContextManager[object]:
        """Inside the `with` the network runs with `change(path, kind, weights)` in the place of its
        attention weights (B, ...): see `hooks.capture.intervene`."""
        return intervene(self, change)

    def bypass(self) -> AbstractContextManager[object]:
        """Inside the `with` the network runs as without attention: the attention of each stage
        returns its input."""
        return bypass(self, self.attention_paths())

    def key_positions(self) -> dict[str, Tensor]:
        """The positions (N, M) of the keys of each query (see `AttentionRecord`), by module path,
        for attention whose queries have only a part of the keys, as in windows."""
        return {}

    def listed_stages(self) -> tuple[str, ...]:
        """All stages for a list; `stages` are those that fit in a row."""
        return self.stages

    def feature_paths(self) -> dict[str, str]:
        """The path of the module whose output is the input of the attention, by stage, for the
        stages that have attention."""
        return {stage: self.input_path(stage) for stage in self.stages if stage in self.attention}

    def to_map(self, path: str, features: Tensor) -> Tensor:
        """The output of a module in `feature_paths` as a feature map (..., C, h, w)."""
        return features

    def untrained(self, groups: Collection[str], generator: torch.Generator) -> Network:
        """A network with the parameters in these `parameter_groups` as before training, drawn from
        `generator`. It shares all others with this one, which must be frozen."""
        paths = [f"{path}." for group in groups for path in self.parameter_groups()[group]]
        other = type(self)(self.config, generator)
        trained = {
            key: value
            for key, value in self.state_dict().items()
            if not key.startswith(tuple(paths))
        }
        other.load_state_dict(trained, strict=False, assign=True)
        return other

    def parameter_groups(self) -> dict[str, tuple[str, ...]]:
        """Module paths of all learned parameters by layer, from the top down.

        These are the steps of a model parameter randomisation test (Adebayo et al. 2018, section
        4): linear layers, then attention ('attention at block5') and the layers of the chain, each
        batch norm together with the convolution before it.
        """
        found: dict[str, tuple[str, ...]] = {}
        norms: tuple[str, ...] = ()
        for name, path in reversed(self.layers.items()):
            module = self.get_submodule(path)
            if (name in self.stages and name not in self.attention) or not any(module.state_dict()):
                continue
            if isinstance(module, nn.BatchNorm2d):
                norms = (path,)
                continue
            found[f"attention at {name}" if name in self.stages else name] = (path, *norms)
            norms = ()
        return found

    def gammas(self) -> dict[str, float]:
        """γ by stage, where attention is blended in: at 0 the network ignores it."""
        return {
            stage: module.gamma.item()
            for stage, module in self.attention.items()
            if isinstance(module, AttentionStage) and module.gamma is not None
        }


def initialise(part: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw fresh weights of a part of the backbone in place, in torchvision's scheme: convolutions
    Kaiming normal (fan out), linear layers normal (0, 0.01), biases 0, norms 1 and 0.

    Raises TypeError for a module with parameters or buffers that the scheme does not know.
    """
    for module in part.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01, generator=generator)
            else:
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif any(True for _ in (*module.parameters(False), *module.buffers(False))):
            raise TypeError(f"no way is known to initialise a {type(module).__name__}")


def fresh_attention(
    config: NetworkConfig,
    channels: Mapping[str, int],
    generator: torch.Generator | None,
    empty: bool,
) -> dict[str, AttentionStage]:
    """Attention at the stages of `config`, with `channels` by stage, on the CPU. PyTorch's global
    generator is left as it was, but for the one number that is drawn where `generator` is None and
    the network is not `empty`."""
    if config.attention == "none":
        return {}
    where = torch.device("cpu") if generator is None else generator.device
    seed = 0
    if not empty:
        seed = int(torch.randint(2**62, (), generator=generator, device=where))
    with rng_lock, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return {
            stage: AttentionStage(build(config.attention, channels[stage]), config.blend)
            for stage in config.stages
        }
