"""The parts of PyTorch's fused attention functions, written out."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["HEADS", "attention_scores", "bound_heads", "project_heads"]

HEADS = "multi_head_attention_forward"
_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def attention_scores(
    query: Tensor, key: Tensor, mask: Tensor | None, causal: bool, scale: float | None
) -> Tensor:
    """softmax(scale · q kᵀ + mask), (..., N, M), as in `F.scaled_dot_product_attention`.

    `query` (..., N, d) and `key` (..., M, d); `mask` is added, or, where boolean, says which keys
    count: a query without any gets zeros.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)
    if causal:
        mask = scores.new_ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is None:
        return scores.softmax(-1)
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, -math.inf).softmax(-1).masked_fill(~mask, 0.0)
    return (scores + mask).softmax(-1)


def bound_heads(*args: Any, **kwargs: Any) -> inspect.BoundArguments:
    """All arguments of a call of `F.multi_head_attention_forward`, by name."""
    bound = _SIGNATURE.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound


def project_heads(given: Mapping[str, Any], weights: Tensor) -> Tensor:
    """The output (L, B, E) of `F.multi_head_attention_forward` with other `weights`
    (B, heads, L, S), or (heads, L, S) without a batch; `given` are its arguments."""
    # `len` would make a constant of a batch that is traced.
    value, heads, bias = given["value"], given["num_heads"], given["in_proj_bias"]
    value = value if value.ndim == 3 else value[:, None]
    separate = given["use_separate_proj_weight"]
    matrix = given["v_proj_weight"] if separate else given["in_proj_weight"].chunk(3)[2]
    v = F.linear(value, matrix, None if bias is None else bias.chunk(3)[2])  # (S, B, E)
    if given["bias_v"] is not None:
        v = torch.cat([v, given["bias_v"].expand(1, v.shape[1], -1)])
    v = v.reshape(v.shape[0], -1, v.shape[2] // heads).transpose(0, 1)  # (B·heads, S, d)
    v = v if given["static_v"] is None else given["static_v"]
    if given["add_zero_attn"]:
        v = torch.cat([v, v.new_zeros(v.shape[0], 1, v.shape[2])], 1)
    joined = (weights.reshape(v.shape[0], -1, v.shape[1]) @ v).transpose(0, 1)  # (L, B·heads, d)
    joined = joined.reshape(joined.shape[0], -1, heads * v.shape[2])
    return F.linear(joined, given["out_proj_weight"], given["out_proj_bias"])
