"""Looking into a forward pass from outside: where attention is, and what else could stand there."""

from __future__ import annotations

from vggviz.hooks.find import Finding, Place, find_attention, finding, probe

__all__ = ["Finding", "Place", "find_attention", "finding", "probe"]
