"""Weights files as strangers might make them: pickles, broken containers, descriptions that lie."""

from __future__ import annotations

import io
import json
import math
import pickle
import random
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

HUGE = 2**40


class Evil:
    """What makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.canary,)


def pickles(canary: Path) -> dict[str, bytes]:
    """Code in every wrapping that PyTorch knows, by name. Whoever unpickles one makes `canary`."""
    evil, new, old = {"a": Evil(canary)}, io.BytesIO(), io.BytesIO()
    torch.save(evil, new)
    torch.save(evil, old, _use_new_zipfile_serialization=False)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("model.pkl", pickle.dumps(evil))
    return {
        "pickle": pickle.dumps(evil),
        "pickle, first protocol": pickle.dumps(evil, protocol=0),
        "torch zip": new.getvalue(),
        "torch legacy": old.getvalue(),
        "zipped pickle": zipped.getvalue(),
    }


def opened(whole: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file's header and its data."""
    (length,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def closed(header: dict[str, Any] | bytes, data: bytes, length: int | None = None) -> bytes:
    """The file of a header, which may lie about its `length`, and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def containers(whole: bytes) -> dict[str, bytes]:
    """Broken and misfitting files made of a good one, by what is wrong with them."""
    header, data = opened(whole)
    names = [name for name in header if name != "__metadata__"]
    halves = [name for name in names if header[name]["dtype"] == "F16"]
    first, last = (key(halves, key=lambda name: header[name]["data_offsets"]) for key in (min, max))
    text = json.dumps(header).encode()

    def with_(name: str, **changes: Any) -> dict[str, Any]:
        return {**header, name: {**header[name], **changes}}

    def without(name: str) -> bytes:
        start, end = header[name]["data_offsets"]
        rest = {n: {**header[n]} for n in names if n != name}
        for one in rest.values():
            back = (end - start) * (one["data_offsets"][0] >= end)
            one["data_offsets"] = [offset - back for offset in one["data_offsets"]]
        kept = {"__metadata__": header["__metadata__"], **rest}
        return closed(kept, data[:start] + data[end:])

    def beside(name: str, dtype: str, shape: list[int], size: int) -> bytes:
        offsets = [len(data), len(data) + size]
        extra = {name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}
        return closed({**header, **extra}, data + bytes(size))

    start, end = header[first]["data_offsets"]
    floats = header[first]["shape"]
    cases = {
        "empty": b"",
        "7 bytes": whole[:7],
        "a length alone": whole[:8],
        "no header": struct.pack("<Q", 0) + data,
        "half": whole[: len(whole) // 2],
        "one byte short": whole[:-1],
        "one byte more": whole + b"\0",
        "a header longer than the file": closed(text, data, len(whole) * 2),
        "a header of 2**63 bytes": closed(text, data, 2**63),
        "a header of 2**64 - 1 bytes": closed(text, data, 2**64 - 1),
        "a header one byte short": closed(text, data, len(text) - 1),
        "a header one byte long": closed(text, data, len(text) + 1),
        "no JSON": closed(b"\x80\x04" + text, data),
        "a list for a header": closed(b"[]", data),
        "a number for a header": closed(b"1e999", data),
        "no UTF-8": closed(text.replace(b"classifier", b"class\xff\xfeer"), data),
        "nested 100,000 deep": closed(b'{"a":' * 100_000, data),
        "metadata that is no text": closed({**header, "__metadata__": {"vggviz": {}}}, data),
        "metadata that is a list": closed({**header, "__metadata__": []}, data),
        "no metadata": closed({n: header[n] for n in names}, data),
        "a name twice": closed(text[:-1] + f',"{first}":'.encode() + text[2:40] + b"}", data),
        "overlapping": closed(with_(last, data_offsets=[start, end]), data),
        "past the end": closed(with_(last, data_offsets=[len(data), len(data) + 2]), data),
        "far past the end": closed(with_(last, data_offsets=[HUGE, HUGE + 2]), data),
        "backwards": closed(with_(first, data_offsets=[end, start]), data),
        "negative": closed(with_(first, data_offsets=[-end, start]), data),
        "offsets beyond 64 bits": closed(with_(first, data_offsets=[0, 2**64]), data),
        "a hole": closed(with_(first, data_offsets=[start, end - 2]), data),
        "a shape of 2**40": closed(with_(first, shape=[HUGE]), data),
        "a shape that overflows": closed(with_(first, shape=[HUGE, HUGE]), data),
        "a negative shape": closed(with_(first, shape=[-1, *floats]), data),
        "a shape with its axes swapped": closed(with_(first, shape=floats[::-1]), data)
        if floats != floats[::-1]
        else b"",
        "no shape": closed(with_(first, shape=None), data),
        "an unknown dtype": closed(with_(first, dtype="PICKLE"), data),
        "integers for floats": closed(with_(first, dtype="I16"), data),
        "half a dtype": closed(with_(first, dtype="F64"), data),
        "a tensor missing": without(first),
        "a tensor too many": beside("features.99.weight", "F32", [2], 8),
        "an empty one too many": beside("features.99.weight", "F32", [0], 0),
        "an empty one of 2**40 rows": beside("features.99.weight", "F32", [HUGE, 0], 0),
        "a name of markup and control characters": beside("\x1b[2J<script>\n" * 999, "F32", [0], 0),
        "no tensor": closed({"__metadata__": header["__metadata__"]}, b""),
        "a million small tensors": closed(
            {
                **header,
                **{f"{n:x}": {"dtype": "F32", "shape": [0], "data_offsets": [len(data)] * 2}
                   for n in range(15_000)},
            },
            data,
        ),
    }  # fmt: skip
    for value, name in ((math.nan, "NaN"), (math.inf, "infinity")):
        floats = bytearray(data)
        floats[start : start + 2] = struct.pack("<e", value)
        cases[name] = closed(header, bytes(floats))
    return {**cases, **dict(_shuffled(whole, 40))}


def _shuffled(whole: bytes, count: int) -> Iterator[tuple[str, bytes]]:
    """The same file with a few bytes of its header changed, taken out or put in, by seed."""
    end = len(whole) - len(opened(whole)[1])
    for seed in range(count):
        chance, found = random.Random(seed), bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            place, kind = chance.randrange(end), chance.randrange(3)
            new = b"" if kind == 2 else bytes([chance.randrange(256)])
            found[place : place + (kind != 1)] = new
        yield f"seed {seed}", bytes(found)


def lies(card: dict[str, Any]) -> dict[str, str]:
    """Descriptions, as JSON, that are false or no descriptions, by what is wrong with them."""

    def with_(**changes: Any) -> str:
        return json.dumps({**card, **changes})

    def config(**changes: Any) -> str:
        return with_(config={**card["config"], **changes})

    def preprocess(**changes: Any) -> str:
        return with_(preprocess={**card["preprocess"], **changes})

    def labels(text: Any) -> str:
        return with_(labels=[text, *card["labels"][1:]])

    under = {"weights": "everyday", "attention": "none", "fingerprint": "0" * 64}
    return {
        "no JSON": "{",
        "nothing": "",
        "a list": "[1]",
        "null": "null",
        "a text": '"text"',
        "a number of 5,000 digits": "1" * 5000,
        "nested 200,000 deep": "[" * 200_000,
        "nested 900 deep in a config": config(attention=json.loads("[" * 900 + "]" * 900)),
        **{f"without {key}": json.dumps({k: v for k, v in card.items() if k != key})
           for key in card if key not in ("backbone",)},
        "a huge width": config(width=1e9),
        "a width that is no number": config(width=math.nan),
        "a negative width": config(width=-0.125),
        "a width as text": config(width="0.125"),
        "another width": config(width=4, head="fc"),
        "no classes": config(num_classes=0),
        "negative classes": config(num_classes=-3),
        "2**70 classes": config(num_classes=2**70),
        "one class more": config(num_classes=len(card["labels"]) + 1),
        "classes as a fraction": config(num_classes=3.0),
        "K other than the classifier's": with_(
            labels=["a"] * 9, wnids=[], config={**card["config"], "num_classes": 9}
        ),
        "unknown attention": config(attention="magic"),
        "attention as markup": config(attention="<img src=x onerror=alert(1)>" * 9999),
        "other attention": config(attention="cbam"),
        "a stage that is none": config(stages=["block9"]),
        "stages as text": config(stages="block4"),
        "stages as numbers": config(stages=[4]),
        "batch norm as text": config(batch_norm="yes"),
        "a key too many": config(__class__="os.system"),
        "a config that is a list": with_(config=[1, 2]),
        "a size of 10**6": preprocess(size=10**6, resize=10**6),
        "a size of 0": preprocess(size=0),
        "a negative size": preprocess(size=-64),
        "true for a size": preprocess(size=True),
        "a std of 0": preprocess(std=[0, 1, 1]),
        "a std that is no number": preprocess(std=[math.nan, 1, 1]),
        "an infinite mean": preprocess(mean=[math.inf, 0, 0]),
        "two means": preprocess(mean=[0, 0]),
        "unknown interpolation": preprocess(interpolation="magic"),
        "10**6 labels": with_(labels=["a"] * 10**6),
        "10**5 labels": with_(labels=["a"] * 10**5),
        "labels as a text": with_(labels="abc"),
        "labels as an object": with_(labels={"a": 1, "b": 2, "c": 3}),
        "a number for a label": labels(7),
        "a list for a label": labels(["a"]),
        "a label with a line break": labels("a\nb"),
        "a label that clears the terminal": labels("\x1b[2J"),
        "a label with a zero byte": labels("a\0b"),
        "a label that turns the text around": labels("a\u202egpj.exe"),
        "half a surrogate pair": labels("\ud800"),
        "a label of 10**5 letters": labels("a" * 10**5),
        "too few WordNet ids": with_(wnids=["n1"]),
        "trained by magic": with_(trained="magic"),
        "trained as a list": with_(trained=["all"]),
        "facts as a list": with_(facts=[[1]]),
        "facts as a number": with_(facts=7),
        "a name as a list": with_(weights=["everyday"]),
        "another copy of its backbone": with_(backbone=under),
        "a backbone that is a path": with_(backbone={**under, "weights": "/etc/mine.safetensors"}),
        "a backbone above": with_(backbone={**under, "weights": "../base.safetensors"}),
        "a backbone with a key too many\n": with_(backbone={**under, "\x1b[2J" * 999: 1}),
        "a backbone that is a text": with_(backbone="everyday"),
        "a fingerprint that is none": with_(backbone={**under, "fingerprint": "g" * 64}),
    }  # fmt: skip
