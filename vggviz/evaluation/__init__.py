"""The evaluation of networks: accuracy, cost, pointing game, and the use of attention."""

from __future__ import annotations

from vggviz.evaluation.result import Evaluation, Result
from vggviz.evaluation.run import evaluate
from vggviz.evaluation.table import table

__all__ = ["Evaluation", "Result", "evaluate", "table"]
