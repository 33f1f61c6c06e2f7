"""The pictures that `everyday.unify` left in a folder, mapped from disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """n pictures of 64×64 pixels: `targets` (n,) are indices into `labels`, the first `everyday` of
    which the network keeps; `parts` are 'train', 'dev', 'val' and 'report'."""

    array: Any  # (n, 64, 64, 3), uint8
    names: list[str]
    targets: Tensor
    parts: list[str]
    labels: list[str]
    everyday: int

    def pixels(self, indices: Tensor) -> Tensor:
        """uint8 (len(indices), 3, 64, 64), channels last."""
        return torch.from_numpy(self.array[indices.numpy()]).permute(0, 3, 1, 2)

    def restrict(self, classes: list[int]) -> tuple[Pictures, Tensor]:
        """These pictures with `classes` as the everyday ones, in this order and before all others,
        and the old index of each new one, (K,)."""
        rest = [index for index in range(len(self.labels)) if index not in classes]
        order = torch.tensor([*classes, *rest])
        labels = [self.labels[index] for index in order.tolist()]
        targets = order.argsort()[self.targets]
        return replace(self, targets=targets, labels=labels, everyday=len(classes)), order

    def of_part(self, part: str) -> Tensor:
        """The indices of a part's pictures."""
        return torch.tensor([i for i, name in enumerate(self.parts) if name == part])


def read_pictures(folder: Path) -> Pictures:
    """The pictures in `folder`."""
    facts = json.loads((folder / "pictures.json").read_text(encoding="utf-8"))
    names, targets, parts = zip(*facts["rows"], strict=True)
    return Pictures(
        np.load(folder / "pictures.npy", mmap_mode="r"),
        list(names),
        torch.tensor(targets),
        list(parts),
        facts["labels"],
        facts["everyday"],
    )
