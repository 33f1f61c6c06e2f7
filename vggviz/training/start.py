"""The network that training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch

from vggviz.images import Preprocess
from vggviz.networks import CutNetwork, Network, NetworkConfig, build_network, is_network_name
from vggviz.training.config import TrainConfig
from vggviz.weights import (
    BUNDLED,
    WEIGHTS,
    Backbone,
    Card,
    bundled_types,
    load_network,
    read_backbone,
)
from vggviz.weights.network_card import load_foreign

__all__ = ["NetworkChoice", "Start", "freezes_layers", "no_backbone", "starting_network"]


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """The network to train: its initial weights, and the attention in it.

    `weights` is 'none' (a fresh VGG19-BN of `width` with the 'gap' head), a name that
    `load_network` knows other than 'random', or a file. By default `stages` and `blend` are those
    of the weights where these have the same attention, which is then trained further, and else all
    stages and 'residual'; without labels, the last two stages and 'replace'. Or `weights` is the
    name of a network that `open_network` takes, `options` are those of `load_foreign`, and `stages`
    are module paths (see `CutNetwork`): for training without labels.
    """

    weights: str = "none"
    attention: str = "none"
    stages: tuple[str, ...] | None = None
    blend: str | None = None
    width: float = 0.5
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def facts(self) -> dict[str, Any]:
        """The fields for a card, with the names of files but not their folders."""
        options = {
            name: Path(value).name if name == "checkpoint" else value
            for name, value in self.options.items()
            if name != "labels"  # which the card has
        }
        return {**asdict(self), "weights": Path(self.weights).name, "options": options}


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """The network before training, its preprocessing and classes, and the backbone of the file to
    write, where that will be an adapter."""

    model: Network
    preprocess: Preprocess
    labels: tuple[str, ...]
    wnids: tuple[str, ...]
    backbone: Backbone | None = None


def starting_network(
    network: NetworkChoice,
    labels: tuple[str, ...],
    wnids: tuple[str, ...],
    config: TrainConfig,
    out: Path,
) -> Start:
    """The network that is trained to write `out`, for these classes; without labels it keeps its
    own, and where the labels are the same its WordNet ids, if the data has none. Raises ValueError
    for what is nothing to start from."""
    generator = torch.Generator().manual_seed(config.seed)
    if is_network_name(network.weights):
        return _start_of_foreign(network, config, generator)
    if network.weights == "none":
        if not config.image_sizes:
            raise ValueError(
                "a network that is trained from scratch needs image_sizes: (32, 48, 64)"
            )
        size = config.image_sizes[-1]
        fresh = NetworkConfig(
            attention=network.attention,
            stages=network.stages or (),
            blend=cast(Any, network.blend or "residual"),
            head="gap",
            architecture="vgg19_bn",
            width=network.width,
            num_classes=len(labels),
        )
        return Start(build_network(fresh, generator), Preprocess(size, size), labels, wnids)
    source, card = _source(network, config)
    same = card.config.attention == network.attention
    stages, blend = (card.config.stages, card.config.blend) if same else ((), "residual")
    if config.unlabelled is not None or (card.labels == labels and not wnids):
        labels, wnids = card.labels, card.wnids
    if config.unlabelled is not None:
        stages, blend = source.stages[-2:], "replace"
    chosen = replace(
        card.config,
        attention=network.attention,
        stages=network.stages or stages,
        blend=cast(Any, network.blend or blend),
        num_classes=len(labels),
    )
    model = build_network(chosen, generator)
    _copy_matching(model, source, head=card.labels == labels)
    backbone = None
    folder = Path(network.weights).resolve().parent
    beside = network.weights.endswith(".safetensors") and folder == out.resolve().parent
    if freezes_layers(config) and (network.weights in WEIGHTS or beside):
        backbone = read_backbone(network.weights, card.config.attention)
    preprocess = card.preprocess
    if config.image_sizes and config.image_sizes[-1] != preprocess.size:
        size = config.image_sizes[-1]
        resize = round(preprocess.resize * size / preprocess.size)
        preprocess = replace(preprocess, size=size, resize=resize)
    return Start(model, preprocess, labels, wnids, backbone)


def _start_of_foreign(
    network: NetworkChoice, config: TrainConfig, generator: torch.Generator
) -> Start:
    """A network that vggviz did not build, with attention behind some of its modules."""
    if config.unlabelled is None:
        raise ValueError("only attention can be trained in such a network: add --unlabelled")
    foreign, card = load_foreign(network.weights, **network.options)
    if card.trained == "nothing" and not network.weights.rpartition(":")[0].endswith(".py"):
        raise ValueError(
            f"{network.weights} has random weights, whose answers teach nothing: add --pretrained "
            "or --checkpoint"
        )
    if card.multi_label:
        raise ValueError("without labels a network needs two classes or more")
    preprocess, paths = card.preprocess, network.stages or ()
    if config.image_sizes not in ((), (preprocess.size,)):
        raise ValueError(
            f"the pictures of such a network have {preprocess.size} pixels: another size is given "
            "by --size, not by --image-sizes"
        )
    name = card.config.network
    model = CutNetwork(foreign, name, preprocess.size, network.attention, paths, generator)
    return Start(model, preprocess, card.labels, card.wnids)


def _source(network: NetworkChoice, config: TrainConfig) -> tuple[Network, Card]:
    """The network whose weights are the initial ones, and its card."""
    if network.weights == "random":
        raise ValueError(
            "random weights are nothing to start from: choose 'none' for a fresh network"
        )
    trained = network.weights == BUNDLED and network.attention in bundled_types()
    start = network.attention if trained and config.unlabelled is None else "none"
    source, card = load_network(network.weights, start)
    if card.trained == "nothing" and freezes_layers(config):
        raise no_backbone(f"{network.weights} was never trained")
    if config.unlabelled is not None and card.config.attention != "none":
        raise ValueError(
            f"{card.weights} has attention ({card.config.attention}) that its layers were trained "
            "with: without labels start from a network that has none"
        )
    return source, card


def freezes_layers(config: TrainConfig) -> bool:
    """Whether some convolutions are not trained."""
    return config.freeze_backbone or config.train_from is not None or config.unlabelled is not None


def no_backbone(why: str) -> ValueError:
    """The error where layers would be frozen that never learned."""
    known = ", ".join(name for name in WEIGHTS if name != "random")
    return ValueError(
        "--freeze-backbone, --train-from and --unlabelled keep layers that have learned, and "
        f"{why}: start from weights (--weights {known}, a .safetensors file, or hf:user/repo)"
    )


def _copy_matching(model: Network, source: Network, *, head: bool) -> None:
    """Copy the tensors that match by name and shape, those of the last layer only with `head`."""
    last = f"{next(iter(model.parameter_groups().values()))[0]}."
    own = model.state_dict()
    state = {
        key: value
        for key, value in source.state_dict().items()
        if key in own and own[key].shape == value.shape and (head or not key.startswith(last))
    }
    model.load_state_dict(state, strict=False)
