"""Networks as files for programs without PyTorch."""

from __future__ import annotations

from vggviz.export.exporter import Exporter

__all__ = ["Exporter"]
