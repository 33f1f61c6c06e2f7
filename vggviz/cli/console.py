"""How the command line reads words and speaks: nothing that it prints can end the work."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TextIO, TypeVar

import typer
from tqdm import tqdm

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
    "tiny50; imagenet, imagenet_bn, or imagenet-vgg16, imagenet-resnet50 and others (`vggviz "
    "models` lists them); random; a .safetensors file; or hf:user/repo."
)


def say(text: str) -> None:
    """One line to standard output, its control characters as escapes."""
    _write(text, sys.stdout)


def say_lines(text: str) -> None:
    """A text of several lines, such as a table, to standard output."""
    for line in text.split("\n"):
        say(line)


def complain(text: str) -> None:
    """One line to standard error."""
    _write(text, sys.stderr)


def _write(text: str, file: TextIO) -> None:
    """Past a progress bar, if there is one, and at once."""
    line = visible(text)
    try:
        line.encode(file.encoding or "utf-8")
    except UnicodeEncodeError:  # as of a Windows console in a code page of 256 characters
        line = line.replace("→", "->")
    tqdm.write(line, file=file)
    file.flush()


def stop(sentence: str) -> NoReturn:
    """Say what is wrong and exit with code 2."""
    complain(f"vggviz: {sentence}")
    raise typer.Exit(2)


def or_stop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` returns; a ValueError or an OSError is said and ends the program."""
    try:
        return function(*args, **kwargs)
    except (ValueError, OSError) as error:
        stop(str(error))


def left_out(error: Exception) -> None:
    """Name a picture that can't be read, and go on."""
    complain(f"left out: {error}")


def print_passed_over(passed_over: Mapping[str, int], where: str = "") -> None:
    """Say on stderr how many files beside the pictures are not used."""
    from vggviz.data import passed_over_text

    if passed_over:
        complain(f"{where}{passed_over_text(passed_over)}")


def print_classes(training: Dataset, validation: Dataset) -> None:
    """Print the classes of a training set, and how many pictures each has in both parts."""
    say(
        f"{len(training.labels)} classes, {len(training)} pictures to learn from and "
        f"{len(validation)} to judge by:"
    )
    indices = {label: index for index, label in enumerate(validation.labels)}
    learned = training.targets.bincount(minlength=len(training.labels)).tolist()
    judged = validation.targets.bincount(minlength=len(indices)).tolist()
    for label, count in zip(training.labels, learned, strict=True):
        say(f"{count:8} + {judged[indices[label]]:<6} {label}")
    print_passed_over(training.passed_over)


@contextmanager
def counted(unit: str) -> Iterator[Callable[..., None]]:
    """A progress bar in a terminal: what it gives is told (done, total), and what comes next."""
    with tqdm(unit=unit, disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int, what: str = "") -> None:
            bar.total = total
            bar.set_description(visible(what), refresh=False)
            bar.update(done - bar.n)

        yield progress


def words(text: str) -> tuple[str, ...]:
    """What stands between commas, without blanks around it; () for ''.

    A word that has a comma stands in double quotes: 'koala,"tabby, tabby cat"'.
    """
    try:
        (row,) = csv.reader([text], skipinitialspace=True, strict=True)
    except csv.Error as error:
        stop(f"{text!r} is no list with commas: {error}")
    return tuple(word.strip() for word in row if word.strip())


def sides(text: str) -> tuple[int, ...]:
    """The sides of pictures in '32,48,64', in pixels; () for ''. Stops at what is no such thing."""
    try:
        found = tuple(int(size) for size in words(text))
    except ValueError:
        stop(f"--image-sizes are whole numbers with commas, such as 32,48,64, not {text!r}")
    if any(size < 32 for size in found):
        stop("--image-sizes must be at least 32 pixels each")
    return found


class _Lenient(io.RawIOBase):
    """A raw stream whose writes never fail: what can't be written is lost, and `error` says why."""

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
    """Standard output and error that end no work: a full disk, a closed pipe, a narrow encoding.

    Characters that the encoding lacks are written as escapes. Gives a function that says what
    became of standard output: the error, or None.
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
                buffered, old.encoding, "backslashreplace", line_buffering=bool(old.line_buffering)
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
