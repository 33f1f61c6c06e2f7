"""A seed study: accuracy with and without attention, under one recipe and several seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from scipy import stats
from torch import Tensor, nn

from vggviz.data import Dataset, open_parts, read_crops
from vggviz.files import atomic_write
from vggviz.images import Preprocess
from vggviz.metrics.cost import multiply_adds, parameters
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.training import Examples, Progress, TrainConfig, measure, train
from vggviz.training.config import current_names
from vggviz.weights import as_written

__all__ = ["BASELINE", "SeedStudy", "TinyVGG", "run_seed_study"]

BASELINE = "tiny_vgg"


class TinyVGG(Network):
    """CNN Explainer's network: normalised pictures (B, 3, 64, 64) → logits (B, K).

    Two blocks of two unpadded 3×3 convolutions with 10 channels, each with a ReLU, and 2×2 max
    pooling; then one linear layer (Wang et al. 2020, 'CNN Explainer', figure 1).
    """

    def _build(self) -> dict[str, int]:
        layers: list[nn.Module] = []
        for channels in (3, 10):
            layers += [nn.Conv2d(channels, 10, 3), nn.ReLU(), nn.Conv2d(10, 10, 3), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((13, 13))  # its input at 64 pixels: nothing is averaged
        self.classifier = nn.Sequential(nn.Linear(10 * 13 * 13, self.config.num_classes))
        return {}

    def _chain(self) -> Iterator[tuple[str, nn.Module, str | None]]:
        for index, layer in enumerate(self.features):
            yield f"features.{index}", layer, None

    def classify(self, x: Tensor) -> Tensor:
        """Logits (B, K) of the second block's features (B, 10, 13, 13)."""
        logits: Tensor = self.classifier(self.avgpool(x).flatten(1))
        return logits


@dataclass(frozen=True, slots=True)
class SeedStudy:
    """Accuracies of networks by seed, in the order of `seeds`, with weights in half precision as in
    a weights file; `top5` is empty for five classes or fewer. `multiply_adds` are those of one
    picture of the last size that the recipe trains with."""

    recipe: Mapping[str, Any]
    classes: tuple[str, ...]
    train_pictures: int
    validation_pictures: int
    seeds: tuple[int, ...]
    top1: Mapping[str, tuple[float, ...]]
    top5: Mapping[str, tuple[float, ...]]
    parameters: Mapping[str, int]
    multiply_adds: Mapping[str, int]

    def difference(self, name: str) -> tuple[float, float, float]:
        """Top-1 minus that of 'none', paired by seed: the mean, and the ends of its 95% interval by
        Student's t over the seeds; (mean, −∞, ∞) for one seed."""
        pairs = zip(self.top1[name], self.top1["none"], strict=True)
        differences = torch.tensor([a - b for a, b in pairs], dtype=torch.float64)
        mean, count = float(differences.mean()), len(differences)
        if count < 2:
            return mean, -float("inf"), float("inf")
        half = float(stats.t.ppf(0.975, count - 1)) * float(differences.std()) / count**0.5
        return mean, mean - half, mean + half

    def table(self) -> str:
        """The study as a Markdown table with a row for each network."""
        mean_of = f"top-1, mean of {len(self.seeds)} seeds"
        rows = [
            f"| | parameters | multiply-adds | {mean_of} | each seed | against `none` |",
            "|---|---|---|---|---|---|",
        ]
        for name, values in self.top1.items():
            each = ", ".join(f"{100 * value:.1f}" for value in values)
            mean, low, high = (100 * value for value in self.difference(name))
            against = "" if name == "none" else f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
            average = 100 * sum(values) / len(values)
            cost = f"{self.parameters[name]:,} | {self.multiply_adds[name] / 1e6:,.1f} M"
            rows.append(f"| `{name}` | {cost} | {average:.1f}% | {each} | {against} |")
        return "\n".join(rows)


def run_seed_study(
    data: Path,
    out: Path,
    config: TrainConfig,
    networks: Sequence[str],
    seeds: Sequence[int],
    *,
    width: float = 0.25,
    blend: str = "residual",
    stages: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    on_data: Callable[[Dataset, Dataset], None] = lambda *_: None,
    report: Callable[[str, int, Progress], None] = lambda *_: None,
) -> SeedStudy:
    """Train each of `networks` from scratch with each of `seeds`, and return their accuracies.

    `networks` are keys of `ATTENTION` (at `stages`, () for all) and 'tiny_vgg'; 'none' is added.
    Runs of one seed share all randomness but the initial weights. Each run writes a JSON file to
    the folder `out`: a finished run of the same settings and pictures is not repeated, and a killed
    one continues from its checkpoint. `on_data` is called with the training and validation set
    before training, `report` with network, seed and progress after each step.

    Raises DataError, ImageError, TrainError, ValueError.
    """
    names = tuple(dict.fromkeys(("none", *networks)))
    if not config.image_sizes:
        raise ValueError("networks that are trained from scratch need image_sizes: (32, 48, 64)")
    side = config.image_sizes[-1]
    if BASELINE in names and side != 64:
        raise ValueError(
            f"{BASELINE} takes pictures of 64 pixels: end --image-sizes with 64, not {side}"
        )
    training, validation = open_parts(data, classes, generator=torch.Generator().manual_seed(0))
    on_data(training, validation)
    preprocess = Preprocess(size=side, resize=side)
    train_examples, validation_examples = (
        Examples(read_crops(part, preprocess)[0], part.targets) for part in (training, validation)
    )
    plain = NetworkConfig(
        stages=tuple(stages),
        blend=cast(Any, blend),
        head="gap",
        architecture="vgg19_bn",
        width=width,
        num_classes=len(training.labels),
    )
    for name in names:  # an unknown name raises before training
        replace(plain, attention="none" if name == BASELINE else name)
    pictures = [train_examples.fingerprint(), validation_examples.fingerprint()]
    top1: dict[str, list[float]] = {name: [] for name in names}
    top5: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    costs: dict[str, int] = {}
    for seed in seeds:
        for name in names:
            model, recipe = _network(name, plain, config, seed)
            if name not in costs:  # the same for every seed
                last = recipe.image_sizes[-1]
                sizes[name] = parameters(model)
                costs[name] = multiply_adds(model, torch.zeros(1, 3, last, last))
            stem = f"{name.replace(':', '-')}-{seed}"  # no colons in Windows' file names
            file = out / f"{stem}.json"
            settings: dict[str, Any] = {"recipe": asdict(recipe), "config": model.config.to_json()}
            settings |= {"classes": training.labels, "pictures": pictures}
            result = _finished(file, settings)
            if result is None:
                checkpoint = out / f"{stem}.checkpoint.safetensors"
                history = train(
                    model,
                    train_examples,
                    validation_examples,
                    preprocess,
                    recipe,
                    checkpoint,
                    resume=True,
                    report=partial(report, name, seed),
                )
                model.load_state_dict(as_written(model.state_dict(), None, file))
                accuracy = measure(model.cpu(), validation_examples, preprocess)
                result = {**settings, "history": history, "validation": accuracy}
                with atomic_write(file) as part:
                    part.write_text(json.dumps(result, indent=2))
                checkpoint.unlink(missing_ok=True)
            top1[name].append(result["validation"]["top1"])
            if "top5" in result["validation"]:
                top5.setdefault(name, []).append(result["validation"]["top5"])
    return SeedStudy(
        recipe={**asdict(config), "width": width, "blend": blend, "stages": list(stages)},
        classes=training.labels,
        train_pictures=len(training),
        validation_pictures=len(validation),
        seeds=tuple(seeds),
        top1={name: tuple(values) for name, values in top1.items()},
        top5={name: tuple(values) for name, values in top5.items()},
        parameters=sizes,
        multiply_adds=costs,
    )


def _network(
    name: str, plain: NetworkConfig, config: TrainConfig, seed: int
) -> tuple[Network, TrainConfig]:
    """A network with random weights, and its recipe: `config` with this seed, and for 'tiny_vgg'
    with pictures of 64 pixels."""
    generator = torch.Generator().manual_seed(seed)
    recipe = replace(config, seed=seed)
    if name == BASELINE:
        return TinyVGG(plain, generator), replace(recipe, image_sizes=(64,))
    return build_network(replace(plain, attention=name), generator), recipe


def _finished(file: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result in `file` if it is that of a finished run with these settings, else None."""
    if not file.is_file():
        return None
    result: dict[str, Any] = json.loads(file.read_text())
    result["recipe"] = {"unlabelled": None, **current_names(result.get("recipe", {}))}
    with suppress(ValueError):
        result["config"] = NetworkConfig.from_json(result.get("config", {})).to_json()
    same = all(result.get(key) == value for key, value in json.loads(json.dumps(settings)).items())
    return result if same and "validation" in result else None
