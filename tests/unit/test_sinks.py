"""Attention sinks, by hand."""

from __future__ import annotations

import torch

from vggviz.metrics.sinks import attention_sinks, without_sinks

WEIGHTS = torch.tensor(
    [
        [0.5, 0.1, 0.2, 0.2],
        [0.6, 0.2, 0.1, 0.1],
        [0.5, 0.5, 0.0, 0.0],
        [0.0, 0.5, 0.3, 0.2],
    ]
)
"""Key 0 gets twice the even share, 0.5, of three of four queries, key 1 of two of them."""


def test_a_key_that_three_quarters_of_the_queries_look_at() -> None:
    assert attention_sinks(WEIGHTS) == (0,)
    assert attention_sinks(WEIGHTS, queries=0.5) == (0, 1)  # most received first: 1.6, then 1.3
    assert attention_sinks(WEIGHTS[:, [1, 0, 2, 3]], queries=0.5) == (1, 0)
    assert attention_sinks(WEIGHTS, times=2.1) == ()
    assert attention_sinks(WEIGHTS, queries=0.76) == ()
    assert attention_sinks(torch.full((4, 4), 0.25)) == ()


def test_a_row_counts_by_its_shares() -> None:
    """What goes to a token without a position is left out, and changes nothing."""
    scaled = WEIGHTS * torch.tensor([[0.1], [1], [0.5], [1]])
    assert attention_sinks(scaled, times=1.9) == (0,)


def test_rows_without_sinks_keep_their_sum() -> None:
    rest = without_sinks(WEIGHTS, (0,))
    expected = torch.tensor([0, 0.2, 0.4, 0.4])  # 0.1, 0.2, 0.2 of 0.5
    torch.testing.assert_close(rest[0], expected)
    torch.testing.assert_close(rest.sum(1), torch.ones(4))
    torch.testing.assert_close(without_sinks(0.5 * WEIGHTS, (0,)), 0.5 * rest)
    assert float(WEIGHTS[0, 0]) == 0.5  # not in place
    assert without_sinks(WEIGHTS[2:3], (0, 1)).tolist() == [[0, 0, 0, 0]]
