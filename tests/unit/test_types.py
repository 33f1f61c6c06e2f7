"""The nouns: views of attention weights and heatmaps, by hand on small ranges."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import Tensor

from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked


def counting(*shape: int) -> Tensor:
    """0, 1, 2, … in a shape."""
    size = 1
    for length in shape:
        size *= length
    return torch.arange(size, dtype=torch.float32).reshape(shape)


def token() -> AttentionRecord:
    """2 heads, queries on 1×3, keys on 2×2: head 1 is head 0 plus 12."""
    return AttentionRecord("block5", "token", counting(2, 3, 4), grid=(1, 3), keys=(2, 2))


@pytest.mark.parametrize(
    ("kind", "shape", "spatial", "channel"),
    [
        ("channel", (3,), None, [0, 1, 2]),
        ("spatial", (2, 3), [[0, 1, 2], [3, 4, 5]], None),
        # 2 channels: 0 to 5 and 6 to 11
        ("volume", (2, 2, 3), [[3, 4, 5], [6, 7, 8]], [2.5, 8.5]),
        ("pool", (6,), [[0, 1, 2], [3, 4, 5]], None),
    ],
)
def test_views(
    kind: str, shape: tuple[int, ...], spatial: list[list[float]] | None, channel: list[float]
) -> None:
    record = AttentionRecord("block1", kind, counting(*shape), grid=(2, 3))  # type: ignore[arg-type]
    for view, expected in ((record.spatial, spatial), (record.channel, channel)):
        assert (view is None) == (expected is None)
        if view is not None:
            assert view.tolist() == expected
    assert (record.low, record.high) == (0, len(record.weights.flatten()) - 1)


def test_views_of_axes_and_branches() -> None:
    rows = AttentionRecord("block1", "axis", counting(2, 3), grid=(3, 1))  # 0 to 2 and 3 to 5
    assert rows.spatial is not None
    assert rows.spatial.tolist() == [[1.5], [2.5], [3.5]]
    assert rows.channel is not None
    assert rows.channel.tolist() == [1, 4]
    branches = AttentionRecord("block1", "branch", counting(2, 3), grid=(2, 3))
    assert branches.spatial is None
    assert branches.channel is not None
    assert branches.channel.tolist() == [0, 1, 2]
    assert [view.tolist() for view in branches.views] == [[0, 1, 2], [3, 4, 5]]


def test_what_each_key_receives() -> None:
    # head 0: the columns of [[0..3], [4..7], [8..11]] have means 4, 5, 6, 7; head 1: 12 more
    assert token().received(0).tolist() == [[4, 5], [6, 7]]
    assert token().received(1).tolist() == [[16, 17], [18, 19]]
    assert token().received().tolist() == [[10, 11], [12, 13]]
    assert torch.equal(token().spatial, token().received())
    assert token().channel is None


def test_where_a_query_looks() -> None:
    assert token().query(0, 1, head=0).tolist() == [[4, 5], [6, 7]]
    assert token().query(0, 2, head=1).tolist() == [[20, 21], [22, 23]]
    assert token().query(0, 0).tolist() == [[6, 7], [8, 9]]
    tall = AttentionRecord("block5", "token", counting(1, 6, 1), grid=(3, 2), keys=(1, 1))
    assert tall.query(2, 0).tolist() == [[4]]  # row by row: 2·2 + 0


def test_distributions_stay_distributions() -> None:
    weights = torch.rand(2, 3, 4).softmax(-1)
    record = AttentionRecord("block5", "token", weights, grid=(1, 3), keys=(2, 2))
    for view in (record.received(), record.received(1), record.query(0, 2), record.query(0, 1, 0)):
        assert float(view.sum()) == pytest.approx(1)


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (1, 0), (0, 3)])
def test_no_such_position(place: tuple[int, int]) -> None:
    with pytest.raises(IndexError, match=r"position .* is outside the 1×3 grid"):
        token().query(*place)


@pytest.mark.parametrize("head", [-1, 2])
def test_no_such_head(head: int) -> None:
    with pytest.raises(IndexError, match=f"head {head} does not exist: there are 2"):
        token().query(0, 0, head)
    with pytest.raises(IndexError, match=f"head {head} does not exist"):
        token().received(head)


def test_only_tokens_have_queries() -> None:
    record = AttentionRecord("block1", "spatial", counting(2, 3), grid=(2, 3))
    for ask in (record.received, lambda: record.query(0, 0)):
        with pytest.raises(ValueError, match="'spatial' attention has no queries"):
            ask()


def test_heatmap_gives_back_the_raw_map() -> None:
    raw = torch.tensor([[-2.0, 0.0], [1.0, 6.0]])
    heatmap = Heatmap((raw + 2) / 8, "gradcam", "block5", target=3, low=-2.0, high=6.0)
    assert heatmap.values.tolist() == [[0, 0.25], [0.375, 1]]
    assert torch.equal(heatmap.raw, raw)
    assert not heatmap.flat


def test_flat_heatmap_says_so() -> None:
    heatmap = Heatmap(torch.zeros(2, 2), "eigencam", "block5", target=None, low=7.0, high=7.0)
    assert heatmap.flat
    assert heatmap.raw.tolist() == [[7, 7], [7, 7]]


def test_prediction_gives_the_likeliest() -> None:
    ranked = (Ranked(2, "cat", 0.7), Ranked(0, "dog", 0.2), Ranked(1, "cow", 0.1))
    prediction = Prediction(torch.tensor([0.2, 0.1, 0.7]).log(), ranked)
    assert prediction.top(2) == ranked[:2]
    assert prediction.top() == tuple(prediction) == ranked
    assert prediction.top(1)[0].label == "cat"


def test_nouns_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        token().stage = "block1"  # type: ignore[misc]
