"""Any network by name or as an object: what is loaded into it, and what it says about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vggviz.images import Preprocess
from vggviz.networks import (
    ForeignNetwork,
    NetworkError,
    class_count,
    load_weights,
    open_network,
    read_checkpoint,
)
from vggviz.weights.card import Card, ForeignCard, ForeignConfig
from vggviz.weights.foreign_adapter import insert_adapter
from vggviz.weights.stock import torchvision_preprocess
from vggviz.weights.tensors import fingerprint

__all__ = ["foreign_network", "load_foreign", "network_preprocess"]


def load_foreign(
    name: str,
    *,
    pretrained: bool = False,
    checkpoint: str | Path | None = None,
    labels: Sequence[str] | None = None,
    size: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    output: int | str | None = None,
    multi_label: bool = False,
    adapter: str | Path | None = None,
) -> tuple[ForeignNetwork, ForeignCard]:
    """The network of a name that `open_network` takes, and its card.

    Its weights are random, `pretrained`, or those in the `checkpoint` (see `read_checkpoint`),
    whose last layer tells the number of classes. Size of pictures, mean and standard deviation are
    by default those of torchvision's and timm's own weights, or 224 and ImageNet's. `adapter` is a
    file with attention for the network with these weights (see `insert_adapter`), which brings its
    own preprocessing and labels. Others as for `foreign_network`.

    Raises NetworkError or WeightsError where network, weights or adapter can't be had or don't fit
    each other.
    """
    file = None if checkpoint is None else Path(checkpoint)
    if file is not None and pretrained:
        raise NetworkError("two_weights")
    state = None if file is None else read_checkpoint(file)
    count = len(labels) if labels and not (state or pretrained) else None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # random weights are the same each time
        network = open_network(name, num_classes=count, pretrained=pretrained)
        if state is not None:
            count = class_count(state, network)
            if count != class_count(network.state_dict()):
                network = open_network(name, num_classes=count)
            load_weights(network, state)
    defaults, categories = _defaults(name, network)
    facts: dict[str, Any] = {
        "weights": file.name if file else "pretrained" if pretrained else "random",
        "trained": "all" if file or pretrained else "nothing",
        "fingerprint": fingerprint(file) if file else "",
    }
    if adapter is not None:
        card = insert_adapter(network, Path(adapter))
        defaults, labels = card.preprocess, labels or card.labels
        facts = {"weights": card.weights, "fingerprint": card.fingerprint, "facts": card.facts}
    preprocess = network_preprocess(size, mean, std, defaults)
    return foreign_network(
        network,
        preprocess,
        labels=categories if labels is None and pretrained else labels,
        name=name if ".py:" not in name else Path(name).name,
        **facts,
        output=output,
        multi_label=multi_label,
    )


def network_preprocess(
    size: int | None,
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
    defaults: Preprocess | None = None,
) -> Preprocess:
    """The `defaults`, by default ImageNet's, with what else is given. The shorter
    side is resized in proportion to `size`. Raises ValueError for settings that make no sense."""
    defaults = defaults or Preprocess()
    side = defaults.size if size is None else size
    return replace(
        defaults,
        size=side,
        resize=max(side, round(side * defaults.resize / defaults.size)),
        mean=defaults.mean if mean is None else _three(mean),
        std=defaults.std if std is None else _three(std),
    )


def foreign_network(
    network: nn.Module,
    preprocess: Preprocess,
    *,
    labels: Sequence[str] | None = None,
    name: str = "",
    output: int | str | None = None,
    multi_label: bool = False,
    copy: bool = False,
    **facts: Any,
) -> tuple[ForeignNetwork, ForeignCard]:
    """The network as a `ForeignNetwork`, and its card: the network itself, which is put into
    evaluation mode, or a `copy` on the CPU in float32.

    `labels` name the classes in order, by default 'class 0' and so on. With `multi_label`
    probabilities are sigmoids, which a network with a single logit has in any case. `facts` are
    other fields of the card.

    Raises NetworkError where it can't be copied, where there are more or fewer labels than classes,
    and as `ForeignNetwork`.
    """
    if copy and not isinstance(network, torch.jit.ScriptModule):  # which is refused below
        try:
            network = deepcopy(network).to("cpu", torch.float32)
        except RuntimeError as error:  # as of a tensor that `weight_norm` computed
            raise NetworkError("not_copyable", why=error) from error
    adapted = ForeignNetwork(network, preprocess.size, output=output)
    count = adapted.num_classes
    names = tuple(f"class {k}" for k in range(count)) if labels is None else tuple(labels)
    if len(names) != count:
        raise NetworkError("label_count", labels=len(names), classes=count)
    kinds = ", ".join(sorted({place.kind for place in adapted.places})) or "none"
    config = ForeignConfig(name or type(network).__name__, kinds, count, multi_label or count == 1)
    return adapted, Card(facts.pop("weights", "own"), config, preprocess, names, **facts)


def _three(numbers: float | Sequence[float]) -> tuple[float, float, float]:
    """Of each channel; one number is meant for all. Raises NetworkError for other counts."""
    if isinstance(numbers, int | float):
        numbers = [numbers]
    if len(numbers) not in (1, 3):
        raise NetworkError("mean_count", count=len(numbers))
    first, *rest = map(float, numbers)
    return (first, *rest) if len(rest) == 2 else (first, first, first)  # type: ignore[return-value]


def _defaults(name: str, network: nn.Module) -> tuple[Preprocess, tuple[str, ...] | None]:
    """How pictures go into the network of this name, and the classes of its pretrained weights,
    where torchvision or timm say so."""
    home, _, rest = name.rpartition(":")
    if home == "torchvision":
        from torchvision import models

        weights = models.get_model_weights(rest).DEFAULT
        return torchvision_preprocess(weights), tuple(weights.meta["categories"])
    timm: Mapping[str, Any] = getattr(network, "pretrained_cfg", {}) if home == "timm" else {}
    if "input_size" not in timm:
        return Preprocess(), None
    size, mode = timm["input_size"][-1], timm["interpolation"]
    preprocess = Preprocess(
        size=size,
        resize=max(size, int(size / timm["crop_pct"])),
        mean=_three(timm["mean"]),
        std=_three(timm["std"]),
        interpolation=mode if mode in ("bilinear", "bicubic") else "bicubic",
    )
    if timm.get("num_classes") != 1000:
        return preprocess, None
    from torchvision import models

    return preprocess, tuple(models.ResNet50_Weights.DEFAULT.meta["categories"])
