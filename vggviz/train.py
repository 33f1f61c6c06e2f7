"""Training: augmentation, schedule, checkpoints that resume to the bit."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors import safe_open
from torch import Tensor, nn
from torchvision.transforms import v2

from vggviz.images import Preprocess
from vggviz.vgg import VGG
from vggviz.zoo import write_safetensors

__all__ = ["Examples", "Progress", "TrainConfig", "TrainError", "accuracy", "train"]


class TrainError(RuntimeError):
    """Training that cannot go on; the message is one sentence for people."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Pictures in memory: `pixels` uint8 (n, 3, S, S), `targets` (n,).

    `soft` (n, K), if there, are a teacher's logits to distil.
    """

    pixels: Tensor
    targets: Tensor
    soft: Tensor | None = None


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to train: SGD with Nesterov momentum under a one-cycle learning rate.

    The epochs are shared out among `sizes`, the sides of the pictures in pixels: small ones first
    (Tan, Le 2021, section 4). `attention_rate` multiplies the learning rate
    of attention modules. `distil` is the weight of the teacher's soft labels in the loss, at
    `temperature` (Hinton et al. 2015). `min_scale` is the smallest part of a picture's area that
    a training crop shows.
    """

    epochs: int = 24
    sizes: tuple[int, ...] = (32, 48, 64)
    batch: int = 64
    rate: float = 0.05
    attention_rate: float = 1.0
    warmup: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    distil: float = 0.0
    temperature: float = 2.0
    min_scale: float = 0.35
    freeze_backbone: bool = False
    seed: int = 0

    def size_at(self, epoch: int) -> int:
        """The side of the pictures in `epoch`, in pixels."""
        return self.sizes[len(self.sizes) * epoch // self.epochs]

    def rate_at(self, step: int, steps: int) -> float:
        """One-cycle: up along a half cosine for `warmup` of the steps, then down to zero."""
        peak = self.warmup * steps
        if step < peak:
            return self.rate * (0.04 + 0.96 * (1 - math.cos(math.pi * step / peak)) / 2)
        return self.rate * (1 + math.cos(math.pi * (step - peak) / (steps - peak))) / 2


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands, told after every step; `accuracy` of validation at epochs' ends."""

    epoch: int
    step: int
    steps: int
    size: int
    loss: float
    images_per_second: float
    accuracy: float | None = None


def train(
    model: VGG,
    examples: Examples,
    validation: Examples,
    preprocess: Preprocess,
    config: TrainConfig,
    checkpoint: Path,
    *,
    resume: bool = False,
    every: int = 500,
    report: Callable[[Progress], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Train `model` where it stands and return its history, one entry an epoch.

    Everything random is drawn from (seed, step), and a checkpoint (model, momentum, history) is
    written whole or not at all every `every` steps and after each epoch: a run that was killed
    and resumed ends with the same weights, to the bit, as one that was not (on a CPU with the
    same number of threads). The order of pictures is a fresh permutation each epoch; the last
    incomplete batch is dropped.

    Raises TrainError where the loss is no longer a number, where there are fewer pictures than
    one batch, or where the checkpoint to resume belongs to another run.
    """
    per_epoch = len(examples.targets) // config.batch
    if per_epoch == 0:
        raise TrainError(f"{len(examples.targets)} pictures do not fill one batch: lower --batch")
    steps = per_epoch * config.epochs
    accelerator = Accelerator(mixed_precision="bf16" if has_bf16() else "no")
    model.requires_grad_(True)
    if config.freeze_backbone:
        freeze_backbone(model)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(_groups(model, config), momentum=config.momentum, nesterov=True)
    step, history, total = 0, list[dict[str, Any]](), 0.0
    if resume and checkpoint.is_file():
        step, history, total = _restore(checkpoint, model, optimizer, config)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    rank, world, device = accelerator.process_index, accelerator.num_processes, accelerator.device

    order, crop = torch.empty(0), None
    started, seen = time.perf_counter(), 0
    while step < steps:
        epoch, within = divmod(step, per_epoch)
        size = config.size_at(epoch)
        if crop is None or within == 0:
            order = torch.randperm(
                len(examples.targets), generator=_generator(config.seed, epoch, salt=1)
            )
            crop = v2.Compose(
                [
                    v2.RandomResizedCrop(size, (config.min_scale, 1.0), antialias=True),
                    v2.RandomHorizontalFlip(),
                ]
            )
            started, seen = time.perf_counter(), 0
        chosen = order[within * config.batch : (within + 1) * config.batch][rank::world]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(config.seed, step, salt=2 + rank))
            pictures = torch.stack([crop(picture) for picture in examples.pixels[chosen]])
            images = _normalise(pictures, preprocess, device)
            wrapped.train()
            if config.freeze_backbone:
                _still(model)
            for group in optimizer.param_groups:
                group["lr"] = config.rate_at(step, steps) * group["scale"]
            soft = None if examples.soft is None else examples.soft[chosen].to(device)
            loss = objective(wrapped(images), examples.targets[chosen].to(device), soft, config)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise TrainError(
                f"the loss is {value} at step {step}: lower the learning rate (--rate "
                f"{config.rate}); the last good checkpoint is {checkpoint.name}"
            )
        total, step, seen = total + value, step + 1, seen + config.batch
        speed = seen / (time.perf_counter() - started)
        measured = None
        if step % per_epoch == 0:
            measured = accuracy(wrapped, validation, preprocess, size)
            history.append(
                {
                    "epoch": epoch,
                    "size": size,
                    "loss": total / per_epoch,
                    "accuracy": measured,
                    "images_per_second": speed,
                }
            )
            total = 0.0
        if accelerator.is_main_process and (step % per_epoch == 0 or step % every == 0):
            _store(checkpoint, model, optimizer, config, step, history, total)
        report(Progress(epoch, step, steps, size, value, speed, measured))
    return history


def objective(logits: Tensor, targets: Tensor, soft: Tensor | None, config: TrainConfig) -> Tensor:
    """(1 − d)·cross-entropy + d·T²·KL(teacher_T ‖ student_T), d = `config.distil`; a scalar.

    Hinton, Vinyals, Dean 2015, 'Distilling the Knowledge in a Neural Network', section 2.
    """
    loss = F.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
    if soft is None or config.distil == 0:
        return loss
    teacher = (soft.float() / config.temperature).log_softmax(-1)
    student = (logits / config.temperature).log_softmax(-1)
    distance = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (1 - config.distil) * loss + config.distil * config.temperature**2 * distance


@torch.no_grad()
def accuracy(
    model: nn.Module, examples: Examples, preprocess: Preprocess, size: int | None = None
) -> float:
    """The share of pictures whose likeliest class is right, seen at `size` pixels."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    right = 0
    for pixels, targets in zip(
        examples.pixels.split(128), examples.targets.split(128), strict=True
    ):
        if size is not None and size != pixels.shape[-1]:
            pixels = v2.functional.resize(pixels, [size, size], antialias=True)
        images = _normalise(pixels, preprocess, device)
        right += int((model(images).argmax(-1).cpu() == targets).sum())
    model.train(was_training)
    return right / len(examples.targets)


def freeze_backbone(model: VGG) -> None:
    """Let only attention, γ, norms and the head learn: the convolutions stay."""
    for path, module in model.features.named_modules():
        if path and isinstance(module, nn.Conv2d):
            module.requires_grad_(False)


def has_bf16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _normalise(pixels: Tensor, preprocess: Preprocess, device: torch.device) -> Tensor:
    """uint8 (B, 3, H, W) → normalised float32, channels last, on `device`."""
    scaled = v2.functional.to_dtype(pixels.to(device), torch.float32, scale=True)
    images = v2.functional.normalize(scaled, list(preprocess.mean), list(preprocess.std))
    return images.to(memory_format=torch.channels_last)


def _groups(model: VGG, config: TrainConfig) -> list[dict[str, Any]]:
    """No weight decay on biases, norms and γ; a rate of its own for attention."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = config.attention_rate if name.startswith("attention.") else 1.0
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    return [
        {"params": parameters, "scale": scale, "weight_decay": decay, "lr": config.rate}
        for (scale, decay), parameters in groups.items()
    ]


def _seed(seed: int, step: int, salt: int) -> int:
    return (seed * 1_000_003 + step) * 1_009 + salt


def _generator(seed: int, step: int, salt: int) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(seed, step, salt))


def _store(
    file: Path,
    model: VGG,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    step: int,
    history: list[dict[str, Any]],
    total: float,
) -> None:
    tensors = {f"model.{key}": value.contiguous() for key, value in model.state_dict().items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{index}"] = momentum.contiguous()
    state = {"config": asdict(config), "step": step, "history": history, "total": total}
    write_safetensors(tensors, {"train": json.dumps(state)}, file)


def _restore(
    file: Path, model: VGG, optimizer: torch.optim.Optimizer, config: TrainConfig
) -> tuple[int, list[dict[str, Any]], float]:
    with safe_open(file, framework="pt") as opened:
        state = json.loads((opened.metadata() or {}).get("train", "{}"))
        if state.get("config") != json.loads(json.dumps(asdict(config))):
            raise TrainError(f"{file.name} is the checkpoint of a run with other settings")
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    prefix = "model."
    model.load_state_dict(
        {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
    )
    for index, parameter in enumerate(_parameters(optimizer)):
        if f"momentum.{index}" in tensors:
            momentum = tensors[f"momentum.{index}"].clone(memory_format=torch.preserve_format)
            if parameter.ndim == 4:
                momentum = momentum.contiguous(memory_format=torch.channels_last)
            optimizer.state[parameter]["momentum_buffer"] = momentum
    return state["step"], state["history"], state["total"]


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _still(model: VGG) -> None:
    """A frozen backbone with batch norm keeps learning the norms, nothing else changes."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
