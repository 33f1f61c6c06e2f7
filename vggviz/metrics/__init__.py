"""What maps, weights and predictions are worth; takes tensors and callables, never a method."""

from __future__ import annotations
