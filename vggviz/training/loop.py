"""The training loop, the measurement of accuracy, and the choice of trained parameters."""

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
from vggviz.networks import CutNetwork, Network
from vggviz.training.checkpoint import Checkpoint, State
from vggviz.training.config import Progress, TrainConfig, TrainError
from vggviz.training.examples import Examples, plain_views, view_batches
from vggviz.training.inputs import Inputs, normalise
from vggviz.training.objective import (
    average_second_half,
    counterfactual_loss,
    infomax_penalty,
    objective,
)
from vggviz.training.unlabelled import unlabelled_loss

__all__ = ["has_bf16", "logits_of", "measure", "train"]


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
    """Train `model` in place and return the history, one entry for each epoch.

    The examples are shuffled in each epoch and the last incomplete batch is dropped. All randomness
    derives from (seed, step). A checkpoint is written atomically every `every` steps and after each
    epoch; a run that was killed and resumed ends with bit-identical weights (on a CPU with the same
    number of threads). Under `accelerate launch` every process takes its share of each batch.

    `report` is called after each step, `log` with the history after each epoch. `tensorboard` is a
    folder for event files, `cache` one for computed features, shared with other runs on the same
    pictures and backbone. `workers` processes read and augment pictures, by default
    `Examples.workers`; results do not depend on their number.

    With `config.unlabelled` the targets are not used; accuracy is the share of answers that are
    those of the network without attention.

    Raises TrainError where the loss is not finite, where there are fewer examples than one batch,
    where the checkpoint to resume is another run's, or where training without labels has several
    processes; ValueError where `config.train_from` is no stage.
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
    if config.unlabelled is not None and world > 1:
        raise TrainError("training without labels runs in one process, without accelerate launch")
    stage = config.lowest_trained_stage(model)
    frozen_modules = (
        set_trainable(model, stage, frozen=config.freeze_backbone, whole_head=config.whole_head)
        if config.unlabelled is None
        else set_attention_trainable(model)
    )
    model.to(device)
    if not isinstance(model, CutNetwork):  # others' code may rely on the usual layout
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    model.train()
    for module in frozen_modules:  # or their norms would update their statistics
        module.eval()
    optimizer = _optimizer(model, config)
    saved = Checkpoint(checkpoint, model, optimizer, config, examples.fingerprint())
    state = saved.load() if resume and checkpoint.is_file() else State()
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    if tensorboard is not None:
        accelerator.init_trackers(".", init_kwargs={"tensorboard": {"purge_step": state.step}})

    inputs = Inputs(
        model, stage, examples, validation, preprocess, config, accelerator, cache, readers
    )
    started, count = time.perf_counter(), 0
    for indices, batch in inputs.batches(state.step, steps):
        epoch, within = divmod(state.step, per_epoch)
        size = config.size_at(epoch)
        if count == 0 or within == 0:  # leaves out the time for features that are computed once
            started, count = time.perf_counter(), 0
        for group in optimizer.param_groups:
            group["lr"] = config.lr_at(state.step, steps) * group["scale"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed_for(state.step, salt=100 + rank))  # dropout
            targets = examples.targets[indices].to(device)
            soft = None if examples.soft is None else examples.soft[indices].to(device)
            with accelerator.autocast():
                if config.unlabelled is None:
                    logits, loss = _forward(wrapped, batch, stage, targets, soft, config)
                else:
                    logits, targets, loss = _forward_unlabelled(
                        model, batch, state.step, steps, config
                    )
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
        state.loss += value
        state.correct += int(accelerator.reduce(hits))
        state.step, count = state.step + 1, count + config.batch
        speed = count / (time.perf_counter() - started)
        done = within + 1
        top1 = None
        if done == per_epoch:
            with accelerator.autocast():
                accuracies = measure(
                    wrapped,
                    validation,
                    preprocess,
                    size,
                    inputs.validation_features(size),
                    stage,
                    readers,
                )
            top1 = accuracies["top1"]
            entry = {
                "epoch": epoch,
                "size": size,
                "loss": state.loss / per_epoch,
                "accuracy": state.correct / (per_epoch * config.batch),
                **{f"validation_{key}": number for key, number in accuracies.items()},
                "images_per_second": speed,
                "seconds": time.perf_counter() - started,
            }
            state.history.append(entry)
            accelerator.log(
                {key: number for key, number in entry.items() if key != "epoch"}, step=state.step
            )
        progress = Progress(
            epoch,
            state.step,
            steps,
            size,
            state.loss / done,
            state.correct / (done * config.batch),
            speed,
            top1,
        )
        if done == per_epoch:
            state.loss, state.correct = 0.0, 0
        if accelerator.is_main_process and (done == per_epoch or state.step % every == 0):
            saved.save(state)
            log(state.history)
        report(progress)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    return state.history


def measure(
    model: nn.Module,
    examples: Examples,
    preprocess: Preprocess,
    size: int | None = None,
    features: Tensor | None = None,
    stage: str | None = None,
    workers: int | None = None,
) -> dict[str, float]:
    """Top-1 accuracy ('top1') and, of more than five classes, top-5 accuracy ('top5') in [0, 1].

    For the other parameters see `logits_of`.
    """
    scores = logits_of(model, examples, preprocess, size, features, stage, workers)
    classes = scores.shape[1]
    return {
        f"top{k}": float(
            multiclass_accuracy(scores, examples.targets, classes, average="micro", top_k=k)
        )
        for k in (1, 5)
        if k == 1 or k < classes
    }


@torch.no_grad()
def logits_of(
    model: nn.Module,
    examples: Examples,
    preprocess: Preprocess,
    size: int | None = None,
    features: Tensor | None = None,
    stage: str | None = None,
    workers: int | None = None,
) -> Tensor:
    """The logits (n, K) of n pictures, on the CPU.

    Pictures are resized to `size` pixels, by default not at all. With `features` (n, C, h, w), the
    inputs of the attention of `stage`, the network runs from there instead.
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
                part = part.float() if part.dtype == torch.float16 else part
                logits.append(model(part.to(device), stage).float().cpu())
    return torch.cat(logits)


def set_trainable(
    model: Network, stage: str | None, *, frozen: bool, whole_head: bool = False
) -> list[nn.Module]:
    """Set `requires_grad` of all parameters, and return the modules that stay in evaluation mode.

    Modules before `stage` are not trained. With `frozen`, convolutions of the backbone are not
    trained either, nor linear layers of the head except the last; with `whole_head` all of the head
    is trained.
    """
    model.requires_grad_(True)
    if frozen:
        last = next(iter(model.parameter_groups().values()))[0]  # the last layer of the head
        kinds = nn.Conv2d if whole_head else nn.Conv2d | nn.Linear
        for path, module in model.named_modules():
            if isinstance(module, kinds) and path != last and not path.startswith("attention."):
                module.requires_grad_(False)
    before = [] if stage is None else model.modules_before(stage)
    for module in before:
        module.requires_grad_(False)
    return before + [m for m in model.modules() if frozen and isinstance(m, nn.Dropout)]


def set_attention_trainable(model: Network) -> list[nn.Module]:
    """Set `requires_grad` of the attention's parameters only, and return the modules that stay in
    evaluation mode: all. So norms inside the attention scale and shift by the statistics that they
    start with (mean 0, variance 1). Raises TrainError for attention without parameters."""
    model.requires_grad_(False)
    model.attention.requires_grad_(True)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainError(f"{model.config.attention} has no parameters to train")
    return list(model.modules())


def has_bf16() -> bool:
    """Whether the GPU, or else the CPU, has bfloat16 matrix multiplication in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _forward(
    model: nn.Module,
    batch: Tensor,
    stage: str | None,
    targets: Tensor,
    soft: Tensor | None,
    config: TrainConfig,
) -> tuple[Tensor, Tensor]:
    """The logits (B, K) of a batch, and the loss with its terms on attention, a scalar."""
    counterfactual = bool(config.counterfactual)
    with (
        capture(model) if config.contrast else nullcontext(Trace()) as trace,
        intervene(model, average_second_half) if counterfactual else nullcontext(),
    ):
        both: Tensor = model(torch.cat((batch, batch)) if counterfactual else batch, stage).float()
    logits, without = both[: len(batch)], both[len(batch) :]
    loss = objective(logits, targets, soft, config)
    if trace.taps:
        loss = loss + config.contrast * infomax_penalty(trace.taps.values())
    if counterfactual:
        loss = loss + config.counterfactual * counterfactual_loss(logits, without, targets)
    return logits, loss


def _forward_unlabelled(
    model: Network, features: Tensor, step: int, steps: int, config: TrainConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """The logits (B, K), the classes (B,) that the network answers without attention, and the loss
    for one of the stages with attention, each in turn, at `step` of `steps`."""
    stages = list(model.attention)
    assert config.unlabelled is not None
    generator = torch.Generator().manual_seed(config.seed_for(step, salt=200))
    other = torch.randperm(len(features), generator=generator).to(features.device)
    terms = config.unlabelled.at(step / steps)
    logits, answer, loss = unlabelled_loss(
        model, features, stages[0], stages[step % len(stages)], terms, other
    )
    return logits, answer.argmax(1), loss


def _optimizer(model: Network, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; Adam for attention alone, whose gradients are small."""
    groups = _parameter_groups(model, config)
    if config.unlabelled is not None:
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=config.momentum, nesterov=True)


def _parameter_groups(model: Network, config: TrainConfig) -> list[dict[str, Any]]:
    """The optimizer's groups: no weight decay on biases, norms and γ; `attention_lr` scales the
    learning rate of attention."""
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
