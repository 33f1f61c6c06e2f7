"""The training loop, and what of a network learns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_accuracy

from vggviz.hooks.capture import Trace, capture, evaluating, intervene
from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.training.checkpoint import State, load_checkpoint, save_checkpoint
from vggviz.training.config import Progress, TrainConfig, TrainError
from vggviz.training.examples import Examples, plain_views, view_batches
from vggviz.training.objective import (
    average_second_half,
    counterfactual_loss,
    infomax_penalty,
    objective,
)
from vggviz.training.views import Inputs, normalise

__all__ = ["has_bf16", "measure", "train"]


def train(
    model: Network,
    examples: Examples,
    validation: Examples,
    preprocess: Preprocess,
    config: TrainConfig,
    checkpoint: Path,
    *,
    resume: bool = False,
    every: int = 500,
    report: Callable[[Progress], None] = lambda _: None,
    log: Callable[[list[dict[str, Any]]], None] = lambda _: None,
    tensorboard: Path | None = None,
    cache: Path | None = None,
    workers: int | None = None,
) -> list[dict[str, Any]]:
    """Train `model` where it stands and return its history, one entry an epoch.

    Everything random is drawn from (seed, step), and a checkpoint (model, momentum, history) is
    written whole or not at all every `every` steps and after each epoch: a run that was killed
    and resumed ends with the same weights, to the bit, as one that was not (on a CPU with the
    same number of threads). The order of pictures is a fresh permutation each epoch; the last
    incomplete batch is dropped. Under `accelerate launch` each process takes its share of every
    batch. `log` gets the history after each epoch; `tensorboard` is a folder for its events,
    `cache` one that keeps computed views, also for other runs on the same pictures and backbone.
    `workers` processes read and augment pictures, by default as many as pay; results do not depend
    on them.

    Raises TrainError where the loss is no longer a number, where there are fewer pictures than
    one batch, or where the checkpoint to resume belongs to another run; ValueError where
    `config.train_from` is no stage.
    """
    per_epoch = len(examples.targets) // config.batch
    if per_epoch == 0:
        raise TrainError(f"{len(examples.targets)} pictures do not fill one batch: lower --batch")
    steps = per_epoch * config.epochs
    accelerator = Accelerator(
        mixed_precision="bf16" if has_bf16() else "no",
        log_with=None if tensorboard is None else "tensorboard",
        project_dir=tensorboard,
    )
    rank, world, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    readers = examples.workers(device) // world if workers is None else workers
    stage = config.lowest_trained_stage(model)
    frozen_modules = set_trainable(
        model, stage, frozen=config.freeze_backbone, whole_head=config.whole_head
    )
    model.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(
        _parameter_groups(model, config), momentum=config.momentum, nesterov=True
    )
    state, pictures = State(), examples.fingerprint()
    if resume and checkpoint.is_file():
        state = load_checkpoint(checkpoint, model, optimizer, config, pictures)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    if tensorboard is not None:
        accelerator.init_trackers(".", init_kwargs={"tensorboard": {"purge_step": state.step}})

    _set_train_mode(model, frozen_modules)
    inputs = Inputs(
        model, stage, examples, validation, preprocess, config, accelerator, cache, readers
    )
    started, seen = time.perf_counter(), 0
    for indices, batch in inputs.batches(state.step, steps):
        epoch, within = divmod(state.step, per_epoch)
        size = config.size_at(epoch)
        if seen == 0 or within == 0:  # what is computed once for an epoch is there by now
            started, seen = time.perf_counter(), 0
        for group in optimizer.param_groups:
            group["lr"] = config.lr_at(state.step, steps) * group["scale"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed_for(state.step, salt=100 + rank))  # dropout
            targets = examples.targets[indices].to(device)
            soft = None if examples.soft is None else examples.soft[indices].to(device)
            with accelerator.autocast():
                logits, loss = _forward(wrapped, batch, stage, targets, soft, config)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            optimizer.step()
        value = float(accelerator.reduce(loss.detach(), "mean"))
        if not math.isfinite(value):
            raise TrainError(
                f"the loss is {value} at step {state.step}: lower the learning rate (--lr "
                f"{config.lr}); the last good checkpoint is {checkpoint.name}"
            )
        hits = (logits.detach().argmax(1) == targets).sum()
        state.loss, state.right = state.loss + value, state.right + int(accelerator.reduce(hits))
        state.step, seen = state.step + 1, seen + config.batch
        speed = seen / (time.perf_counter() - started)
        done = within + 1
        top1 = None
        if done == per_epoch:
            with accelerator.autocast():
                found = measure(
                    wrapped,
                    validation,
                    preprocess,
                    size,
                    inputs.validation_features(size),
                    stage,
                    readers,
                )
            top1 = found["top1"]
            entry = {
                "epoch": epoch,
                "size": size,
                "loss": state.loss / per_epoch,
                "accuracy": state.right / (per_epoch * config.batch),
                **{f"validation_{key}": number for key, number in found.items()},
                "images_per_second": speed,
                "seconds": time.perf_counter() - started,
            }
            state.history.append(entry)
            accelerator.log(
                {key: number for key, number in entry.items() if key != "epoch"}, step=state.step
            )
        told = Progress(
            epoch,
            state.step,
            steps,
            size,
            state.loss / done,
            state.right / (done * config.batch),
            speed,
            top1,
        )
        if done == per_epoch:
            state.loss, state.right = 0.0, 0
        if accelerator.is_main_process and (done == per_epoch or state.step % every == 0):
            save_checkpoint(checkpoint, model, optimizer, config, pictures, state)
            log(state.history)
        report(told)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    return state.history


@torch.no_grad()
def measure(
    model: nn.Module,
    examples: Examples,
    preprocess: Preprocess,
    size: int | None = None,
    features: Tensor | None = None,
    stage: str | None = None,
    workers: int | None = None,
) -> dict[str, float]:
    """The share of pictures whose class is the likeliest ('top1'), and where there are more than
    five classes the share of those whose class is among the five likeliest ('top5').

    Pictures are seen at `size` pixels. With `features`, the features at `stage` are given instead.
    """
    device = next(model.parameters()).device
    workers = examples.workers(device) if workers is None else workers
    logits: list[Tensor] = []
    with evaluating(model):
        if features is None:
            views = plain_views(len(examples.targets), size or 0)
            for pixels in view_batches(examples, views, preprocess, TrainConfig(), workers):
                logits.append(model(normalise(pixels, preprocess, device)).float().cpu())
        else:
            for part in features.split(128):
                logits.append(model(part.to(device), stage).float().cpu())
    scores = torch.cat(logits)
    classes = scores.shape[1]
    return {
        f"top{k}": float(
            multiclass_accuracy(scores, examples.targets, classes, average="micro", top_k=k)
        )
        for k in (1, 5)
        if k == 1 or k < classes
    }


def set_trainable(
    model: Network, stage: str | None, *, frozen: bool, whole_head: bool = False
) -> list[nn.Module]:
    """Say which parameters learn, and return the modules that stay as they are in every way.

    Nothing below `stage` learns; where the backbone is `frozen`, no convolution of it does, and of
    the head only the last layer, or with `whole_head` all.
    """
    model.requires_grad_(True)
    if frozen:
        last = next(iter(model.parameter_groups().values()))[0]  # the last layer of the head
        frozen_modules = nn.Conv2d if whole_head else nn.Conv2d | nn.Linear
        for path, module in model.named_modules():
            if (
                isinstance(module, frozen_modules)
                and path != last
                and not path.startswith("attention.")
            ):
                module.requires_grad_(False)
    below = [] if stage is None else model.modules_before(stage)
    for module in below:
        module.requires_grad_(False)
    return below + [m for m in model.modules() if frozen and isinstance(m, nn.Dropout)]


def has_bf16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _set_train_mode(model: Network, frozen_modules: list[nn.Module]) -> None:
    """Training mode for what learns: norms that stay use the statistics that they have."""
    model.train()
    for module in frozen_modules:
        module.eval()


def _forward(
    model: nn.Module,
    batch: Tensor,
    stage: str | None,
    targets: Tensor,
    soft: Tensor | None,
    config: TrainConfig,
) -> tuple[Tensor, Tensor]:
    """The logits (B, K) of a batch, and its loss with the prices put on attention."""
    twice = bool(config.counterfactual)
    with (
        capture(model) if config.contrast else nullcontext(Trace()) as trace,
        intervene(model, average_second_half) if twice else nullcontext(),
    ):
        both: Tensor = model(torch.cat((batch, batch)) if twice else batch, stage).float()
    logits, without = both[: len(batch)], both[len(batch) :]
    loss = objective(logits, targets, soft, config)
    if trace.taps:
        loss = loss + config.contrast * infomax_penalty(trace.taps.values())
    if twice:
        loss = loss + config.counterfactual * counterfactual_loss(logits, without, targets)
    return logits, loss


def _parameter_groups(model: Network, config: TrainConfig) -> list[dict[str, Any]]:
    """No weight decay on biases, norms and γ; a rate of its own for attention."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = config.attention_lr if name.startswith("attention.") else 1.0
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    return [
        {"params": parameters, "scale": scale, "weight_decay": decay, "lr": config.lr}
        for (scale, decay), parameters in groups.items()
    ]
