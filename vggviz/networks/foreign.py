"""Any image classifier as a `Network`: its stages and attention are found in one forward pass."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from vggviz.hooks import finding
from vggviz.hooks.capture import Change, capture
from vggviz.hooks.neutral import neutral_weights
from vggviz.hooks.passes import Place
from vggviz.hooks.survey import FeatureMap, survey
from vggviz.networks.named import NetworkError
from vggviz.networks.outputs import output_members
from vggviz.networks.protocol import Network, rng_lock
from vggviz.platform.python_file import nearest
from vggviz.types import POSITIONS, InputError

__all__ = ["MAX_STAGES", "ForeignNetwork", "WrappedNetwork"]

MAX_STAGES = 8
"""The most names in `ForeignNetwork.stages`."""
GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601, as Pillow's convert("L")


class WrappedNetwork(Network):
    """A network around another one, whose layers are not known as a chain."""

    def classify(self, x: Tensor) -> Tensor:
        """Raises NetworkError: where the classifier begins is not known."""
        raise NetworkError("not_from_stage")

    def _build(self) -> dict[str, int]:
        raise NotImplementedError

    def _chain(self) -> Iterator[tuple[str, nn.Module, str | None]]:
        raise NetworkError("not_from_stage")


class ForeignNetwork(WrappedNetwork):
    """Any classifier as a `Network`, from one forward pass over a picture of `size` × `size`.

    It shares children, parameters and buffers with `network`, which is put into evaluation mode, so
    that module paths are those of `network`. Pictures (B, 3, H, W) → logits (B, K); where the
    network takes one channel, it gets the luma. Of several outputs `output`, an index or a key, is
    taken, by default `logits` or the first one that can be logits.

    `maps` are the modules whose outputs are feature maps, in the order in which they were computed.
    `places` are all places of attention, `attention` the same by stage. The stage of a gate is the
    innermost module around it whose output has the grid of the features that it weighs; that of
    self-attention is the module whose output it weighs, or takes as input. `all_stages` are these
    and the last maps at each resolution, `stages` at most `MAX_STAGES` of them, `layers` all maps.

    Raises NetworkError for what runs on no such picture, returns no logits, is scripted or
    compiled.
    """

    resumable = False
    maps: Mapping[str, FeatureMap]
    places: tuple[Place, ...]
    attention: Mapping[str, tuple[Place, ...]]  # type: ignore[assignment]  # no modules of ours
    all_stages: tuple[str, ...]
    num_classes: int
    _network: nn.Module
    _output: int | str | None
    _size: int
    _grey: bool

    def __init__(self, network: nn.Module, size: int, *, output: int | str | None = None) -> None:
        nn.Module.__init__(self)
        if isinstance(network, torch.jit.ScriptModule):
            raise NetworkError("scripted_network")
        while isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        # Past nn.Module.__setattr__, which would make the network its own child.
        vars(self).update(
            _network=network,
            _modules=network._modules,
            _parameters=network._parameters,
            _buffers=network._buffers,
            _non_persistent_buffers_set=network._non_persistent_buffers_set,
            _output=output,
            _size=size,
            _grey=False,
        )
        self.eval()
        places, maps, logits = self._survey(size)
        maps = self._with_effect(maps, size)
        last = _last_of_each_grid(maps)
        attention: dict[str, list[Place]] = {}
        for place in places:
            stage = _stage(place, maps) or (last[-1] if last else place.path)
            attention.setdefault(stage, []).append(place)
        order = {path: rank for rank, path in enumerate(maps)}
        stages = sorted({*attention, *last}, key=lambda path: order.get(path, -1))
        vars(self).update(
            maps=maps,
            places=tuple(places),
            attention={stage: tuple(attention[stage]) for stage in stages if stage in attention},
            num_classes=logits.shape[1],
            layers={path: path for path in maps},
            all_stages=tuple(stages),
            stages=_choose_stages(stages, attention, last),
        )

    def _survey(self, size: int) -> tuple[list[Place], dict[str, FeatureMap], Tensor]:
        """`survey` of this network on noise with three channels, or, where that fails, with one."""
        noise = self._noise(size)
        first: Exception | None = None
        for grey in (False, True):
            vars(self)["_grey"] = grey
            try:
                return survey(self, noise)
            except NetworkError:
                raise
            except Exception as error:  # the network's code may raise anything
                first = first or error
        reason = str(first).strip().partition("\n")[0]
        if isinstance(first, ValueError) and "can't be looked into" in reason:
            raise NetworkError(reason) from first
        reason = f"{type(first).__name__}: {reason}"
        raise NetworkError("network_input", size=size, why=reason) from first

    def _with_effect(self, maps: dict[str, FeatureMap], size: int) -> dict[str, FeatureMap]:
        """The maps on which the logits depend: not those of, say, a second output. All of them
        where no gradient can be computed, as an explanation then says."""
        try:
            with torch.no_grad(), capture(self, maps, graph=[*maps]) as trace:
                logits = self(self._noise(size))
                outputs = [trace.outputs[path] for path in maps]
                slopes = torch.autograd.grad(logits.sum(), outputs, allow_unused=True)
        except Exception:  # the network's code may raise anything
            return maps
        slope_of = dict(zip(maps, slopes, strict=True))
        return {path: one for path, one in maps.items() if slope_of[path] is not None}

    def _noise(self, size: int) -> Tensor:
        one = next(self.parameters(), torch.empty(0))
        return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(one)

    def forward(self, x: Tensor, stage: str | None = None) -> Tensor:
        """Logits (B, K) of normalised pictures (B, 3, H, W)."""
        if stage is not None:
            raise NetworkError("not_from_stage")
        return self.run(x, x.shape[0])

    def run(self, x: Tensor, count: int) -> Tensor:
        """Logits (`count`, K) of normalised pictures (B, 3, H, W); `count` is not B where a module
        returns features of another number of pictures (see `replace_output`)."""
        self._network.training = self.training  # `evaluating` sets flags module by module
        if self._grey:
            x = torch.einsum("bchw,c->bhw", x, x.new_tensor(GREY))[:, None]
        return _logits(self._network(x), count, self._output)

    def train(self, mode: bool = True) -> ForeignNetwork:
        """As for any module."""
        super().train(mode)
        self._network.training = mode
        return self

    def get_submodule(self, target: str) -> nn.Module:
        """As for any module, also where a child's name is that of an attribute of this class."""
        return self._network.get_submodule(target) if target else self

    def path(self, place: str) -> str:
        """The module path `place` itself. Raises ValueError where there is no such module."""
        known = [path for path, _ in self.named_modules() if path]
        if place not in known:
            raise InputError("no_module", layer=place, nearest=nearest(place, known))
        return place

    def input_path(self, stage: str) -> str:
        """The module whose output the attention at `stage` weighs."""
        return self.attention[stage][0].stage

    def attention_paths(self, stages: Sequence[str] | None = None) -> list[str]:
        """The stages among these that have attention, by default all."""
        return [stage for stage in stages or self.attention if stage in self.attention]

    def position_weights(self, stage: str) -> Place | None:
        """The last attention at `stage` that weighs positions, if there is one."""
        found = [place for place in self.attention.get(stage, ()) if place.kind in POSITIONS]
        return found[-1] if found else None

    def is_link(self, path: str) -> bool:
        """False: whether features bypass a module is not known."""
        return False

    def intervene(self, change: Change) -> AbstractContextManager[object]:
        """As `Network.intervene`, for the attention that was found."""
        return finding(self, self.places, change=change)

    def bypass(self) -> AbstractContextManager[object]:
        """Inside the `with` the network runs with `neutral_weights`."""
        positions = self.key_positions()
        return self.intervene(lambda path, kind, w: neutral_weights(kind, w, positions.get(path)))

    def key_positions(self) -> dict[str, Tensor]:
        """As `Network.key_positions`."""
        found = {place.path: place.layout.positions for place in self.places}
        return {path: positions for path, positions in found.items() if positions is not None}

    def listed_stages(self) -> tuple[str, ...]:
        """`all_stages`."""
        return self.all_stages

    def feature_paths(self) -> dict[str, str]:
        """As `Network.feature_paths`, where that module's output is a map; where a function stands
        between a stage and its attention, the stage itself."""
        paths: dict[str, str] = {}
        for stage in self.all_stages:
            for place in self.attention.get(stage, ())[:1]:
                inside = f"{place.path}.".startswith(f"{stage}.")
                path = place.stage if place.stage in self.maps or inside else stage
                if path in self.maps:
                    paths[stage] = path
        return paths

    def to_map(self, path: str, features: Tensor) -> Tensor:
        """As `Network.to_map`; tokens without a position are left out."""
        return self.maps[path].to_map(features)

    def untrained(self, groups: Collection[str], generator: torch.Generator) -> ForeignNetwork:
        """A copy with the parameters in these `parameter_groups` as before training: by their
        modules' own `reset_parameters`, or else, where a module has none, drawn from a normal
        distribution with each parameter's own mean and standard deviation."""
        network = deepcopy(self._network)
        seed = int(torch.randint(2**62, (), generator=generator))
        with rng_lock, torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.default_generator.manual_seed(seed)
            for path in chain.from_iterable(self.parameter_groups()[group] for group in groups):
                module = network.get_submodule(path)
                reset = getattr(module, "reset_parameters", None)
                for parameter in () if reset else module.parameters(False):
                    spread = parameter.std() if parameter.numel() > 1 else parameter.abs().sum()
                    parameter.copy_(torch.randn_like(parameter) * spread + parameter.mean())
                if reset:
                    reset()
        return ForeignNetwork(network, self._size, output=self._output)

    def parameter_groups(self) -> dict[str, tuple[str, ...]]:
        """The modules that have parameters of their own, from the top down, together with those
        beside them: 'layer4' stands for all below it, 'conv1' and 'fc' for themselves.

        A group's name ends with the first part of the path that has a digit.
        """
        groups: dict[str, tuple[str, ...]] = {}
        for path, one in reversed([*self.named_modules()]):
            if path and any(True for _ in one.parameters(False)):
                parts = path.split(".")
                numbered = (n for n, part in enumerate(parts, 1) if re.search(r"\d", part))
                name = ".".join(parts[: next(numbered, len(parts))])
                groups[name] = (*groups.get(name, ()), path)
        return groups

    def gammas(self) -> dict[str, float]:
        """{}: γ is a parameter of vggviz's own networks."""
        return {}


def _logits(output: Any, batch: int, which: int | str | None) -> Tensor:
    """The logits (B, K) in what a network returned. Raises NetworkError where there are none."""
    if which is not None:
        try:
            output = output[which]
        except (KeyError, IndexError, TypeError):
            raise NetworkError("no_output", output=which) from None
    for member in output_members(output):
        if not isinstance(member, Tensor) or member.shape[:1] != (batch,) or member.ndim == 3:
            continue
        if member.ndim < 3 or member.shape[2:].numel() == 1:
            return member.reshape(batch, -1)
    shape = f" of the shape {tuple(output.shape)}" if isinstance(output, Tensor) else ""
    found = f"{type(output).__name__}{shape}"
    raise NetworkError("no_logits", output=found)


def _stage(place: Place, maps: Mapping[str, FeatureMap]) -> str | None:
    """The stage of the attention at a place, None where no map fits; see `ForeignNetwork`."""
    parts = place.path.split(".")
    around = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    weighed = maps[place.stage].grid if place.stage in maps else place.layout.grid
    found = [path for path in around if path in maps and maps[path].grid == weighed]
    if place.kind == "token" and f"{place.stage}.".startswith(f"{place.path}."):
        # The features that it weighs are computed inside the module. Its output is no stage: after
        # the last self-attention only the class token is used. Its input is: the last map that was
        # completed before any inside the module.
        inside = [path == place.path or path.startswith(f"{place.path}.") for path in maps]
        before = list(maps)[: inside.index(True)] if True in inside else []
        fitting = [path for path in before if maps[path].grid == weighed]
        if fitting:
            return fitting[-1]
    if place.stage in maps and (place.kind in ("token", "pool") or not found):
        return place.stage
    return next((path for path in (*found, *around) if path in maps), None)


def _last_of_each_grid(maps: Mapping[str, FeatureMap]) -> list[str]:
    """The last map at each resolution, in order. Maps with a class token are left out: after the
    last self-attention often only that token is used."""
    last = {found.grid: path for path, found in maps.items() if found.grid != (1, 1)}
    order = list(maps)
    return sorted((path for path in last.values() if not maps[path].extra), key=order.index)


def _choose_stages(
    stages: Sequence[str], attention: Mapping[str, Any], last: Sequence[str]
) -> tuple[str, ...]:
    """At most `MAX_STAGES` stages: the deepest resolution, stages with attention, evenly from the
    first to the last, and then the other resolutions, the deepest first."""
    most = MAX_STAGES - len(last[-1:])
    found = [stage for stage in stages if stage in attention]
    if len(found) > most:
        found = [found[round(n * (len(found) - 1) / (most - 1))] for n in range(most)]
    chosen = list(dict.fromkeys((*last[-1:], *found, *reversed(last))))[:MAX_STAGES]
    return tuple(stage for stage in stages if stage in chosen)
