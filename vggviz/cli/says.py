"""How the command line reads words, and stops: one sentence on stderr, exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

import typer
from tqdm import tqdm

if TYPE_CHECKING:
    from vggviz.data import Dataset

P = ParamSpec("P")
T = TypeVar("T")


def stop(sentence: str) -> NoReturn:
    """Say what is wrong and exit with code 2."""
    print(f"vggviz: {sentence}", file=sys.stderr)
    raise typer.Exit(2)


def or_stop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` returns; a ValueError is said and ends the program."""
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        stop(str(error))


def left_out(error: Exception) -> None:
    """Name a picture that can't be read, and go on."""
    tqdm.write(f"left out: {error}", file=sys.stderr)


def print_passed_over(passed_over: Mapping[str, int], where: str = "") -> None:
    """Say on stderr how many files beside the pictures are not used."""
    from vggviz.data import passed_over_text

    if passed_over:
        print(f"{where}{passed_over_text(passed_over)}", file=sys.stderr)


def print_classes(training: Dataset, validation: Dataset) -> None:
    """Print the classes of a training set, and how many pictures each has in both parts."""
    print(
        f"{len(training.labels)} classes, {len(training)} pictures to learn from and "
        f"{len(validation)} to judge by:"
    )
    indices = {label: index for index, label in enumerate(validation.labels)}
    learned = training.targets.bincount(minlength=len(training.labels)).tolist()
    judged = validation.targets.bincount(minlength=len(indices)).tolist()
    for label, count in zip(training.labels, learned, strict=True):
        name = "".join(character if character.isprintable() else "?" for character in label)
        print(f"{count:8} + {judged[indices[label]]:<6} {name}")
    print_passed_over(training.passed_over)
    sys.stdout.flush()


@contextmanager
def counted(unit: str) -> Iterator[Callable[..., None]]:
    """A progress bar in a terminal: what it gives is told (done, total), and what comes next."""
    with tqdm(unit=unit, disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int, what: str = "") -> None:
            bar.total = total
            bar.set_description(what, refresh=False)
            bar.update(done - bar.n)

        yield progress


def words(text: str) -> tuple[str, ...]:
    """What stands between commas; () for ''."""
    return tuple(word for word in text.split(",") if word)


def sides(text: str) -> tuple[int, ...]:
    """The sides of pictures in '32,48,64', in pixels; () for ''. Stops at what is no such thing."""
    try:
        found = tuple(int(size) for size in text.split(",") if size)
    except ValueError:
        stop(f"--sizes are whole numbers with commas, such as 32,48,64, not {text!r}")
    if any(size < 32 for size in found):
        stop("--sizes must be at least 32 pixels each")
    return found
