"""Train `everyday` in two phases; each can be stopped at any moment and goes on where it was.

    python -m everyday.train FOLDER pretrain
    python -m everyday.train FOLDER finetune

FOLDER holds what `everyday.unify` and `everyday.soft_labels` left, and start.safetensors, a network
of tiny50's 50 classes. `pretrain` starts from it and learns all classes, small views first;
`finetune` keeps the everyday classes only. The loss is (1 − d)·cross-entropy + d·T²·KL to the soft
labels. Accuracy is that of an exponential moving average of the weights, which is also what is
kept. Each epoch appends a line to FOLDER/<phase>.jsonl; FOLDER/<phase>.pt is the checkpoint.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from everyday.augment import augment, plain
from everyday.classes import indices_in_network
from everyday.pictures import Pictures, read_pictures
from vggviz.files import atomic_write
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.training.config import TrainConfig
from vggviz.training.objective import objective
from vggviz.weights import load_network

BATCH, MOMENTUM, DECAY, EMA, WARM_UP, SECONDS = 128, 0.9, 5e-4, 0.999, 300, 90
OWN = 50  # the first classes are tiny50's


@dataclass(frozen=True, slots=True)
class Phase:
    """`sizes` are (pixels, epochs) in order, `lr` the learning rate's peak, `least` and `most` how
    many views of a class an epoch has where the class's pictures allow it."""

    sizes: tuple[tuple[int, int], ...]
    lr: float
    distill_weight: float
    min_scale: float
    least: int
    most: int
    seed: int

    def size_at(self, epoch: int) -> int:
        """The size of the views in an epoch."""
        return [size for size, epochs in self.sizes for _ in range(epochs)][epoch]

    @property
    def epochs(self) -> int:
        return sum(epochs for _, epochs in self.sizes)


PHASES = {
    "pretrain": Phase(((40, 6), (48, 5), (64, 2)), 0.05, 0.7, 0.25, 200, 1000, 0),
    "finetune": Phase(((72, 4),), 0.015, 0.6, 0.35, 300, 600, 1),
}


def epoch_order(
    targets: Tensor, least: int, most: int, repeats: int, generator: torch.Generator
) -> Tensor:
    """The shuffled indices of an epoch's examples: of each class all pictures, but at most `most`
    of them, and those of a small class again, up to `repeats` times, until there are `least`."""
    chosen = []
    for number in targets.unique().tolist():
        members = torch.nonzero(targets == number)[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        count = min(max(len(members), min(least, repeats * len(members))), most)
        chosen.append(members.repeat(repeats)[:count] if count > len(members) else members[:count])
    indices = torch.cat(chosen)
    return indices[torch.randperm(len(indices), generator=generator)]


def lr_at(step: int, steps: int, peak: float) -> float:
    """A linear start, then half a cosine to 0."""
    if step < WARM_UP:
        return peak * (step + 1) / WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, steps - WARM_UP)))


def update_average(average: torch.nn.Module, model: torch.nn.Module, step: int) -> None:
    """average ← m·average + (1 − m)·model, m = min(EMA, (step + 1)/(step + 10))."""
    keep = min(EMA, (step + 1) / (step + 10))
    theirs = model.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(theirs[name], 1 - keep)
        else:
            value.copy_(theirs[name])


def with_head(source: Network, rows: Tensor, classes: int) -> Network:
    """A network of `classes` classes with the layers of `source` and, as the first rows of its last
    layer, the rows `rows` of that one's."""
    config = NetworkConfig(
        architecture="vgg19_bn", head="gap", width=source.config.width, num_classes=classes
    )
    model = build_network(config, torch.Generator().manual_seed(0))
    state = {name: value.float() for name, value in source.state_dict().items()}
    for name in ("classifier.0.weight", "classifier.0.bias"):
        fresh = model.state_dict()[name].clone()
        fresh[: len(rows)] = state[name][rows]
        state[name] = fresh
    model.load_state_dict(state)
    return model


def with_true_label_first(soft: Tensor, targets: Tensor, which: Tensor) -> Tensor:
    """Soft labels (n, K) in which the true class of the pictures `which` (n,) has the largest
    logit, exchanged with that of the class that had it.

    For photographs, of which the teacher has few a class and is often wrong. Wen, Lai, Qian 2019,
    'Preparing Lessons: Improve Knowledge Distillation with Better Supervision', section 3.2.
    """
    swapped, rows = soft.clone(), torch.nonzero(which)[:, 0]
    likeliest, true = soft[rows].argmax(1), targets[rows]
    swapped[rows, likeliest], swapped[rows, true] = soft[rows, true], soft[rows, likeliest]
    return swapped


@torch.no_grad()
def evaluate(model: torch.nn.Module, pictures: Pictures, size: int) -> dict[str, float]:
    """Accuracies at `size` pixels; those of 'val' and 'report' are for reporting only.

    dev: top-1 among all classes of the network; dev_everyday: among the everyday ones; val_top1 and
    val_top5: tiny50's validation pictures among its own 50, val_everyday: among all everyday ones;
    report: photographs of Caltech-101 among the everyday classes; person: the share of faces called
    person.
    """
    was, found = model.training, {}
    model.eval()
    for part in ("dev", "val", "report"):
        indices = pictures.of_part(part)
        indices = (
            indices[pictures.targets[indices] < pictures.everyday] if part == "report" else indices
        )
        logits = []
        for batch in indices.split(100):
            with torch.autocast("cpu", torch.bfloat16):
                logits.append(model(plain(pictures.pixels(batch), size)).float())
        scores, targets = torch.cat(logits), pictures.targets[indices]
        if part == "dev":
            inside = targets < pictures.everyday
            if scores.shape[1] > pictures.everyday:
                found["dev"] = top(scores, targets)
            found["dev_everyday"] = top(scores[inside, : pictures.everyday], targets[inside])
        elif part == "val":
            found["val_top1"] = top(scores[:, :OWN], targets)
            found["val_top5"] = top(scores[:, :OWN], targets, 5)
            found["val_everyday"] = top(scores[:, : pictures.everyday], targets)
        else:
            scores = scores[:, : pictures.everyday]
            found["report"] = top(scores, targets)
            faces = targets == pictures.labels.index("person")
            found["person"] = top(scores[faces], targets[faces])
    model.train(was)
    return found


def top(scores: Tensor, targets: Tensor, k: int = 1) -> float:
    """Top-k accuracy."""
    return float((scores.topk(k).indices == targets[:, None]).any(1).float().mean())


def initial_network(folder: Path) -> Network:
    """The network of tiny50's 50 classes that pretraining starts from."""
    return load_network(folder / "start.safetensors")[0]


def starting_network(folder: Path, phase: str, classes: Tensor, count: int) -> Network:
    """The initial network with rows for all `count` classes, or the pretrained one with these rows
    only."""
    initial = initial_network(folder)
    if phase == "pretrain":
        return with_head(initial, torch.arange(OWN), count)
    pretrained = with_head(initial, torch.arange(0), count)
    pretrained.load_state_dict(torch.load(folder / "pretrain.pt")["average"])
    return with_head(pretrained, classes, len(classes))


def groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    """SGD's parameter groups: no weight decay on biases and norms."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def main(folder: Path, name: str) -> None:
    torch.set_num_threads(2)
    phase, pictures = PHASES[name], read_pictures(folder)
    train, order_of_classes = pictures.of_part("train"), torch.arange(len(pictures.labels))
    if name == "finetune":
        pictures, order_of_classes = pictures.restrict(indices_in_network())
        train = train[pictures.targets[train] < pictures.everyday]
    targets = pictures.targets[train]
    everyday = order_of_classes[: pictures.everyday]
    model = starting_network(folder, name, everyday, len(pictures.labels)).train()
    classes = model.config.num_classes
    soft = torch.from_numpy(np.load(folder / "soft.npy"))[train][:, order_of_classes[:classes]]
    photographs = torch.tensor([pictures.names[i].startswith("caltech") for i in train.tolist()])
    soft = with_true_label_first(soft, targets, photographs)
    model.requires_grad_(True).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.SGD(groups(model), phase.lr, MOMENTUM, nesterov=True)
    config = TrainConfig(distill_weight=phase.distill_weight, temperature=2.0)
    checkpoint, step = folder / f"{name}.pt", 0
    if checkpoint.is_file():
        state = torch.load(checkpoint)
        step = state["step"]
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])

    def save() -> None:
        state = {"step": step, "model": model.state_dict(), "average": average.state_dict()}
        with atomic_write(checkpoint) as part, part.open("wb") as opened:
            torch.save({**state, "optimizer": optimizer.state_dict()}, opened)

    def order_of(epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * phase.seed + epoch)
        return epoch_order(targets, phase.least, phase.most, 3, generator)

    per_epoch = len(order_of(0)) // BATCH
    steps, saved, started = per_epoch * phase.epochs, time.time(), time.time()
    losses: list[float] = []
    order, size = order_of(0), 0
    print(f"{name}: step {step} of {steps}, {per_epoch} an epoch, {classes} classes", flush=True)
    while step < steps:
        epoch, within = divmod(step, per_epoch)
        if within == 0 or not losses:
            order, size = order_of(epoch), phase.size_at(epoch)
        batch = order[within * BATCH : (within + 1) * BATCH]
        generator = torch.Generator().manual_seed(phase.seed * 10**9 + step)
        images = augment(pictures.pixels(train[batch]), size, phase.min_scale, generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images)
        loss = objective(logits.float(), targets[batch], soft[batch].float(), config)
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, steps, phase.lr)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"the loss is {losses[-1]} at step {step}")
        update_average(average, model, step)
        step += 1
        if step % 50 == 0:
            speed = BATCH * len(losses) / (time.time() - started)
            print(
                f"step {step}: loss {np.mean(losses[-50:]):.3f}, {speed:.0f} a second", flush=True
            )
        if step % per_epoch == 0:
            size_judged = round(1.15 * size / 8) * 8  # views show objects larger: FixRes
            entry = {"epoch": epoch, "size": size, "loss": float(np.mean(losses))}
            entry |= {"judged_at": size_judged, **evaluate(average, pictures, size_judged)}
            entry["seconds"] = round(time.time() - started)
            save()
            with (folder / f"{name}.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
            print({k: round(v, 4) for k, v in entry.items()}, flush=True)
            losses, saved, started = [], time.time(), time.time()
        elif time.time() - saved > SECONDS:
            save()
            saved = time.time()
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
