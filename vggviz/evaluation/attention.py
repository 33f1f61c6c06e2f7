"""The attention records of a batch, each under a name that is unique at its stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from torch import Tensor

from vggviz.cam import CAMs
from vggviz.types import AttentionRecord

__all__ = ["named_records"]


def named_records(
    result: CAMs, paths: Mapping[str, str]
) -> Iterator[tuple[str, str, AttentionRecord, Tensor | None]]:
    """Yield (stage, name, record, map) for all records of all pictures, picture by picture. `paths`
    are the module paths of the stages.

    The name is the record's kind; where a stage has several records of one kind, the later ones are
    'spatial_2', 'spatial_3' …, as in `Explanation.arrays`. The map (h, w) is that of attention with
    a weight for every position, else None: weights of rows or columns alone are none.
    """
    for row in range(len(result.logits)):
        picture = result.of(row)
        for stage, path in paths.items():
            number = Counter[str]()
            for record in picture.records(stage, path):
                number[record.kind] += 1
                several = f"_{number[record.kind]}" if number[record.kind] > 1 else ""
                position_map = None if record.kind == "axis" else record.spatial
                yield stage, f"{record.kind}{several}", record, position_map
