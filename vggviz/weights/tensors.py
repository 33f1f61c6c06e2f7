"""Reading and writing safetensors files, their description and their fingerprint."""

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

from vggviz.attention.build import AttentionError
from vggviz.files import atomic_write
from vggviz.networks import build_network, is_network_name, resolve
from vggviz.weights.card import Card, WeightsError
from vggviz.weights.refusal import explain_refusal

__all__ = ["check_path", "fingerprint", "read_card", "read_tensors", "to_half", "write_safetensors"]

HEADER = 4 << 20
"""The most bytes of JSON before the tensors; in memory it is some 20 times as much."""
SENTENCE = 160  # characters of what a stranger's file says, in a sentence about it
FLOATS = ("F16", "BF16", "F32", "F64")
INTEGERS = {
    **{torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8"},
    **{torch.int16: "I16", torch.int32: "I32", torch.int64: "I64"},
}


def write_safetensors(tensors: dict[str, Tensor], metadata: dict[str, str], file: Path) -> None:
    """Write a safetensors file atomically. Raises OSError, with its errno, on failure."""
    with atomic_write(file) as part:
        try:
            save_file(tensors, part, metadata)
        except SafetensorError as error:  # which hides the number of the operating system's error
            match = re.search(r"\(os error (\d+)\)", str(error))
            number = int(match[1]) if match else errno.EIO
            raise OSError(number, os.strerror(number), str(file)) from error


def fingerprint(file: Path) -> str:
    """The SHA-256 of the file's bytes, as 64 hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def to_half(value: Tensor) -> Tensor:
    """A contiguous CPU tensor, floats as float16 where none overflows, else as float32."""
    if value.is_floating_point():
        short = value.half()
        value = short if torch.equal(short.isfinite(), value.isfinite()) else value.float()
    return value.cpu().contiguous()


def check_path(file: Path) -> None:
    """Raise WeightsError for a path that is not UTF-8, which safetensors can't open."""
    try:
        str(file).encode()
    except UnicodeEncodeError as error:
        raise WeightsError("path_not_utf8", name=file.name) from error


def read_card(file: Path, longest: int = HEADER, *, foreign: bool = False) -> Card:
    """The card in a weights file's metadata, without a fingerprint; no tensor is read.

    Raises WeightsError where there is no such file, where its card is missing or invalid, or where
    its metadata has more than `longest` bytes, which are then not read; and, unless `foreign`, for
    an adapter on a network that vggviz did not build (see `foreign_adapter`).
    """
    check_path(file)
    if not file.exists():
        raise WeightsError("no_weights_file", name=file.name)
    if not file.is_file() or file.suffix != ".safetensors":
        raise explain_refusal(file)
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
        card = Card.from_json(described)
        if not is_network_name(card.config.architecture):
            resolve(card.config)  # raises for an unknown architecture or stage
        elif not foreign:
            network = _excerpt(card.config.architecture)
            raise WeightsError("adapter_needs_network", name=file.name, network=network)
        return card
    except WeightsError:  # a ValueError
        raise
    except AttentionError as error:
        raise WeightsError(error.code, **error.values) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise WeightsError("bad_description", name=file.name, why=_excerpt(why)) from error


def read_tensors(file: Path, card: Card, base: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the card's network, floats in float32: the tensors of the file, and those
    that it lacks from `base`.

    All are copies: access to a mapped file that was truncated would kill the process. Raises
    WeightsError where together they are not exactly the network's, by name, shape and dtype, and
    for NaN or infinite values.
    """
    network = build_network(card.config, empty=True).state_dict()
    expected = {key: _signature(value) for key, value in network.items()}
    try:
        with safe_open(file, framework="pt") as opened:
            keys = opened.keys()
            own = {}
            for key in keys:
                part = opened.get_slice(key)
                kind = part.get_dtype()
                own[key] = (tuple(part.get_shape()), "float" if kind in FLOATS else kind)
            filled = {key: base[key] for key in expected if key in base and key not in own}
            actual = {**{key: _signature(value) for key, value in filled.items()}, **own}
            if actual != expected:
                odd = sorted(set(actual.items()) ^ set(expected.items()))
                name = _excerpt(odd[0][0])
                raise WeightsError("unlike_description", name=file.name, tensor=name)
            state = {key: _copy(opened.get_tensor(key)) for key in keys}
    except (SafetensorError, OSError) as error:
        raise WeightsError("not_whole", name=file.name) from error
    if broken := next(
        (key for key, value in state.items() if _has_invalid_values(value, network[key])), ""
    ):
        raise WeightsError("not_finite", name=file.name, tensor=broken)
    return {**{key: _copy(value) for key, value in filled.items()}, **state}


def _copy(value: Tensor) -> Tensor:
    return value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)


def _excerpt(text: str) -> str:
    """At most `SENTENCE` characters of untrusted text on one line, control characters removed."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * SENTENCE])
    line = " ".join(line.split())
    return line if len(line) <= SENTENCE else f"{line[:SENTENCE]}…"


def _signature(value: Tensor) -> tuple[tuple[int, ...], str]:
    """Shape, and 'float' or the safetensors name of another dtype, such as 'I64'."""
    kind = "float" if value.is_floating_point() else INTEGERS.get(value.dtype, str(value.dtype))
    return tuple(value.shape), kind


def _has_invalid_values(value: Tensor, fresh: Tensor) -> bool:
    """Whether there is a NaN, or an infinity where the `fresh` network has none (masks have)."""
    if value.isfinite().all():
        return False
    infinite = value.isinf() if fresh.is_meta else value.isinf() & ~fresh.isinf()
    return bool((value.isnan() | infinite).any())
