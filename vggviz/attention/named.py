"""Attention by name: built in, from a Python file of the user's own, or from a package."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from vggviz.attention import ATTENTION, AttentionType
from vggviz.attention.build import AttentionError, build
from vggviz.platform.python_file import run_file
from vggviz.types import Error

__all__ = ["GROUP", "attention_names", "load_attention"]

GROUP = "vggviz.attention"
"""The entry-point group of packages that bring attention: an `nn.Module` that takes `channels`, or
an `AttentionType`."""
CHANNELS = 512  # of the trial: VGG's deepest blocks, and divisible by what fewer are


def attention_names() -> tuple[str, ...]:
    """'none', the keys of `ATTENTION`, and the names that packages bring, whose code is not run."""
    return tuple(dict.fromkeys(("none", *ATTENTION, *_packaged())))


def load_attention(name: str) -> str:
    """Make the attention of this name known in `ATTENTION`, and return its key there.

    'FILE.py:NAME' is an `nn.Module` that takes `channels`, or a function that returns one, in a
    Python file; the file is run, so it must be the user's own. The key has no folder:
    'mine.py:MyAttention', and so it stands in weights files. 'none' and what `ATTENTION` has stand
    for themselves; else the entry point of this name in `GROUP` is loaded. Taps are not needed: see
    `build`.

    Raises AttentionError for a file or name that is not there, for what can't be built from
    `channels`, returns another shape, or has no attention.
    """
    file, _, attribute = name.rpartition(":")
    if name == "none" or name in ATTENTION:
        return name
    packaged = _packaged()
    if file.endswith(".py"):
        path = Path(file)
        name = f"{path.name}:{attribute}"
        found: Any = run_file(path, attribute, AttentionError)
    elif name in packaged:
        try:
            found = packaged[name].load()
        except Exception as error:  # whatever a package's code raises
            why = f"{type(error).__name__}: {error}"
            raise AttentionError("not_runnable", name=packaged[name].value, why=why) from error
    else:
        raise AttentionError("no_attention", attention=name, known=", ".join(attention_names()))
    if not isinstance(found, AttentionType):
        if not callable(found):
            raise AttentionError("attention_not_callable", attention=name)
        first = (getattr(found, "__doc__", None) or "").strip().partition("\n")[0]
        title = getattr(found, "__name__", name)
        found = AttentionType(found, title=title, explanation=first)
    before = ATTENTION.get(name)
    ATTENTION[name] = found
    try:
        build(name, CHANNELS)
    except Error:
        del ATTENTION[name]
        if before is not None:
            ATTENTION[name] = before
        raise
    return name


def _packaged() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
