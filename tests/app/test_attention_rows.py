"""What a page is sent of the attention of all positions."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import torch

from vggviz.app.attention_rows import attention_rows, find_sinks
from vggviz.plotting.scale import colour_scale
from vggviz.types import AttentionRecord


def record(
    heads: int = 3, grid: tuple[int, int] = (4, 5), keys: tuple[int, int] = (2, 3), extra: int = 0
) -> AttentionRecord:
    """Random attention; `extra` tokens without a position stand first."""
    shape = (heads, grid[0] * grid[1] + extra, keys[0] * keys[1] + extra)
    logits = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return AttentionRecord("block4", "token", logits.softmax(-1), grid, keys)


def maps(sent: dict[str, Any], view: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(layers, queries, h, w)."""
    flat = np.frombuffer(base64.b64decode(sent["views"][view]["maps"]), np.uint8)
    return flat.reshape(sent["layers"], sent["count"], *sent["keys"])


@pytest.mark.parametrize("extra", [0, 1])
def test_maps_are_those_of_the_record_to_half_a_byte(extra: int) -> None:
    one = record(extra=extra)
    sent = attention_rows(one, 0)
    found = maps(sent)
    assert found.shape == (4, 20, 2, 3)
    for layer, head in enumerate((None, 0, 1, 2)):
        for query in range(20):
            raw = one.query(query // 5, query % 5, head).numpy()
            scale = colour_scale(raw)
            assert np.abs(found[layer, query] / 255 - scale.unit(raw)).max() <= 0.5 / 255 + 1e-6
            assert sent["views"][0]["tops"][layer][query] == scale.range_text[1]
    assert sent["views"][0]["flat"] == []


def test_words_by_hand() -> None:
    """Of four places each looks at the last with 0.6, at the first with 0.1."""
    weights = torch.tensor([[[0.1, 0.1, 0.2, 0.6]] * 4] * 2)
    (view, rest) = attention_rows(AttentionRecord("b", "token", weights, (2, 2), (2, 2)), 0)[
        "views"
    ]
    assert view["readings"][0] == [3, "60%", "10%", 1, False]
    assert view["readings"][3] == [3, "60%", "60%", 1, False]
    assert (view["places"], view["even"]) == (4, "25%")
    assert rest["readings"][0] == [2, "50%", "25%", 1, False]  # 0.1, 0.1 and 0.2 of 0.4
    assert rest["readings"][3] == [2, "50%", "0.0%", 1, False]
    assert (rest["places"], rest["even"]) == (3, "33%")
    even = AttentionRecord("b", "token", torch.full((2, 4, 4), 0.25), (2, 2), (2, 2))
    sent = attention_rows(even, 0)
    (view,) = sent["views"]
    assert view["readings"][1] == [0, "25%", "25%", 2, True]
    assert len(view["flat"]) == sent["layers"] * 4
    assert view["tops"][0][0] == colour_scale(np.full((2, 2), 0.25)).range_text[0] == "0.25"


def test_digits_are_those_of_the_weights_not_of_the_bytes() -> None:
    """A weight of 0.1 beside 0.9 is 28.3 bytes: 28 of them would be 9.9%."""
    weights = torch.tensor([[[0.9, 0.1]] * 2])
    view = attention_rows(AttentionRecord("b", "token", weights, (1, 2), (1, 2)), 0)["views"][0]
    assert view["readings"][1] == [0, "90%", "10%", 1, False]


def test_without_sinks_each_head_is_divided_anew() -> None:
    weights = torch.tensor([[[0.8, 0.1, 0.1, 0.0]] * 4, [[0.4, 0.0, 0.3, 0.3]] * 4])
    one = AttentionRecord("b", "token", weights, (2, 2), (2, 2))
    assert find_sinks(one) == (0,)  # 0.6 of each, the average of 0.8 and 0.4
    sent = attention_rows(one, 0)
    assert sent["sinks"] == [0]
    # heads: (0, .5, .5, 0) and (0, 0, .5, .5); the average (0, .25, .5, .25)
    assert maps(sent, 1)[:, 0].reshape(3, 4).tolist() == [
        [0, 128, 255, 128],
        [0, 255, 255, 0],
        [0, 0, 255, 255],
    ]
    assert [tops[0] for tops in sent["views"][1]["tops"]] == ["0.50"] * 3


def test_what_is_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    one = record()
    whole = attention_rows(one, 7)
    assert attention_rows(one, 7, alone=True)["count"] == 1
    for limit, layers, count, first in ((480, 4, 20, 0), (479, 1, 20, 0), (119, 4, 1, 7)):
        monkeypatch.setattr("vggviz.app.attention_rows.LIMIT", limit)
        sent = attention_rows(one, 7)
        assert (sent["layers"], sent["count"], sent["first"]) == (layers, count, first)
        assert sent["heads"] == 3
        held = slice(first, first + count)
        np.testing.assert_array_equal(maps(sent), maps(whole)[:layers, held])
        assert sent["views"][0]["readings"] == whole["views"][0]["readings"][held]


def test_windows_are_laid_on_the_grid() -> None:
    """Each of four queries sees its own two keys of four."""
    weights = torch.tensor([[[0.75, 0.25]] * 4])
    where = torch.tensor([[0, 1], [1, 0], [2, 3], [3, 2]])
    one = AttentionRecord("b", "token", weights, (2, 2), (2, 2), positions=where)
    sent = attention_rows(one, 0)
    assert sent["sinks"] == []
    for query in range(4):
        expected = one.query(query // 2, query % 2)
        found = 0.75 * maps(sent)[0, query] / 255
        assert np.abs(found - expected.numpy()).max() < 0.002


def test_numbers_that_are_none_are_drawn_as_nothing() -> None:
    weights = torch.full((1, 4, 4), float("nan"))
    sent = attention_rows(AttentionRecord("b", "token", weights, (2, 2), (2, 2)), 0)
    assert maps(sent).max() == 0
    assert sent["views"][0]["tops"][0][0] == "–"
