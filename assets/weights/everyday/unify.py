"""All pictures of Tiny ImageNet and Caltech-101 at one size and one sharpness, in one array.

    python -m everyday.unify FOLDER tiny-imagenet-50.zip tiny-imagenet-150.zip caltech-101-40.zip

Tiny ImageNet was made without a low-pass filter: its pictures are aliased. On eleven categories
that both sets have, their Laplacian energy is that of Caltech's photographs when those are brought
to 64 pixels by cubic interpolation without antialiasing and stored as JPEG with Tiny ImageNet's own
quantisation tables (`sharpness_ratio` 0.99; linear interpolation 0.82, area averaging 0.35,
Pillow's antialiased bilinear 0.21). A network that learned from two sharpnesses would tell the two
sets, and their classes, apart by them.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from everyday.classes import (
    index_of_category,
    part_of,
    parts_of_photographs,
    read_classes,
)
from vggviz.files import atomic_write

SIDE = 64
# Categories that both sets have: the same content, so that only sharpness differs.
SHARED = {
    "pizza": "n07873807",
    "umbrella": "n04507155",
    "dragonfly": "n02268443",
    "scorpion": "n01770393",
    "elephant": "n02504458",
    "barrel": "n02795169",
    "cannon": "n02950826",
    "binocular": "n02841315",
    "cougar_face": "n02125311",
    "trilobite": "n01768244",
    "lobster": "n01983481",
}

Pixels = npt.NDArray[np.uint8]


def laplacian_energy(picture: Pixels) -> float:
    """mean((Δg)²) / var(g) of the grey picture g, Δ the 4-neighbour Laplacian: (H, W, 3) → ≥ 0.

    High for sharp, aliased or noisy pictures, 0 for a plane; contrast cancels out.
    """
    grey = picture @ np.array([0.299, 0.587, 0.114])
    middle = grey[1:-1, 1:-1]
    laplacian = 4 * middle - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(np.square(laplacian).mean() / max(grey.var(), 1e-9))


def shrink(picture: Pixels, tables: dict[int, list[int]], side: int = SIDE) -> Pixels:
    """A photograph as Tiny ImageNet would have it: (H, W, 3) → shorter side `side`."""
    height, width = picture.shape[:2]
    scale = side / min(height, width)
    size = max(side, round(width * scale)), max(side, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    coded = io.BytesIO()
    Image.fromarray(small).save(coded, "JPEG", qtables=tables, subsampling="4:2:0")
    return np.array(Image.open(coded))


def squares(picture: Pixels) -> list[Pixels]:
    """The square crops of a picture: its middle and, of one that is long, also both its ends."""
    height, width = picture.shape[:2]
    short, slack = min(height, width), abs(height - width)
    starts = [slack // 2, 0, slack] if slack > 0.15 * short else [slack // 2]
    if height > width:
        return [picture[start : start + short] for start in starts]
    return [picture[:, start : start + short] for start in starts]


class Collection:
    """Pictures (64, 64, 3) with a name, a class index and a part each."""

    def __init__(self) -> None:
        self.pictures: list[Pixels] = []
        self.rows: list[tuple[str, int, str]] = []

    def add(self, picture: Pixels, name: str, target: int, part: str) -> None:
        self.pictures.append(picture)
        self.rows.append((name, target, part))


def read(archive: zipfile.ZipFile, name: str) -> Pixels:
    """A picture of an archive as RGB (H, W, 3)."""
    return np.array(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))


def training_files(archive: zipfile.ZipFile) -> dict[str, list[str]]:
    """Tiny ImageNet's training pictures by WordNet id."""
    found: dict[str, list[str]] = {}
    for name in sorted(archive.namelist()):
        if "/train/" in name and name.endswith(".JPEG"):
            found.setdefault(name.split("/")[2], []).append(name)
    return found


def photograph_files(archive: zipfile.ZipFile) -> dict[str, list[str]]:
    """Caltech's photographs by category."""
    found: dict[str, list[str]] = {}
    for name in sorted(archive.namelist()):
        if name.endswith(".jpg"):
            found.setdefault(name.split("/")[1], []).append(name)
    return found


def sharpness_ratio(
    tinies: list[zipfile.ZipFile], caltech: zipfile.ZipFile, tables: dict[int, list[int]]
) -> float:
    """The geometric mean over SHARED of Caltech's over Tiny ImageNet's mean Laplacian energy."""
    photographs, ratios = photograph_files(caltech), []
    for category, wnid in SHARED.items():
        archive = next(tiny for tiny in tinies if wnid in training_files(tiny))
        tiny = [read(archive, name) for name in training_files(archive)[wnid][:200]]
        small = [shrink(read(caltech, name), tables) for name in photographs[category]]
        energies = [np.log([laplacian_energy(p) for p in part]).mean() for part in (small, tiny)]
        ratios.append(energies[0] - energies[1])
    return float(np.exp(np.mean(ratios)))


def main(folder: Path, *archives: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    *tinies, caltech = (zipfile.ZipFile(archive) for archive in archives)
    first = next(name for name in tinies[0].namelist() if name.endswith(".JPEG"))
    tables: Any = Image.open(io.BytesIO(tinies[0].read(first))).quantization  # type: ignore[attr-defined]
    print(f"sharpness, Caltech / Tiny ImageNet: {sharpness_ratio(tinies, caltech, tables):.3f}")
    training = {wnid: (t, files) for t in tinies for wnid, files in training_files(t).items()}
    photographs = photograph_files(caltech)
    everyday = read_classes()
    index = index_of_category(everyday, [*training, *photographs])
    collection = Collection()
    for wnid, (archive, files) in training.items():
        for name in files:
            collection.add(read(archive, name), name, index[wnid], part_of(name))
    for category, files in photographs.items():
        for name, part in parts_of_photographs(files).items():
            crops = squares(shrink(read(caltech, name), tables))
            for crop in crops if part == "train" else crops[:1]:
                collection.add(crop, name, index[category], part)
    prefix = first.split("/")[0]
    lines = tinies[0].read(f"{prefix}/val/val_annotations.txt").decode().splitlines()
    for line in lines:
        file, wnid = line.split("\t")[:2]
        name = f"{prefix}/val/images/{file}"
        collection.add(read(tinies[0], name), name, index[wnid], "val")
    names = {number: name for name, number in index.items()}
    labels = [row.label for row in everyday]
    labels += [names[number] for number in range(len(everyday), max(names) + 1)]
    facts = {"labels": labels, "everyday": len(everyday), "rows": collection.rows}
    with atomic_write(folder / "pictures.json") as part_file:
        part_file.write_text(json.dumps(facts), encoding="utf-8")
    with atomic_write(folder / "pictures.npy") as part_file, part_file.open("wb") as opened:
        np.save(opened, np.stack(collection.pictures))
    parts = [row[2] for row in collection.rows]
    counts = {part: parts.count(part) for part in ("train", "dev", "val", "report")}
    print(f"{len(labels)} classes, {len(everyday)} everyday; pictures {counts}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
