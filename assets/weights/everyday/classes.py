"""The classes: those that the network keeps (`classes.csv`), and those it only learns from."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("classes.csv")


@dataclass(frozen=True, slots=True)
class EverydayClass:
    """An everyday class. `members` are the categories that it is made of: Tiny
    ImageNet's by WordNet id, Caltech-101's by the name of their folder. `wnid` is '' where WordNet
    has no such noun; a class that grew from one of tiny50's carries that one's id. Classes that are
    not `in_network` are pretrained on only."""

    label: str
    zh: str
    wnid: str
    members: tuple[str, ...]
    in_network: bool = True


def read_classes(table: Path = TABLE) -> list[EverydayClass]:
    """The rows of `classes.csv`, in order; tiny50's 50 come first, in its own order."""
    with table.open(encoding="utf-8", newline="") as opened:
        return [
            EverydayClass(
                row["label"],
                row["zh"],
                row["wnid"],
                (*row["tiny"].split(), *row["caltech"].split()),
                row["network"] == "yes",
            )
            for row in csv.DictReader(opened)
        ]


def indices_in_network() -> list[int]:
    """The indices of the classes that the network keeps, tiny50's first."""
    return [index for index, one in enumerate(read_classes()) if one.in_network]


def index_of_category(classes: list[EverydayClass], categories: Iterable[str]) -> dict[str, int]:
    """The class index of each category: its everyday class, or one of its own behind them all.

    Raises ValueError where a class names a category that does not exist, or two name the same.
    """
    known = sorted(set(categories))
    index: dict[str, int] = {}
    for number, everyday in enumerate(classes):
        for member in everyday.members:
            if member in index or member not in known:
                raise ValueError(f"{everyday.label}: {member} is taken or does not exist")
            index[member] = number
    rest = [name for name in known if name not in index]
    return index | {name: len(classes) + number for number, name in enumerate(rest)}


def hash_of_name(name: str) -> int:
    """A number that depends on a picture's name alone, by which pictures are held out."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def parts_of_photographs(names: list[str], report: int = 8) -> dict[str, str]:
    """'report' for the `report` photographs of a category with the smallest hashes, which nothing
    learns from and nothing is chosen by; 'dev' or 'train' for the others."""
    ordered = sorted(names, key=hash_of_name)
    return {name: "report" if i < report else part_of(name) for i, name in enumerate(ordered)}


def part_of(name: str) -> str:
    """'dev' for one training picture in 32, by which settings are chosen, 'train' for the rest."""
    return "dev" if hash_of_name(name) % 32 == 0 else "train"
