"""Selection of classes by label or WordNet id."""

from __future__ import annotations

from collections.abc import Sequence

from vggviz.data.dataset import DataError
from vggviz.types import matching

__all__ = ["choose_classes"]


def choose_classes(
    labels: Sequence[str], wnids: Sequence[str], names: Sequence[str] | None, part: str | None
) -> list[int]:
    """Indices of the classes `names`, by label or WordNet id, in the data's own order.

    `labels` and `wnids` are equally many. All classes where `names` is None; exact names come
    first, then those in other case.
    Raises DataError for a class that the data does not have.
    """
    if names is None:
        return list(range(len(labels)))
    where = f"the part {part!r} of the data" if part else "the data"
    some = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
    chosen: set[int] = set()
    for name in names:
        matches = {k % len(labels) for k in matching(name, (*labels, *wnids))}
        if not matches:
            raise DataError(f"no class {name!r} in {where}: it has {some}")
        chosen |= matches
    return sorted(chosen)
