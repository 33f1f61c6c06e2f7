"""Attention is found in networks that were not made for it, and nothing else is."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import listings
import pytest
import torch
import torch.nn.functional as F
from conftest import count_hooks
from listings import FOUND, NOT_FOUND, Around, C, Function, H, N, W
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vggviz.attention import ATTENTION
from vggviz.hooks import find_attention, finding, probe
from vggviz.hooks.capture import capture
from vggviz.hooks.fused import HEADS
from vggviz.networks import Network
from vggviz.types import Kind

Untouched = Callable[[nn.Module], AbstractContextManager[None]]


def pixels(batch: int = 1, height: int = 2 * H, width: int = 2 * W) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(5))


def around(name: str) -> tuple[Around, Any]:
    torch.manual_seed(3)
    module = FOUND[name][0]()
    return Around(module).eval(), module


# Found, and right ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOUND)
def test_a_popular_module_is_found(name: str, untouched: Untouched) -> None:
    network, module = around(name)
    with torch.no_grad():
        bare = network(pixels())
    kept, module.kept = module.kept, []
    with untouched(network):
        records = find_attention(network, pixels())
    assert [(one.kind, tuple(one.weights.shape)) for one in records] == FOUND[name][1]
    for one, raw in zip(records, kept, strict=True):
        assert one.path.startswith("module")
        assert (one.weights.dtype, one.weights.device.type) == (torch.float32, "cpu")
        same = one.weights.flatten().sort()[0]
        assert torch.equal(same, raw.flatten().sort()[0])  # the same numbers, perhaps rearranged
        if one.kind in ("channel", "spatial", "volume", "branch", "pool"):
            assert torch.equal(one.weights.flatten(), raw.flatten())
    with torch.no_grad(), untouched(network), finding(network):
        assert torch.equal(network(pixels()), bare)  # looked at, and not changed


TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "transpose": lambda w: w.transpose(1, 2),
    "mT": lambda w: w.mT,
    "T": lambda w: w[0].T,
    "adjoint": lambda w: w.adjoint(),
    "mH": lambda w: w.mH,
    "H": lambda w: w[0].H,
}
SHARES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda scores: scores.softmax(-1),
    "softmin": lambda scores: F.softmin(scores, -1),
    "special": lambda scores: torch.special.softmax(scores, -1),
}


@pytest.mark.parametrize(
    ("share", "turn"), [*(("softmax", turn) for turn in TURNS), ("softmin", "mT"), ("special", "T")]
)
def test_pooling_is_found_however_it_is_written(share: str, turn: str) -> None:
    def pooled(_: nn.Module, x: Tensor) -> Tensor:
        weights = SHARES[share](x.mean(1, keepdim=True).flatten(2))  # (B, 1, N)
        return x + (x.flatten(2) @ TURNS[turn](weights))[..., None]

    torch.manual_seed(3)
    network = Around(Function(pooled)).eval()
    (one,) = find_attention(network, pixels())
    assert (one.kind, one.grid) == ("pool", (H, W))
    with torch.no_grad():
        means = network.stem(pixels()).mean(1).flatten()
    torch.testing.assert_close(one.weights, SHARES[share](means))


@pytest.mark.parametrize(
    "equation", ["bchw,bc->bchw", "bc...,bc->bc...", "b...hw, b... -> b...hw", "...hw,...->...hw"]
)
def test_a_gate_is_a_gate_however_its_axes_are_written(equation: str) -> None:
    def gated(module: nn.Module, x: Tensor) -> Tensor:
        return torch.einsum(equation, x, x.mean((2, 3)).sigmoid())

    torch.manual_seed(3)
    (one,) = find_attention(Around(Function(gated)).eval(), pixels())
    assert (one.kind, tuple(one.weights.shape)) == ("channel", (C,))


@pytest.mark.parametrize("name", NOT_FOUND)
def test_what_is_no_attention_is_not_found(name: str) -> None:
    torch.manual_seed(3)
    assert find_attention(Around(Function(NOT_FOUND[name])), pixels()) == []


def test_axes_are_told_apart() -> None:
    """Of coordinate attention: one weight a channel and row, one a channel and column."""
    network, module = around("coordinate")
    columns, rows = find_attention(network, pixels())
    assert (columns.grid, rows.grid) == ((1, W), (H, 1))
    assert torch.equal(columns.weights, module.kept[0][0, :, 0])
    assert torch.equal(rows.weights, module.kept[1][0, :, :, 0])


@pytest.mark.parametrize("width", [2 * W, 2 * H])
def test_triplet_axes_are_those_of_the_features(width: int) -> None:
    """Of a square picture, too, where rows and columns are as many."""
    network, module = around("triplet")
    columns, rows, spatial = find_attention(network, pixels(width=width))
    assert torch.equal(columns.weights, module.kept[0][0, 0])  # (1, C, W) of (H, C, W)
    assert torch.equal(rows.weights, module.kept[1][0, 0].T)  # (1, H, C) of (W, H, C)
    assert (columns.grid, rows.grid, spatial.grid) == ((1, width // 2), (H, 1), (H, width // 2))


def test_as_many_channels_as_rows_and_columns() -> None:
    """An expanded channel gate could be anything by its sizes."""
    network, _ = around("CBAM")
    records = find_attention(network, pixels(1, 2 * C, 2 * C))
    assert [(one.kind, tuple(one.weights.shape)) for one in records] == [
        ("channel", (C,)),
        ("spatial", (C, C)),
    ]


def test_the_class_token_is_told_apart() -> None:
    network, module = around("multi-head")
    (one,) = find_attention(network, pixels())
    raw = module.kept[0][0].mean(0)  # over heads, (1 + N, 1 + N)
    assert (one.grid, one.keys) == ((H, W), (H, W))
    torch.testing.assert_close(one.class_token(), raw[0, 1:].view(H, W))
    torch.testing.assert_close(one.query(2, 3), raw[1 + 2 * W + 3, 1:].view(H, W))
    torch.testing.assert_close(one.received(), raw[1:, 1:].mean(0).view(H, W))
    torch.testing.assert_close(one.received(2), module.kept[0][0, 2, 1:, 1:].mean(0).view(H, W))


@pytest.mark.parametrize("shift", [0, 1])
def test_windows_are_laid_back(shift: int) -> None:
    module = listings.Windows(shift)
    (one,) = find_attention(Around(module), pixels())
    raw = module.kept[0].mean(1)  # (windows, 4, 4), over heads
    assert (one.grid, one.keys) == ((H, W), (H, W))
    received = torch.zeros(H, W)
    for row in range(H):
        for column in range(W):
            # Where this position is in the shifted grid, and its window there.
            y, x = (row - shift) % H, (column - shift) % W
            weights = raw[(y // 2) * (W // 2) + x // 2, (y % 2) * 2 + x % 2]
            wanted = torch.zeros(H, W)
            for index, weight in enumerate(weights):
                key = (y // 2 * 2 + index // 2 + shift) % H, (x // 2 * 2 + index % 2 + shift) % W
                wanted[key] += weight
            torch.testing.assert_close(one.query(row, column), wanted)
            received += wanted / N
    torch.testing.assert_close(one.received(), received)
    with pytest.raises(ValueError, match="no class token"):
        one.class_token()


def test_the_features_that_are_weighed_are_named() -> None:
    network, _ = around("CBAM")
    channel, spatial = find_attention(network, pixels())
    assert (channel.stage, spatial.stage) == (
        "stem",
        "module",
    )  # the second weighs an inner product
    network, _ = around("tuples")
    (one,) = find_attention(network, pixels())
    assert (one.stage, one.path) == ("module.both", "module.both.sigmoid")


def test_weights_are_bit_for_bit_those_of_their_module() -> None:
    network, _ = around("squeeze-and-excitation")
    (record,) = find_attention(network, pixels())
    assert record.path == "module.sigmoid"
    kept: list[Tensor] = []
    handle = network.get_submodule(record.path).register_forward_hook(
        lambda _, __, output: kept.append(output)
    )
    with torch.no_grad():
        network(pixels())
    handle.remove()
    assert torch.equal(record.weights, kept[0][0])


def test_later_changes_in_place_do_not_reach_the_record() -> None:
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            gate = x.mean(1, keepdim=True).sigmoid()
            y = x * gate
            gate.zero_()
            return y

    network = Around(Doubled())
    for places in (None, probe(network, pixels())):
        with torch.no_grad(), finding(network, places) as findings:
            network(pixels())
        assert findings[0].weights.min() > 0


def test_nothing_in_a_network_without_attention() -> None:
    assert find_attention(Around(nn.Identity()), pixels()) == []


@pytest.mark.parametrize("attention", ATTENTION)
def test_taps_and_findings_tell_the_same(
    attention: str, small_vgg: Callable[..., Network], pictures: Callable[..., Tensor]
) -> None:
    """In our own networks, whose taps say what is attention, and of which kind."""
    model = small_vgg(attention=attention, stages=("block4", "block5"), blend="replace").eval()
    with torch.no_grad(), capture(model) as trace, finding(model) as findings:
        model(pictures(2))
    taps = list(trace.taps.values())
    assert len(taps) == len(findings) > 0
    for tap, found in zip(taps, findings, strict=True):
        assert (found.kind, found.grid, found.keys) == (tap.kind, tap.grid, tap.keys)
        assert torch.equal(found.weights, tap.weights)


@pytest.mark.parametrize("form", ["inference", "bfloat16", "float64", "channels last", "autocast"])
def test_other_forms_of_the_same_network(form: str) -> None:
    network, module = around("CBAM")
    x = pixels()
    if form in ("bfloat16", "float64"):
        network, x = network.to(getattr(torch, form)), x.to(getattr(torch, form))
    if form == "channels last":
        network = network.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    with (
        torch.inference_mode(form == "inference"),
        torch.autocast("cpu", torch.bfloat16, enabled=form == "autocast"),
    ):
        records = find_attention(network, x)
    assert [one.kind for one in records] == ["channel", "spatial"]
    for one, raw in zip(records, module.kept, strict=True):
        assert torch.equal(one.weights.flatten(), raw.flatten().float())


# Fused functions -------------------------------------------------------------------------------

SDPA: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled": {"scale": 0.3},
    "causal": {"is_causal": True},
    "bias": {"attn_mask": torch.randn(7, 9, generator=torch.Generator().manual_seed(1))},
    "mask": {"attn_mask": torch.rand(7, 9, generator=torch.Generator().manual_seed(1)) > 0.4},
    "a query without keys": {"attn_mask": torch.arange(7)[:, None].expand(7, 9) != 2},
    "grouped": {"enable_gqa": True},
}


class Attending(nn.Module):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, **self.options)


@pytest.mark.parametrize("name", SDPA)
def test_fused_attention_is_opened_and_agrees(name: str) -> None:
    generator = torch.Generator().manual_seed(2)
    groups = 2 if name == "grouped" else 4
    shapes = [(1, 4, 7, 6), (1, groups, 9, 6), (1, groups, 9, 5)]
    q, k, v = (torch.randn(shape, generator=generator) for shape in shapes)
    network = Attending(SDPA[name])
    wanted = network(q, k, v)
    with finding(network) as findings:
        got = network(q, k, v)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)
    (found,) = findings
    weights = found.weights.reshape(1, 4, 7, 9)
    wide = v.repeat_interleave(4 // groups, 1)
    torch.testing.assert_close(weights @ wide, wanted, rtol=0, atol=1e-6)


HEADS_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "other keys": {"kdim": 5, "vdim": 7},
    "bias of keys": {"add_bias_kv": True},
    "zeros": {"add_zero_attn": True},
    "all": {"kdim": 5, "vdim": 7, "add_bias_kv": True, "add_zero_attn": True},
}


@pytest.mark.parametrize("name", HEADS_OPTIONS)
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention_is_opened_and_agrees(name: str, batch: int, masked: bool) -> None:
    torch.manual_seed(4)
    options = HEADS_OPTIONS[name]
    layer = nn.MultiheadAttention(12, 3, **options).eval()
    sizes = [(7, 12), (9, options.get("kdim", 12)), (9, options.get("vdim", 12))]
    axis = 0 if options.get("batch_first") else 1
    q, k, v = (
        torch.randn(length, width) if batch == 0 else torch.randn(batch, length, width)
        for length, width in sizes
    )
    if batch and axis == 1:
        q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    mask = torch.rand(7, 9) > 0.8 if masked else None
    wanted, averaged = layer(q, k, v, attn_mask=mask)
    each = layer(q, k, v, attn_mask=mask, average_attn_weights=False)[1]
    assert layer(q, k, v, attn_mask=mask, need_weights=False)[1] is None

    class Changing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Any:
            return self.layer(q, k, v, attn_mask=mask, need_weights=False)

    network = Changing()
    with torch.no_grad(), finding(network) as findings:
        output, none = network(q, k, v)
    assert none is None
    torch.testing.assert_close(output, wanted, rtol=0, atol=1e-6)
    (found,) = findings
    assert (found.place.path, found.place.function) == ("layer", HEADS)
    assert torch.equal(found.weights.flatten(), each.flatten())
    # The same by the way that is taken where weights are changed.
    with torch.no_grad(), finding(network, [found.place], change=lambda _, __, w: w * 1) as again:
        output, _ = network(q, k, v)
    torch.testing.assert_close(output, wanted, rtol=0, atol=1e-6)
    assert torch.equal(again[0].weights.flatten(), each.flatten())
    with torch.no_grad(), finding(layer) as findings:
        _, mean = layer(q, k, v, attn_mask=mask)
    torch.testing.assert_close(mean, averaged)


def test_fast_paths_are_turned_off() -> None:
    """`nn.TransformerEncoder` in evaluation mode without gradients would run in one function."""
    layer = nn.TransformerEncoderLayer(12, 3, 24, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(1, 9, 12)
    with torch.no_grad():
        wanted = encoder(x)
        with finding(encoder) as findings:
            got = encoder(x)
        with finding(encoder, [one.place for one in findings]) as again:
            encoder(x)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)
    assert [one.place.path for one in findings] == ["layers.0.self_attn", "layers.1.self_attn"]
    assert len(again) == 2


# Known places: looking, cutting, changing ------------------------------------------------------


@pytest.mark.parametrize("name", FOUND)
def test_at_known_places_the_same_is_seen(name: str, untouched: Untouched) -> None:
    """Of a batch, too, whose pictures don't mix: the places come from a pass with one picture."""
    network, _ = around(name)
    places = probe(network, pixels())
    batch = pixels(3)[:1] if name == "kernels" else pixels(3)  # its kernels are one picture's
    with torch.no_grad(), untouched(network), finding(network, places) as findings:
        network(batch)
    assert [found.place for found in findings] == places
    for row in range(len(batch)):
        for found, alone in zip(
            findings, find_attention(network, batch[row : row + 1]), strict=True
        ):
            record = found.record(row)
            assert (record.kind, record.path, record.stage) == (alone.kind, alone.path, alone.stage)
            assert (record.grid, record.keys) == (alone.grid, alone.keys)
            torch.testing.assert_close(record.weights, alone.weights)


@pytest.mark.parametrize("name", sorted(set(FOUND) - {"kernels"}))
def test_places_do_not_depend_on_the_batch(name: str) -> None:
    network, _ = around(name)
    for one, other in zip(probe(network, pixels()), probe(network, pixels(3)), strict=True):
        assert (one.path, one.function, one.index) == (other.path, other.function, other.index)
        assert (one.stage, one.kind, one.shape) == (other.stage, other.kind, other.shape)
        assert (one.layout.shape, one.layout.grid) == (other.layout.shape, other.layout.grid)


@pytest.mark.parametrize("name", FOUND)
def test_weights_go_back_to_where_they_were(name: str) -> None:
    """Arranged by kind, changed, and laid back: with a copy the network answers as before, with
    other weights it does not."""
    network, _ = around(name)
    places = probe(network, pixels())
    with torch.no_grad():
        bare = network(pixels())
        with finding(network, places, change=lambda path, kind, weights: weights.clone()):
            assert torch.equal(network(pixels()), bare)
        with finding(network, places, change=lambda path, kind, weights: weights * 0.5 + 0.1):
            assert not torch.equal(network(pixels()), bare)


class Split(nn.Module):
    """A network whose parts are known: below, a gate, above, another gate and the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.gate = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1)
        self.above, self.fc = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 4)
        self.head = nn.Linear(4, 5)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.below(x))

    def spatial(self, y: Tensor) -> Tensor:
        return self.gate(y).sigmoid()

    def channel(self, z: Tensor) -> Tensor:
        return self.fc(z.mean((2, 3))).sigmoid()[..., None, None]

    def rest(self, y: Tensor, spatial: Tensor, channel: Tensor | None = None) -> Tensor:
        z = F.relu(self.above(y * spatial))
        z = z * (self.channel(z) if channel is None else channel)
        return self.head(z.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        return self.rest(y, self.spatial(y))


def split() -> Split:
    torch.manual_seed(6)
    return Split().eval()


def test_the_graph_begins_at_the_weights(untouched: Untouched) -> None:
    network, x = split(), pixels(2)
    spatial, channel = probe(network, x)
    with torch.no_grad():
        y = network.features(x)
    leaf = network.spatial(y).detach().requires_grad_()
    inner = network.channel(F.relu(network.above(y * leaf)))
    wanted = torch.autograd.grad(network.rest(y, leaf, inner)[:, 3].sum(), [leaf, inner])
    with (
        untouched(network),
        torch.no_grad(),
        finding(network, [spatial, channel], graph=[spatial, channel]) as found,
        capture(network, ["below"]) as trace,
    ):
        logits = network(x)
    assert not trace.outputs["below"].requires_grad  # nothing below is recorded
    assert (found[0].weights.is_leaf, found[1].weights.is_leaf) == (True, False)
    assert [found[0].weights.shape, found[1].weights.shape] == [(2, 12, 20), (2, 4)]
    got = torch.autograd.grad(logits[:, 3].sum(), [one.weights for one in found])
    torch.testing.assert_close(got[0], wanted[0][:, 0])
    torch.testing.assert_close(got[1], wanted[1][..., 0, 0])


def test_only_the_named_places_begin_a_graph() -> None:
    network, x = split(), pixels()
    spatial, channel = probe(network, x)
    with torch.no_grad(), finding(network, [spatial, channel], graph=[channel]) as found:
        network(x)
    assert [one.weights.requires_grad for one in found] == [False, True]
    with torch.no_grad():
        with finding(network, [spatial, channel], graph=[channel]):
            assert network(x).requires_grad
        assert not torch.is_grad_enabled()
    assert found[1].weights.is_leaf


@pytest.mark.parametrize("name", ["multi-head", "windows", "talking heads", "triplet", "dual"])
def test_gradients_of_rearranged_weights(name: str) -> None:
    """The derivative along a direction, by the graph and by two passes with changed weights."""
    network, _ = around(name)
    network.double()
    x = pixels().double()
    place = probe(network, x)[0]
    with torch.no_grad(), finding(network, [place], graph=[place]) as found:
        logits = network(x)
    (gradient,) = torch.autograd.grad(logits[0, 1], [found[0].weights])
    direction = torch.randn_like(gradient)
    ends = []
    for step in (-1e-5, 1e-5):
        with (
            torch.no_grad(),
            finding(network, [place], change=lambda _, __, w, step=step: w + step * direction),
        ):
            ends.append(network(x)[0, 1])
    torch.testing.assert_close(
        (ends[1] - ends[0]) / 2e-5, (gradient * direction).sum(), rtol=1e-5, atol=1e-10
    )


def test_a_capture_below_keeps_its_graph() -> None:
    """Beside Grad-CAM at a lower layer the weights are points within that layer's graph."""
    network, x = split(), pixels()
    places = probe(network, x)
    with (
        torch.no_grad(),
        finding(network, places, graph=places) as found,
        capture(network, ["below"], graph=["below"]) as trace,
    ):
        logits = network(x)
    points = [trace.outputs["below"], *(one.weights for one in found)]
    below = torch.autograd.grad(logits[0, 2], points)[0]
    leaf = network.below(x).detach().requires_grad_()
    y = F.relu(leaf)
    (wanted,) = torch.autograd.grad(network.rest(y, network.spatial(y))[0, 2], [leaf])
    torch.testing.assert_close(below, wanted)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": torch.ones_like,
    "mean": lambda w: w.mean().expand_as(w),
    "shuffled": lambda w: w.flatten().flip(0).view_as(w),
    "inverted": lambda w: w.min() + w.max() - w,
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_weights_in_their_place(name: str, untouched: Untouched) -> None:
    network, x = split(), pixels()
    places, change = probe(network, x), CHANGES[name]
    seen: list[tuple[str, Kind, tuple[int, ...]]] = []

    def replace(path: str, kind: Kind, weights: Tensor) -> Tensor:
        seen.append((path, kind, tuple(weights.shape)))
        return change(weights)

    with torch.no_grad():
        y = network.features(x)
        spatial = change(network.spatial(y))
        channel = change(network.channel(F.relu(network.above(y * spatial))))
        wanted = network.rest(y, spatial, channel)
        with untouched(network), finding(network, places, change=replace) as found:
            got = network(x)
    torch.testing.assert_close(got, wanted)
    assert seen == [("", "spatial", (1, 12, 20)), ("", "channel", (1, 4))]
    assert torch.equal(found[0].weights, spatial[:, 0])  # what the network went on with
    with torch.no_grad(), finding(network, places[1:], change=replace):
        one = network(x)  # the other place is left alone
    assert not torch.equal(one, got)


def test_changed_weights_are_where_the_graph_begins() -> None:
    network, x = split(), pixels()
    places = probe(network, x)
    with (
        torch.no_grad(),
        finding(network, places, graph=places, change=lambda _, __, w: w * 0 + 0.5) as found,
    ):
        logits = network(x)
    assert torch.equal(found[0].weights.detach(), torch.full((1, 12, 20), 0.5))
    assert torch.autograd.grad(logits[0, 0], [found[0].weights])[0].abs().max() > 0


# Errors ----------------------------------------------------------------------------------------


def test_a_change_of_shape_is_refused(untouched: Untouched) -> None:
    network = split()
    places = probe(network, pixels())
    with (
        untouched(network),
        pytest.raises(
            ValueError, match=r"must keep their shape \(1, 12, 20\), not become \(1, 12\)"
        ),
        torch.no_grad(),
        finding(network, places, change=lambda _, __, weights: weights[..., 0]),
    ):
        network(pixels())


def test_a_picture_of_another_size_must_be_probed() -> None:
    network, _ = around("SimAM")
    places = probe(network, pixels())
    with (
        pytest.raises(ValueError, match="probed with pictures of another size"),
        torch.no_grad(),
        finding(network, places),
    ):
        network(pixels(1, 16, 16))


def test_nothing_is_cut_or_changed_at_unknown_places() -> None:
    network = split()
    for options in ({"graph": probe(network, pixels())}, {"change": lambda _, __, w: w}):
        with pytest.raises(ValueError, match="probe first"), finding(network, **options):
            pytest.fail("the block was entered")


def test_places_must_be_the_networks_own() -> None:
    one, other = split(), around("SimAM")[0]
    with (
        pytest.raises(ValueError, match="the model has no module 'module'"),
        finding(one, probe(other, pixels())),
    ):
        pytest.fail("the block was entered")
    places = probe(one, pixels())
    with (
        pytest.raises(ValueError, match="`graph` must be among those that are looked at"),
        finding(one, places[:1], graph=places),
    ):
        pytest.fail("the block was entered")


@pytest.mark.parametrize("shape", [(3, 12, 20), (2, 3, 12, 20)])
def test_one_picture_is_wanted(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"pixels must be \(1, C, H, W\)"):
        find_attention(split(), torch.zeros(shape))


def test_what_runs_without_python_is_refused(untouched: Untouched) -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.Sigmoid()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is on its way out
        network[1] = torch.jit.script(network[1])
    with pytest.raises(ValueError, match=r"the module '1' is scripted and can't be looked into"):
        find_attention(network, pixels())
    network = split()
    network.above.compile()
    with pytest.raises(ValueError, match=r"the module 'above' is compiled"):
        find_attention(network, pixels())
    with pytest.raises(ValueError, match=r"the network is compiled .* load the plain module"):
        find_attention(torch.compile(split()), pixels())


class Raising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise LookupError


@pytest.mark.parametrize("known", [False, True])
def test_an_exception_leaves_everything_as_it_was(known: bool, untouched: Untouched) -> None:
    network = split()
    places = probe(network, pixels()) if known else None
    network.train()
    network.head = Raising()

    def run() -> None:
        with torch.no_grad(), finding(network, places, graph=places or ()):
            assert count_hooks(network) > 0
            network(pixels())

    with untouched(network), pytest.raises(LookupError):
        run()
    assert not torch.overrides._get_current_function_mode_stack()


def test_a_caught_exception_does_not_confuse_paths() -> None:
    class Trying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bad, self.gate = nn.Sequential(Raising()), nn.Conv2d(16, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            try:
                self.bad(x)
            except LookupError:
                return x * self.gate(x).sigmoid()

    (record,) = find_attention(Around(Trying()), pixels())
    assert record.path == "module"


# Whose it is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
def test_others_passes_through_the_same_network_are_not_seen(known: bool) -> None:
    """Four threads, each with pictures of its own, start together, many times; one more runs the
    bare network all the while."""
    network, _ = around("squeeze-and-excitation")
    network.module.keep = lambda weights: weights  # its list is everybody's
    places = probe(network, pixels()) if known else None
    pictures = [torch.randn(1, 3, 2 * H, 2 * W) for _ in range(4)]
    with torch.no_grad():
        wanted = [find_attention(network, x)[0].weights for x in pictures]
        bare = network(pictures[0])
    barrier, over, wrong = threading.Barrier(4), threading.Event(), []

    def look(index: int) -> None:
        try:
            for _ in range(25):
                barrier.wait(60)
                with torch.no_grad(), finding(network, places) as found:
                    network(pictures[index])
                if len(found) != 1 or not torch.equal(found[0].weights[0], wanted[index]):
                    wrong.append(index)
        except BaseException as error:
            wrong.append(error)
            barrier.abort()

    def run() -> None:
        while not over.is_set():
            with torch.no_grad():
                if not torch.equal(network(pictures[0]), bare):
                    wrong.append("bare")

    threads = [threading.Thread(target=look, args=(index,)) for index in range(4)]
    other = threading.Thread(target=run)
    for thread in (*threads, other):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    other.join()
    assert wrong == []
    assert count_hooks(network) == 0


def test_nested_findings_see_each_only_its_own() -> None:
    network = split()
    places = probe(network, pixels())
    one, other = pixels(2)[:1], pixels(2)[1:]
    wanted = [find_attention(network, x)[0].weights for x in (one, other)]
    with torch.no_grad(), finding(network) as outer:
        network(one)
        with finding(network, places, change=lambda _, __, w: w * 0) as inner:
            network(other)
        assert find_attention(network, other)[0].weights.equal(wanted[1])
    assert len(outer) == len(inner) == 2
    assert torch.equal(outer[0].weights[0], wanted[0])
    assert inner[0].weights.abs().max() == 0


def test_of_several_passes_the_last_is_kept() -> None:
    network = split()
    for places in (None, probe(network, pixels())):
        with torch.no_grad(), finding(network, places) as found:
            network(pixels(2)[:1])
            network(pixels(2)[1:])
        assert len(found) == 2
        alone = find_attention(network, pixels(2)[1:])[0]
        assert torch.equal(found[0].weights[0], alone.weights)


def test_other_function_modes_go_on_working() -> None:
    class Counting(TorchFunctionMode):
        def __init__(self) -> None:
            super().__init__()
            self.names = Counter[str]()

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.names[func.__name__] += 1
            return func(*args, **(kwargs or {}))

    network, mode = split(), Counting()
    with mode:
        assert len(find_attention(network, pixels())) == 2
    assert mode.names["sigmoid"] == 2


# The zoo ---------------------------------------------------------------------------------------

# Sizes of pictures, options that make networks small, and how much of each kind there is.
TORCHVISION: dict[str, tuple[int, dict[str, Any], dict[str, int]]] = {
    "vgg11_bn": (64, {"init_weights": False}, {}),
    "resnet18": (64, {}, {}),
    "densenet121": (64, {}, {}),
    "mobilenet_v2": (64, {}, {}),
    "convnext_tiny": (64, {}, {}),
    "inception_v3": (80, {"init_weights": False}, {}),
    "googlenet": (64, {"init_weights": False}, {}),
    "shufflenet_v2_x0_5": (64, {}, {}),
    "squeezenet1_0": (64, {}, {}),
    "mnasnet0_5": (64, {}, {}),
    "efficientnet_b0": (64, {}, {"channel": 16}),
    "mobilenet_v3_small": (64, {}, {"channel": 9}),
    "regnet_y_400mf": (64, {}, {"channel": 16}),
    "VisionTransformer": (
        64,
        {"image_size": 64, "patch_size": 16, "num_layers": 3}
        | {"num_heads": 4, "hidden_dim": 32, "mlp_dim": 64},
        {"token": 3},
    ),
    "SwinTransformer": (
        112,
        {"patch_size": [4, 4], "embed_dim": 12, "depths": [2, 2]}
        | {"num_heads": [2, 4], "window_size": [7, 7]},
        {"token": 4},
    ),
}
TIMM: dict[str, tuple[int, dict[str, Any], dict[str, int]]] = {
    "seresnet50": (64, {}, {"channel": 16}),
    "legacy_seresnet18": (64, {}, {"channel": 8}),
    "eca_nfnet_l0": (64, {}, {"channel": 12}),
    "ecaresnet50t": (64, {}, {"channel": 16}),
    "skresnet18": (64, {}, {"branch": 8}),
    "resnest14d": (64, {}, {"branch": 4}),
    "gcresnet50t": (64, {}, {"pool": 16}),
    "deit_tiny_patch16_224": (224, {"depth": 2}, {"token": 2}),
    "deit_tiny_distilled_patch16_224": (224, {"depth": 2}, {"token": 2}),
    "levit_128s": (224, {}, {"token": 11}),
    "botnet26t_256": (256, {}, {"token": 3}),
    "halonet26t": (256, {}, {"other": 3}),
    "coatnet_pico_rw_224": (224, {}, {"channel": 5, "token": 7}),
    "davit_tiny": (224, {"depths": (1, 1, 1, 1)}, {"token": 4, "other": 4}),  # channel groups
    "xcit_nano_12_p16_224": (224, {"depth": 2}, {"other": 2, "token": 2}),  # channels, then class
    "cait_xxs24_224": (224, {"depth": 2}, {"token": 4}),  # talking heads
    "volo_d1_224": (224, {}, {"other": 4, "token": 16}),  # outlooks
    "swin_tiny_patch4_window7_224": (224, {"depths": (2, 2, 1, 1)}, {"token": 6}),
    "maxvit_rmlp_pico_rw_256": (256, {}, {"channel": 11, "token": 22}),  # windows and dilated grids
    "nest_tiny_jx": (224, {}, {"token": 12}),
    # Windows within windows: only the coarsest cells are in order, those of the last block.
    "hiera_tiny_224": (224, {}, {"token": 1, "other": 11}),
    "twins_svt_small": (224, {"depths": (2, 2, 2, 1)}, {"token": 7}),
    "convit_tiny": (224, {"depth": 3, "local_up_to_layer": 2}, {"token": 3}),
    "tf_efficientnet_cc_b0_4e": (64, {}, {"channel": 16, "other": 8}),  # experts
    "mixer_s32_224": (224, {}, {}),
    "convnextv2_atto": (64, {}, {}),
    "mobilenetv4_conv_small": (64, {}, {}),
}


def check(network: nn.Module, size: int, kinds: dict[str, int], untouched: Untouched) -> None:
    x = pixels(1, size, size)
    with torch.no_grad():
        bare = network.eval()(x)
    with untouched(network):
        records = find_attention(network, x)
    assert Counter(one.kind for one in records) == kinds
    modules = dict(network.named_modules())
    assert all(one.path in modules and one.stage in modules for one in records)
    returned = {path: modules[path] for path in {one.path for one in records}}
    kept: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _, __, output, path=path: kept.update({path: output}))
        for path, module in returned.items()
        if isinstance(module, nn.Sigmoid | nn.Hardsigmoid | nn.Softmax)
    ]
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    for one in records:
        if one.kind == "token":
            assert one.keys is not None
            mass = one.query(one.grid[0] - 1, one.grid[1] - 1).sum()
            assert 0 < mass < 1 + 1e-5
        if one.path in kept:  # bit for bit, but for the order of windows
            raw = kept[one.path].flatten()
            assert torch.equal(one.weights.flatten().sort()[0], raw.sort()[0])
    places = probe(network, x)
    with torch.no_grad(), finding(network, places) as findings:
        again = network(x)
    torch.testing.assert_close(again, bare, rtol=1e-4, atol=1e-5)
    assert [found.place for found in findings] == places
    for found, record in zip(findings, records, strict=True):
        assert torch.equal(found.record().weights, record.weights)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str, untouched: Untouched) -> None:
    models = pytest.importorskip("torchvision.models")
    size, options, kinds = TORCHVISION[name]
    torch.manual_seed(0)
    check(getattr(models, name)(**options), size, kinds, untouched)


@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str, untouched: Untouched) -> None:
    timm = pytest.importorskip("timm", reason="the package timm is missing")
    size, options, kinds = TIMM[name]
    torch.manual_seed(0)
    check(timm.create_model(name, **options), size, kinds, untouched)
