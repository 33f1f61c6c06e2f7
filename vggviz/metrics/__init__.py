"""Metrics of maps, attention weights and predictions, as functions of tensors and callables."""

from __future__ import annotations
