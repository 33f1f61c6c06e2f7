"""The evaluation: what each attention type gains and costs, where it points, whether it is used."""

from __future__ import annotations

from vggviz.evaluate.result import Evaluation, Result
from vggviz.evaluate.run import evaluate
from vggviz.evaluate.table import table

__all__ = ["Evaluation", "Result", "evaluate", "table"]
