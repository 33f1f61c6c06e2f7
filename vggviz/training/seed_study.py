"""Does attention raise accuracy? The same recipe, several seeds, with and without it."""

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
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.training import Examples, Progress, TrainConfig, measure, train
from vggviz.training.config import current_names
from vggviz.weights import as_written

__all__ = ["FLOOR", "SeedStudy", "TinyVGG", "run_seed_study"]

FLOOR = "tiny_vgg"


class TinyVGG(Network):
    """The network that CNN Explainer teaches with: normalised pictures (B, 3, 64, 64) → (B, K).

    Two blocks of two 3×3 convolutions with 10 channels, not padded, each with a ReLU, then 2×2
    max pooling; one linear layer on all that is left (Wang et al. 2020, 'CNN Explainer', figure 1).
    """

    def _build(self) -> dict[str, int]:
        layers: list[nn.Module] = []
        for channels in (3, 10):
            layers += [nn.Conv2d(channels, 10, 3), nn.ReLU(), nn.Conv2d(10, 10, 3), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((13, 13))  # the size that arrives: nothing is averaged
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
    """Top-1 and top-5 of every network by seed, in the order of `seeds`, with weights rounded to
    half precision as in a weights file; `top5` is empty for five classes or fewer."""

    recipe: Mapping[str, Any]
    classes: tuple[str, ...]
    train_pictures: int
    validation_pictures: int
    seeds: tuple[int, ...]
    top1: Mapping[str, tuple[float, ...]]
    top5: Mapping[str, tuple[float, ...]]
    parameters: Mapping[str, int]

    def difference(self, name: str) -> tuple[float, float, float]:
        """Top-1 against 'none', paired by seed: mean and the ends of Student's 95% interval.

        The interval is over seeds, so it tells how far another seed may lead; it is as wide as
        few seeds make it, and needs two. It is (mean, −∞, ∞) for one.
        """
        pairs = zip(self.top1[name], self.top1["none"], strict=True)
        found = torch.tensor([a - b for a, b in pairs], dtype=torch.float64)
        mean, count = float(found.mean()), len(found)
        if count < 2:
            return mean, -float("inf"), float("inf")
        half = float(stats.t.ppf(0.975, count - 1)) * float(found.std()) / count**0.5
        return mean, mean - half, mean + half

    def table(self) -> str:
        """Markdown: a row for each network."""
        mean_of = f"top-1, mean of {len(self.seeds)} seeds"
        rows = [
            f"| | parameters | {mean_of} | each seed | against `none` |",
            "|---|---|---|---|---|",
        ]
        for name, values in self.top1.items():
            each = ", ".join(f"{100 * value:.1f}" for value in values)
            mean, low, high = (100 * value for value in self.difference(name))
            against = "" if name == "none" else f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
            average = 100 * sum(values) / len(values)
            rows.append(
                f"| `{name}` | {self.parameters[name]:,} | {average:.1f}% | {each} | {against} |"
            )
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
    opened: Callable[[Dataset, Dataset], None] = lambda *_: None,
    report: Callable[[str, int, Progress], None] = lambda *_: None,
) -> SeedStudy:
    """Train every one of `networks` with every seed, from scratch, and compare.

    `networks` are 'none', which is always among them, keys of `ATTENTION` (at `stages`, () for all)
    and 'tiny_vgg'. What is random but for the network's own first weights is the same for all that
    share a seed. Each run leaves a JSON file in the folder `out`; what is there of the same
    settings and pictures is not trained again, and a run that was killed goes on from its
    checkpoint. `opened` is told the pictures to learn from and to judge by before it starts.

    Raises DataError, ImageError, TrainError, ValueError.
    """
    names = tuple(dict.fromkeys(("none", *networks)))
    if not config.image_sizes:
        raise ValueError("networks that are trained from scratch need image_sizes: (32, 48, 64)")
    side = config.image_sizes[-1]
    if FLOOR in names and side != 64:
        raise ValueError(
            f"{FLOOR} takes pictures of 64 pixels: end --image-sizes with 64, not {side}"
        )
    training, validation = open_parts(data, classes, generator=torch.Generator().manual_seed(0))
    opened(training, validation)
    preprocess = Preprocess(size=side, resize=side)
    learned, judged = (
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
    for name in names:
        replace(plain, attention="none" if name == FLOOR else name)  # unknown: said before hours
    pictures = [learned.fingerprint(), judged.fingerprint()]
    top1: dict[str, list[float]] = {name: [] for name in names}
    top5: dict[str, list[float]] = {}
    parameters: dict[str, int] = {}
    for seed in seeds:
        for name in names:
            model, recipe = _network(name, plain, config, seed)
            parameters[name] = sum(parameter.numel() for parameter in model.parameters())
            file = out / f"{name}-{seed}.json"
            told: dict[str, Any] = {"recipe": asdict(recipe), "config": model.config.to_json()}
            told |= {"classes": training.labels, "pictures": pictures}
            found = _done(file, told)
            if found is None:
                checkpoint = out / f"{name}-{seed}.checkpoint.safetensors"
                history = train(
                    model,
                    learned,
                    judged,
                    preprocess,
                    recipe,
                    checkpoint,
                    resume=True,
                    report=partial(report, name, seed),
                )
                model.load_state_dict(as_written(model.state_dict(), None, file))
                measured = measure(model.cpu(), judged, preprocess)
                found = {**told, "history": history, "validation": measured}
                with atomic_write(file) as part:
                    part.write_text(json.dumps(found, indent=2))
                checkpoint.unlink(missing_ok=True)
            top1[name].append(found["validation"]["top1"])
            if "top5" in found["validation"]:
                top5.setdefault(name, []).append(found["validation"]["top5"])
    return SeedStudy(
        recipe={**asdict(config), "width": width, "blend": blend, "stages": list(stages)},
        classes=training.labels,
        train_pictures=len(training),
        validation_pictures=len(validation),
        seeds=tuple(seeds),
        top1={name: tuple(values) for name, values in top1.items()},
        top5={name: tuple(values) for name, values in top5.items()},
        parameters=parameters,
    )


def _network(
    name: str, plain: NetworkConfig, config: TrainConfig, seed: int
) -> tuple[Network, TrainConfig]:
    """A fresh network, and the recipe for it: the same but for the seed, and for the floor's size,
    since its one linear layer fits 64 pixels only."""
    generator = torch.Generator().manual_seed(seed)
    recipe = replace(config, seed=seed)
    if name == FLOOR:
        return TinyVGG(plain, generator), replace(recipe, image_sizes=(64,))
    return build_network(replace(plain, attention=name), generator), recipe


def _done(file: Path, told: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an earlier run of the same settings and pictures left behind."""
    if not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    found["recipe"] = current_names(found.get("recipe", {}))
    with suppress(ValueError):
        found["config"] = NetworkConfig.from_json(found.get("config", {})).to_json()
    same = json.loads(json.dumps(told))
    known = {key: found.get(key) for key in same} == same and "validation" in found
    return found if known else None
