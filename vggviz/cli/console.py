"""Printing and parsing for the command line. A full disk or a closed pipe does not end the work."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TextIO, TypeVar

import typer
from tqdm import tqdm

from vggviz.files import atomic_write
from vggviz.texts import visible

if TYPE_CHECKING:
    from vggviz.data import Dataset

P = ParamSpec("P")
T = TypeVar("T")
CLASSES_HELP = (
    "Only these classes, labels or WordNet ids with commas; a label that has a comma stands in "
    "double quotes: 'koala,\"tabby, tabby cat\"'."
)
WEIGHTS_HELP = (
    "everyday; lite; imagenet, imagenet_bn, or imagenet-vgg16, imagenet-resnet50 and others "
    "(`vggviz models` lists them); random; a .safetensors file; or hf:user/repo."
)


def print_line(text: str) -> None:
    """Print one line to standard output, control characters escaped."""
    _write(text, sys.stdout)


def print_lines(text: str) -> None:
    """Print a text of several lines, such as a table, to standard output."""
    for line in text.split("\n"):
        print_line(line)


def print_error(text: str) -> None:
    """Print one line to standard error."""
    _write(text, sys.stderr)


def _write(text: str, file: TextIO) -> None:
    """Print above a running progress bar, and flush."""
    line = visible(text)
    try:
        line.encode(file.encoding or "utf-8")
    except UnicodeEncodeError:  # as of a Windows console in a code page of 256 characters
        line = line.replace("→", "->")
    tqdm.write(line, file=file)
    file.flush()


def fail(sentence: str) -> NoReturn:
    """Print an error and exit with code 2."""
    print_error(f"vggviz: {sentence}")
    raise typer.Exit(2)


def or_fail(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` and return its result; print a ValueError or OSError and exit with code 2."""
    try:
        return function(*args, **kwargs)
    except (ValueError, OSError) as error:
        fail(str(error))


def write_or_fail(file: Path, text: str) -> None:
    """Write a text file, whole or not at all; print an OSError and exit with code 2."""
    try:
        with atomic_write(file) as part:
            part.write_text(text, "utf-8", "backslashreplace")
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror}")


def print_unreadable(error: Exception) -> None:
    """Warn on standard error about a picture that can't be read."""
    print_error(f"left out: {error}")


def print_ignored(ignored: Mapping[str, int], where: str = "") -> None:
    """Print to standard error how many files beside the pictures are not used."""
    from vggviz.data import ignored_text

    if ignored:
        print_error(f"{where}{ignored_text(ignored)}")


def print_classes(training: Dataset, validation: Dataset) -> None:
    """Print the classes and how many training and validation pictures each has."""
    print_line(
        f"{len(training.labels)} classes, {len(training)} training pictures and "
        f"{len(validation)} for validation:"
    )
    indices = {label: index for index, label in enumerate(validation.labels)}
    training_counts = training.targets.bincount(minlength=len(training.labels)).tolist()
    validation_counts = validation.targets.bincount(minlength=len(indices)).tolist()
    for label, count in zip(training.labels, training_counts, strict=True):
        print_line(f"{count:8} + {validation_counts[indices[label]]:<6} {label}")
    print_ignored(training.ignored)


def print_pictures(training: Dataset, validation: Dataset) -> None:
    """Print how many pictures there are to learn from and to judge by."""
    print_line(f"{len(training)} training pictures and {len(validation)} for validation")
    print_ignored(training.ignored)


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[..., None]]:
    """Show a progress bar where standard error is a terminal; yields update(done, total, label)."""
    with tqdm(unit=unit, disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int, what: str = "") -> None:
            bar.total = total
            bar.set_description(visible(what), refresh=False)
            bar.update(done - bar.n)

        yield progress


def split_list(text: str) -> tuple[str, ...]:
    """Split at commas and strip; () for ''. Exits with code 2 on unbalanced quotes.

    An item that contains a comma stands in double quotes: 'koala,"tabby, tabby cat"'.
    """
    try:
        (row,) = csv.reader([text], skipinitialspace=True, strict=True)
    except csv.Error as error:
        fail(f"{text!r} is no list with commas: {error}")
    return tuple(word.strip() for word in row if word.strip())


def parse_image_sizes(text: str) -> tuple[int, ...]:
    """The integers in '32,48,64', pixels; () for ''. Exits with code 2 on any other text."""
    try:
        sizes = tuple(int(size) for size in split_list(text))
    except ValueError:
        fail(f"--image-sizes are whole numbers with commas, such as 32,48,64, not {text!r}")
    if any(size < 32 for size in sizes):
        fail("--image-sizes must be at least 32 pixels each")
    return sizes


def parse_seeds(text: str) -> list[int]:
    """'3' → [0, 1, 2], '4,7' → [4, 7]. Exits with code 2 on any other text."""
    numbers = list(dict.fromkeys(split_list(text)))
    if not numbers or not all(one.isascii() and one.isdigit() for one in numbers) or text == "0":
        fail(f"--seeds is how many, such as 3, or which, such as 0,3,7; not {text!r}")
    found = [int(one) for one in numbers]
    return found if "," in text else list(range(*found))


class _Lenient(io.RawIOBase):
    """A raw stream whose writes never raise: on failure the bytes are lost and `error` is set."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def write(self, data: Any) -> int:
        try:
            return int(self._raw.write(data) or 0)
        except OSError as error:
            self.error = error
            return len(data)


@contextmanager
def lenient_output() -> Iterator[Callable[[], OSError | None]]:
    """Replace standard output and error by streams that never raise, neither on a full disk nor a
    closed pipe; characters that the encoding lacks are escaped.

    Yields a function that returns the last OSError on standard output, or None.
    """
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    raw: dict[str, _Lenient] = {}
    for name, old in streams.items():
        if old is None:  # closed by the shell: `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif hasattr(old, "buffer"):
            old.flush()
            raw[name] = _Lenient(getattr(old.buffer, "raw", old.buffer))
            buffered = io.BufferedWriter(raw[name])
            encoded = io.TextIOWrapper(
                # Line by line, also into a file: a server's log is read while it runs.
                *(buffered, old.encoding, "backslashreplace"),
                line_buffering=True,
            )
            setattr(sys, name, encoded)

    def error() -> OSError | None:
        sys.stdout.flush()
        return raw["stdout"].error if "stdout" in raw else None

    try:
        yield error
    finally:
        for name, old in streams.items():
            getattr(sys, name).flush()
            setattr(sys, name, old)
