"""Attention that learned without labels: its cost, its use, where it points, and controls.

    python assets/weights/unlabelled_study.py DATA FOLDER [WEIGHTS] [HALF] [TYPES]

DATA has Tiny ImageNet's layout and boxes. Attention at block 4 of WEIGHTS (by default the bundled
network) learns from 60 training pictures of each class, without their labels: for HALF 'report',
the default, every type with three seeds, with less of the term 'keep', and with the controls
'shuffled' and 'wrong' of `vggviz.training.terms.Terms`; for 'choose', where settings are chosen,
with each term of the loss left out by itself, and the counterfactual added where a type has none.
FOLDER keeps pictures, networks and results; stopped at any moment, the same command goes on. The
validation pictures of HALF are judged by:

- top-1, and what is lost when each picture's weights become their mean;
- attention's energy in the box, and pointing at objects that the picture's middle misses, beside
  LayerCAM's at the same stage of the network without attention;
- `kept`: how often the answer stays with the features outside the mask replaced by another
  picture's, for the mask that was learned, a Gaussian in the centre and edges (Sobel), all of one
  mean;
- `smuggled`: how often a picture's mask, on the features of two others, gives its answer.

It prints tables in Markdown: means over seeds with 95% intervals (Student's t).
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from vggviz.data import open_dataset, take_half
from vggviz.evaluation.maps import evaluate_maps
from vggviz.evaluation.pictures import classes_of, load_pictures
from vggviz.explainer import Explainer
from vggviz.files import atomic_write
from vggviz.hooks.capture import capture
from vggviz.metrics.baselines import centre, sobel
from vggviz.networks import Network
from vggviz.training import TrainConfig
from vggviz.training.run import run_training
from vggviz.training.start import NetworkChoice
from vggviz.training.terms import TERMS, Terms
from vggviz.training.unlabelled import mask_of, mixed
from vggviz.weights import BUNDLED

TYPES = ("spatial", "cbam", "softmax", "self_attention", "gate")
STAGE, PER_CLASS, SEEDS = "block4", 60, (0, 1, 2)
RECIPE = TrainConfig(epochs=8, image_sizes=(), batch=64, lr=0.01, attention_lr=1.0, views=2)
REPEATED = ("own", "without keep", "a quarter of keep")
"""The losses that are run with all seeds for the half 'report'."""
COUNTERFACTUAL = 0.03
"""Its weight where it is added to a type that has none."""
MEASURES = ("top-1", "lost with their mean", "energy", "off-centre", "kept", "smuggled")


def write_pictures(data: Path, folder: Path) -> Path:
    """The first `PER_CLASS` training pictures of every class in one flat folder."""
    pictures = folder / "pictures"
    if not pictures.is_dir():
        dataset = open_dataset(data, "train")
        part = folder / "pictures.part"
        part.mkdir(parents=True, exist_ok=True)
        for target in range(len(dataset.labels)):
            for index in torch.nonzero(dataset.targets == target)[:PER_CLASS, 0].tolist():
                file = dataset.files[index]
                (part / file.rpartition("/")[2]).write_bytes(dataset.read(file))
        part.rename(pictures)
    return pictures


def variants(attention: str, half: str) -> dict[str, Terms]:
    """The losses to compare for an attention type, by name; 'own' is the one that it has."""
    own = TERMS.get(attention, Terms())
    found = {"own": own, "without keep": replace(own, keep=0.0)}
    if attention in ("softmax", "self_attention"):
        found["a quarter of keep"] = replace(own, keep=0.25)
    if half == "report":
        return found | {name: replace(own, answers=name) for name in ("shuffled", "wrong")}
    found |= {"without need": replace(own, need=0.0), "without price": replace(own, price=0.0)}
    if own.counterfactual:
        return found | {"without counterfactual": replace(own, counterfactual=0.0)}
    return found | {"with counterfactual": replace(own, counterfactual=COUNTERFACTUAL)}


def teach(pictures: Path, out: Path, weights: str, attention: str, seed: int, terms: Terms) -> None:
    """Write the adapter `out`, or go on where a run of it was stopped."""
    choice = NetworkChoice(weights, attention, (STAGE,))
    checkpoint = out.with_name(f"{out.stem}.checkpoint.safetensors")
    recipe = replace(RECIPE, seed=seed, unlabelled=terms)
    cache = out.parent / "views"
    run_training(pictures, out, recipe, choice, resume=checkpoint.is_file(), cache=cache)


def judge(weights: str | Path, data: Path, half: str, attention: str) -> dict[str, float]:
    """The measures of a network, in percent; 'energy' and 'off-centre' of its attention, or of
    LayerCAM where `attention` is 'none'."""
    explainer = Explainer.load(weights)
    model, card = explainer.model, explainer.card
    dataset = take_half(open_dataset(data, "val"), half)
    report = evaluate_maps(
        {"network": explainer},
        dataset,
        metrics=("localisation", "causality"),
        stages=(STAGE,),
        methods=("layercam",),
        pictures=len(dataset),
        resamples=10,
    )
    frame = report.frame()
    of_map = frame[(frame["stage"] == STAGE)]
    learned = of_map[of_map["map"] != "layercam"]["map"].unique()
    name = "layercam" if attention == "none" else learned[0]

    def value(measure: str, rows: Any) -> float:
        return 100 * float(rows[rows["measure"] == measure]["value"].iloc[0])

    pictures = load_pictures(dataset, card.preprocess, None)
    targets = classes_of(dataset, card)[pictures.targets]
    with torch.no_grad():
        logits = torch.cat([model(part) for part in pictures.images.split(100)])
    found = {
        "top-1": 100 * float((logits.argmax(1) == targets).float().mean()),
        "energy": value("energy", of_map[of_map["map"] == name]),
        "off-centre": value("pointing, off-centre", of_map[of_map["map"] == name]),
    }
    if attention != "none":
        uniform = frame[(frame["metric"] == "causality") & (frame["against"] == "uniform")]
        found["lost with their mean"] = value("accuracy lost", uniform)
        found |= masks(model, pictures.images)
    return found


@torch.no_grad()
def masks(model: Network, images: Tensor) -> dict[str, float]:
    """How well masks keep the answer, in percent; see the top of this file."""
    x = torch.cat([model.features_before(part, STAGE) for part in images.split(100)])
    attention = model.attention[STAGE]
    with capture(attention) as trace:
        attention(x)
    mask = mask_of(trace.taps.values())
    flat = mask.mean(1, keepdim=True) if mask.shape[1] > 1 else mask
    grid = x.shape[-2:]
    edges = F.adaptive_avg_pool2d(sobel(images)[:, None], grid)
    middle = centre((grid[0], grid[1])).expand_as(flat)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    other, third = order.roll(1).argsort(), order.roll(2).argsort()
    with model.bypass():
        answer = model.logits_after(x, STAGE).argmax(1)

    def agrees(inputs: Tensor) -> float:
        logits = torch.cat([model.logits_after(part, STAGE) for part in inputs.split(100)])
        return 100 * float((logits.argmax(1) == answer).float().mean())

    return {
        "kept": agrees(mixed(x, x[other], mask)),
        "kept, centre": agrees(mixed(x, x[other], with_mean(middle, flat))),
        "kept, edges": agrees(mixed(x, x[other], with_mean(edges, flat))),
        "smuggled": agrees(mixed(x[other], x[third], mask)),
        "openness": 100 * float(mask.mean()),
    }


def with_mean(maps: Tensor, target: Tensor) -> Tensor:
    """min(1, k·map), with k for each picture so that its mean is that of `target`."""
    wanted = target.mean((1, 2, 3), keepdim=True)
    low, high = torch.zeros_like(wanted), torch.full_like(wanted, 1e4)
    for _ in range(40):
        middle = (low + high) / 2
        small = (middle * maps).clamp(max=1).mean((1, 2, 3), keepdim=True) < wanted
        low, high = torch.where(small, middle, low), torch.where(small, high, middle)
    return (high * maps).clamp(max=1)


def once(file: Path, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The result in `file`, computed first where there is none."""
    if not file.is_file():
        result = compute()
        with atomic_write(file) as part:
            part.write_text(json.dumps(result, indent=2))
    found: dict[str, float] = json.loads(file.read_text())
    return found


def interval(values: Sequence[float]) -> str:
    """The mean of the seeds, with its 95% interval by Student's t: '39.6 [38.1, 41.1]'."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    spread = statistics.stdev(values) / len(values) ** 0.5
    half = float(stats.t.ppf(0.975, len(values) - 1)) * spread
    return f"{mean:.1f} [{mean - half:.1f}, {mean + half:.1f}]".replace("-", "−")


def main(data: Path, folder: Path, weights: str, half: str, types: Sequence[str]) -> None:
    pictures = write_pictures(data, folder)
    plain = once(folder / f"none-{half}.json", lambda: judge(weights, data, half, "none"))
    columns = (*MEASURES, "kept, centre", "kept, edges", "openness")
    print(f"Without attention: top-1 {plain['top-1']:.1f}%; LayerCAM: energy", end=" ")
    print(f"{plain['energy']:.1f}%, off-centre {plain['off-centre']:.1f}% ({half})\n")
    print("| | learned from | " + " | ".join(columns) + " |")
    print("|---|---|" + "---|" * len(columns))
    for attention in types:
        for name, terms in variants(attention, half).items():
            results = []
            for seed in SEEDS if half == "report" and name in REPEATED else SEEDS[:1]:
                out = folder / f"{attention}-{name.replace(' ', '-')}-{seed}.safetensors"
                if not out.is_file():
                    teach(pictures, out, weights, attention, seed, terms)

                def measure(file: Path = out, kind: str = attention) -> dict[str, float]:
                    return judge(file, data, half, kind)

                results.append(once(folder / f"{out.stem}-{half}.json", measure))
            cells = [interval([result[column] for result in results]) for column in columns]
            print(f"| `{attention}` | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    _, data, folder, *rest = sys.argv
    weights, half, types = (*rest, *(BUNDLED, "report", ",".join(TYPES))[len(rest) :])
    main(Path(data), Path(folder), weights, half, types.split(","))
