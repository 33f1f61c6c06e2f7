"""Safetensors in and out: one file, its description and its fingerprint."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vggviz.files import atomic_write
from vggviz.networks import build_network
from vggviz.weights.card import Card, WeightsError
from vggviz.weights.foreign import explain

__all__ = ["check_path", "fingerprint", "half", "read_card", "read_tensors", "write_safetensors"]

HEADER = 4 << 20
"""The most bytes of JSON before the tensors; in memory it is some 20 times as much."""
SENTENCE = 160  # characters of what a stranger's file says, in a sentence about it
FLOATS = ("F16", "BF16", "F32", "F64")
INTEGERS = {
    **{torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8"},
    **{torch.int16: "I16", torch.int32: "I32", torch.int64: "I64"},
}


def write_safetensors(tensors: dict[str, Tensor], metadata: dict[str, str], file: Path) -> None:
    """Write a safetensors file, whole or not at all. Raises OSError where it cannot be."""
    with atomic_write(file) as part:
        try:
            save_file(tensors, part, metadata)
        except SafetensorError as error:  # which hides the number of the operating system's error
            found = re.search(r"\(os error (\d+)\)", str(error))
            number = int(found[1]) if found else errno.EIO
            raise OSError(number, os.strerror(number), str(file)) from error


def fingerprint(file: Path) -> str:
    """The SHA-256 of the file's bytes, as 64 hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def half(value: Tensor) -> Tensor:
    """A tensor as it is written: floats as fp16 if all of them fit, on the CPU, contiguous."""
    if value.is_floating_point():
        short = value.half()
        value = short if torch.equal(short.isfinite(), value.isfinite()) else value.float()
    return value.cpu().contiguous()


def check_path(file: Path) -> None:
    """Raise WeightsError for a path that is no UTF-8: safetensors can't open it."""
    try:
        str(file).encode()
    except UnicodeEncodeError as error:
        raise WeightsError("path_not_utf8", name=file.name) from error


def read_card(file: Path, longest: int = HEADER) -> Card:
    """The description in a weights file, without a fingerprint; no tensor is read.

    Raises WeightsError where there is no file, no description, one that lies, or one with more
    than `longest` bytes, which is not read.
    """
    check_path(file)
    if not file.exists():
        raise WeightsError("no_weights_file", name=file.name)
    if not file.is_file() or file.suffix != ".safetensors":
        raise explain(file)
    try:
        with file.open("rb") as started:  # with the length of its JSON, 8 bytes from the lowest up
            length = int.from_bytes(started.read(8), "little")
        if longest < length <= file.stat().st_size:  # longer than the file is broken, not large
            raise WeightsError("description_too_long", name=file.name)
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError("not_whole", name=file.name) from error
    if "vggviz" not in metadata:
        raise WeightsError("no_description", name=file.name)
    try:
        described = json.loads(metadata["vggviz"])
        json.dumps(described, ensure_ascii=False).encode()  # half a surrogate pair is no text
        return Card.from_json(described)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise WeightsError("bad_description", name=file.name, why=_brief(why)) from error


def read_tensors(file: Path, card: Card, base: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of the card's network, floats as float32: the file's own, the rest from `base`.

    They are copies: what was mapped from a file would end the process if that were cut off.
    Raises WeightsError where together they are not exactly the network's, by name, shape and kind,
    and where the file holds floats that are no numbers.
    """
    network = build_network(card.config, empty=True).state_dict()
    expected = {key: _look(value) for key, value in network.items()}
    try:
        with safe_open(file, framework="pt") as opened:
            keys = opened.keys()
            own = {}
            for key in keys:
                part = opened.get_slice(key)
                kind = part.get_dtype()
                own[key] = (tuple(part.get_shape()), "float" if kind in FLOATS else kind)
            filled = {key: base[key] for key in expected if key in base and key not in own}
            found = {**{key: _look(value) for key, value in filled.items()}, **own}
            if found != expected:
                odd = sorted(set(found.items()) ^ set(expected.items()))
                raise WeightsError("unlike_description", name=file.name, tensor=_brief(odd[0][0]))
            state = {key: _copy(opened.get_tensor(key)) for key in keys}
    except (SafetensorError, OSError) as error:
        raise WeightsError("not_whole", name=file.name) from error
    if broken := next((key for key, value in state.items() if _broken(value, network[key])), ""):
        raise WeightsError("not_finite", name=file.name, tensor=broken)
    return {**{key: _copy(value) for key, value in filled.items()}, **state}


def _copy(value: Tensor) -> Tensor:
    return value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)


def _brief(text: str) -> str:
    """What may hold a stranger's words, short, on one line and without control characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * SENTENCE])
    line = " ".join(line.split())
    return line if len(line) <= SENTENCE else f"{line[:SENTENCE]}…"


def _look(value: Tensor) -> tuple[tuple[int, ...], str]:
    """Shape and kind: 'float', or what safetensors calls any other, such as 'I64'."""
    kind = "float" if value.is_floating_point() else INTEGERS.get(value.dtype, str(value.dtype))
    return tuple(value.shape), kind


def _broken(value: Tensor, fresh: Tensor) -> bool:
    """Whether it has NaN, or infinity where the `fresh` network has none: masks may."""
    if value.isfinite().all():
        return False
    infinite = value.isinf() if fresh.is_meta else value.isinf() & ~fresh.isinf()
    return bool((value.isnan() | infinite).any())
