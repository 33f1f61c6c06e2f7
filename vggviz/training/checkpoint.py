"""Training checkpoints: trained values, optimizer and history in one safetensors file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vggviz.networks import Network, NetworkConfig
from vggviz.training.config import TrainConfig, TrainError, current_names, differences
from vggviz.weights import write_safetensors

__all__ = ["Checkpoint", "State"]

PREFIX = "model."  # of the names of a network's values in the file


@dataclass(slots=True)
class State:
    """The progress of a run: finished steps, one history entry for each finished epoch, and the sum
    of the loss and the number of correct predictions of the current epoch."""

    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    loss: float = 0.0
    correct: int = 0


class Checkpoint:
    """The file of one run: what training changes in a network, the optimizer's state, and `State`.

    What is frozen stays out of the file, but for a hash of it: a checkpoint of attention in a VGG19
    that stays as it is has megabytes, not 575. Made once modules are frozen and set to training or
    evaluation mode.
    """

    def __init__(
        self,
        file: Path,
        model: Network,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        pictures: str,
    ) -> None:
        """`pictures` is the fingerprint of the training examples."""
        self.file, self.model, self.config, self.pictures = file, model, config, pictures
        self.optimizer = optimizer
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        fixed = {name for name, value in model.named_parameters() if not value.requires_grad}
        for path, module in model.named_modules():
            if not module.training:
                fixed |= {f"{path}.{name}" for name, _ in module.named_buffers(recurse=False)}
        state, digest = model.state_dict(), hashlib.sha256()
        for name in sorted(fixed & state.keys()):
            digest.update(name.encode())
            digest.update(
                state[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
            )
        self.trained, self.frozen = state.keys() - fixed, digest.hexdigest()

    def save(self, state: State) -> None:
        """Write the file atomically."""
        values = self.model.state_dict()
        tensors = {f"{PREFIX}{name}": values[name].contiguous() for name in self.trained}
        for index, parameter in enumerate(self.parameters):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):  # SGD's momentum is None before its first step
                    tensors[f"optimizer.{index}.{name}"] = value.contiguous()
        description = {
            "config": asdict(self.config),
            "network": self.model.config.to_json(),
            "frozen": self.frozen,
            "pictures": self.pictures,
            "state": asdict(state),
        }
        write_safetensors(tensors, {"train": json.dumps(description)}, self.file)

    def load(self) -> State:
        """Load the file into the network and the optimizer, and return how far the run had come.

        Raises TrainError where it is damaged or of another run, naming the settings that differ.
        """
        name = self.file.name
        try:
            with safe_open(self.file, framework="pt") as opened:
                metadata = json.loads((opened.metadata() or {}).get("train", "{}"))
                self._check(metadata)
                tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise TrainError(f"{name} is no whole checkpoint: remove it and start anew") from error
        own = {key.removeprefix(PREFIX): t for key, t in tensors.items() if key.startswith(PREFIX)}
        shapes = {key: value.shape for key, value in self.model.state_dict().items()}
        # Version 0.1 wrote frozen values, too.
        if self.trained - own.keys() or any(shapes.get(k) != v.shape for k, v in own.items()):
            raise TrainError(f"{name} is the checkpoint of a run with another network")
        self.model.load_state_dict(own, strict=False)
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, entry = key.split(".")
                value = value.clone(memory_format=torch.preserve_format)
                if value.ndim == 4:
                    value = value.contiguous(memory_format=torch.channels_last)
                self.optimizer.state[self.parameters[int(index)]][entry] = value
        return State(**current_names(metadata["state"]))

    def _check(self, metadata: Mapping[str, Any]) -> None:
        """Raise TrainError where a file's metadata are another run's."""
        run = f"{self.file.name} is the checkpoint of a run"
        if other := differences(current_names(metadata.get("config", {})), asdict(self.config)):
            raise TrainError(f"{run} with other settings: {other}")
        network = NetworkConfig.from_json(metadata.get("network", {})).to_json()
        if other := differences(network, self.model.config.to_json()):
            raise TrainError(f"{run} with another network: {other}")
        if metadata.get("frozen", self.frozen) != self.frozen:
            raise TrainError(f"{run} with other weights in the layers that are not trained")
        if metadata.get("pictures") != self.pictures:
            raise TrainError(f"{run} on other pictures")
