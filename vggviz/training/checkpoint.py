"""Training checkpoints: model, optimizer and history in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vggviz.networks import Network, NetworkConfig
from vggviz.training.config import TrainConfig, TrainError, current_names, differences
from vggviz.weights import write_safetensors

__all__ = ["State", "load_checkpoint", "save_checkpoint"]


@dataclass(slots=True)
class State:
    """The progress of a run: finished steps, one history entry for each finished epoch, and the sum
    of the loss and the number of correct predictions of the current epoch."""

    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    loss: float = 0.0
    correct: int = 0


def save_checkpoint(
    file: Path,
    model: Network,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    pictures: str,
    state: State,
) -> None:
    """Write a checkpoint atomically. `pictures` is the fingerprint of the training examples."""
    tensors = {f"model.{key}": value.contiguous() for key, value in model.state_dict().items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):  # SGD's momentum is None before its first step
                tensors[f"optimizer.{index}.{name}"] = value.contiguous()
    description = {
        "config": asdict(config),
        "network": model.config.to_json(),
        "pictures": pictures,
        "state": asdict(state),
    }
    write_safetensors(tensors, {"train": json.dumps(description)}, file)


def load_checkpoint(
    file: Path,
    model: Network,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    pictures: str,
) -> State:
    """Load a checkpoint into `model` and `optimizer`, and return its state.

    Raises TrainError where it is damaged or of another run, naming the settings that differ.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = json.loads((opened.metadata() or {}).get("train", "{}"))
            if other := differences(current_names(metadata.get("config", {})), asdict(config)):
                raise TrainError(
                    f"{file.name} is the checkpoint of a run with other settings: {other}"
                )
            network = NetworkConfig.from_json(metadata.get("network", {})).to_json()
            if other := differences(network, model.config.to_json()):
                raise TrainError(
                    f"{file.name} is the checkpoint of a run with another network: {other}"
                )
            if metadata.get("pictures") != pictures:
                raise TrainError(f"{file.name} is the checkpoint of a run on other pictures")
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise TrainError(f"{file.name} is no whole checkpoint: remove it and start anew") from error
    prefix = "model."
    own = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    if {key: value.shape for key, value in own.items()} != shapes:
        raise TrainError(f"{file.name} is the checkpoint of a run with another network")
    model.load_state_dict(own)
    parameters = _parameters(optimizer)
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            value = value.clone(memory_format=torch.preserve_format)
            if value.ndim == 4:
                value = value.contiguous(memory_format=torch.channels_last)
            optimizer.state[parameters[int(index)]][name] = value
    return State(**current_names(metadata["state"]))


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
