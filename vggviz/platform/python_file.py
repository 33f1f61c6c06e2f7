"""What a Python file of the user's own defines."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vggviz.types import Error

__all__ = ["nearest", "run_file"]


def run_file(file: Path, name: str, failure: type[Error]) -> Any:
    """Run a Python file, whose folder is where it imports from, and return what it calls `name`.

    Raises `failure` for a file that is missing or can't be run, and where it has no such name.
    """
    if not file.is_file():
        raise failure("no_file", file=str(file))
    spec = importlib.util.spec_from_file_location(f"vggviz_own_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look for it there
    folder = str(file.parent.resolve())
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise failure("not_runnable", name=file.name, why=why) from error
    finally:
        sys.path.remove(folder)
    found = getattr(module, name, None)
    if found is None:
        own = [key for key, value in vars(module).items() if callable(value)]
        raise failure("no_name_in_file", name=file.name, object=name, nearest=nearest(name, own))
    return found


def nearest(name: str, known: Iterable[str]) -> Error | str:
    """': the nearest are …' as a value of an Error where something is near, else ''."""
    close = difflib.get_close_matches(name, list(known), 3, 0.6)
    return Error("nearest_names", names=", ".join(close)) if close else ""
