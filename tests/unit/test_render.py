"""Colours and overlays by hand, and what stands on the figure."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from vggviz import plotting as render
from vggviz.locales import LANGUAGES, section
from vggviz.plotting import fonts
from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked

STAGES = ("block1", "block2", "block3", "block4", "block5")
LABELS = ("tabby cat", "goldfish", "koala", "teapot", "barn", "school bus", "$x_1$ & <b>pizza</b>")
METHODS = ("gradcam", "gradcam++", "attention*gradient", "eigencam", "scorecam")


def crop(size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def prediction(labels: Sequence[str] = LABELS) -> Prediction:
    logits = torch.arange(len(labels), 0, -1).float()
    shares = logits.softmax(0).tolist()
    ranked = (Ranked(i, n, p) for i, (n, p) in enumerate(zip(labels, shares, strict=True)))
    return Prediction(logits, tuple(ranked))


def record(kind: str, stage: str, seed: int = 0, scale: float = 1.0) -> AttentionRecord:
    shapes = {"channel": (24,), "spatial": (4, 6), "volume": (8, 4, 6), "token": (2, 24, 6)}
    weights = torch.rand(shapes.get(kind, (24,)), generator=torch.Generator().manual_seed(seed))
    keys = (2, 3) if kind == "token" else None
    return AttentionRecord(stage, kind, weights * scale, (4, 6), keys)  # type: ignore[arg-type]


def heatmap(
    method: str, stage: str, low: float = 0.0, high: float = 1.0, target: int | None = 0
) -> Heatmap:
    values = torch.linspace(0, 1, 16).reshape(4, 4) if high > low else torch.zeros(4, 4)
    return Heatmap(values, method, stage, target, low, high)


def full(
    stages: Sequence[str], methods: Sequence[str], kinds: Sequence[str], **more: Any
) -> Figure:
    attention = {
        stage: tuple(record(kind, stage, seed) for seed, kind in enumerate(kinds))
        for stage in stages
    }
    maps = {
        (stage, method): heatmap(method, stage, 0.0123 * n, 4.56 * 10**-n)
        for n, stage in enumerate(stages)
        for method in methods
    }
    return figure_of(crop(), prediction(), attention, maps, **more)


def figure_of(
    picture: np.ndarray, predicted: Prediction, attention: Any, maps: Any, **more: Any
) -> Figure:
    rows = render.panels(
        attention, maps, lang=more.get("lang", "en"), scale=more.pop("scale", "raw")
    )
    return render.figure(picture, predicted, rows, **{"title": "T", **more})


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def panel(figure: Figure, name: str) -> Axes:
    (found,) = [axes for axes in figure.axes if axes.get_label() == name]
    return found


def around(figure: Figure, name: str) -> list[str]:
    """The texts of a panel: in its column, from its heading to its notes, top down."""
    box = panel(figure, name).get_position()
    width, height = figure.get_size_inches()
    found = [
        (-y, x, text.get_text())
        for text in figure.texts
        for x, y in [text.get_position()]
        if box.x0 - 0.27 / width <= x <= box.x1 + 0.01 / width
        and box.y0 - 0.85 / height <= y <= box.y1 + 0.55 / height
    ]
    return [text for *_, text in sorted(found)]


def number(text: str) -> float:
    """1.5e-7 of '1.5×10⁻⁷'."""
    mantissa, _, power = text.partition("×10")
    return float(mantissa) * 10.0 ** int(
        power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0
    )


def boxes(figure: Figure) -> list[tuple[Text, Bbox]]:
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    return [(text, text.get_window_extent(renderer)) for text in figure.texts]


# Colours


@pytest.mark.parametrize("colormap", render.COLORMAPS)
def test_colours_are_those_of_matplotlib(colormap: str) -> None:
    values = np.linspace(-0.1, 1.1, 1200).reshape(3, 400)
    expected = matplotlib.colormaps[colormap](values)[..., :3]
    found = render.colours(values, colormap)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_nan_is_neutral_grey_and_its_neighbours_keep_their_colour() -> None:
    found = render.colours(np.array([[0.0, np.nan, 1.0]]))
    np.testing.assert_array_equal(found[0, 1], [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(found[0, ::2], render.colours(np.array([[0.0, 1.0]]))[0])


def test_an_unknown_colormap_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no colour map 'jet': choose one of inferno, viridis"):
        render.colours(np.zeros((2, 2)), "jet")


def test_who_changes_colours_changes_no_table() -> None:
    render.colours(np.zeros((1, 1)))[:] = 7
    assert render.colours(np.zeros((1, 1))).max() < 0.1


# Resizing


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(
    ("small", "large"),
    [
        ((4, 4), (64, 64)),
        ((7, 5), (224, 31)),
        ((1, 1), (9, 8)),
        ((1, 6), (5, 50)),
        ((14, 14), (14, 14)),
        ((56, 40), (13, 17)),
    ],
)
def test_resize_is_that_of_torch(
    small: tuple[int, int], large: tuple[int, int], dtype: type
) -> None:
    values = np.random.default_rng(1).random(small).astype(dtype)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values.astype(np.float32))[None, None],
        large,
        mode="bilinear",
        align_corners=False,
    )[0, 0].numpy()
    found = render.resize(values, large)
    assert found.shape == large
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_resize_by_hand() -> None:
    found = render.resize(np.array([[0.0, 1.0]]), (1, 4))
    np.testing.assert_allclose(found, [[0.0, 0.25, 0.75, 1.0]])


def test_resize_of_a_transposed_and_reversed_view() -> None:
    values = np.random.default_rng(2).random((6, 4))
    view = values.T[::-1]
    np.testing.assert_array_equal(render.resize(view, (9, 9)), render.resize(view.copy(), (9, 9)))


def test_nan_keeps_to_its_cell_when_resized() -> None:
    found = render.resize(np.array([[0.2, np.nan, 0.8]]), (1, 12))
    # The outer cells have no known neighbour to mix with, so they stay as they are.
    np.testing.assert_allclose(found, [[0.2] * 4 + [np.nan] * 4 + [0.8] * 4], rtol=1e-6)
    assert np.isnan(render.resize(np.full((2, 2), np.nan), (5, 5))).all()


# Overlays

IMAGE = np.array([[[10, 20, 31], [255, 0, 128]]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("opacity", "expected"),
    [
        # inferno begins at (0.373, 0.119, 3.536) and ends at (252.032, 254.583, 164.456) of 255
        (0.0, [[10, 20, 31], [255, 0, 128]]),
        (0.25, [[8, 15, 24], [254, 64, 137]]),  # 7.59 15.03 24.13, 254.26 63.65 137.11
        (0.5, [[5, 10, 17], [254, 127, 146]]),  # 5.19 10.06 17.27, 253.52 127.29 146.23
        (1.0, [[0, 0, 4], [252, 255, 164]]),
    ],
)
def test_overlay_pixel_by_pixel(opacity: float, expected: list[list[int]]) -> None:
    found = render.overlay(IMAGE, np.array([[0.0, 1.0]]), opacity, "inferno")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], expected)


def test_overlay_resizes_the_map_and_not_its_colours() -> None:
    image = np.full((1, 4, 3), 100, dtype=np.uint8)
    found = render.overlay(image, np.array([[0.0, 1.0]]), 0.4, "viridis")
    inner = matplotlib.colormaps["viridis"]([0.0, 0.25, 0.75, 1.0])[:, :3]
    np.testing.assert_array_equal(found[0], np.rint(60 + 0.4 * 255 * inner))


def test_where_the_map_is_nan_the_picture_is_bare() -> None:
    found = render.overlay(IMAGE, np.array([[np.nan, 1.0]]), 0.5, "inferno")
    np.testing.assert_array_equal(found[0], [[10, 20, 31], [254, 127, 146]])
    np.testing.assert_array_equal(render.overlay(IMAGE, np.array([[np.nan]])), IMAGE)


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_an_impossible_opacity_is_refused(opacity: float) -> None:
    with pytest.raises(ValueError, match=rf"opacity must lie in \[0, 1\], not {opacity}"):
        render.overlay(IMAGE, np.zeros((1, 2)), opacity)


# Stretching


def test_stretch_by_hand() -> None:
    values, low, high = render.stretch(np.array([[2.0, 3.0], [4.0, 6.0]]))
    assert (low, high) == (2.0, 6.0)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [[0, 0.25], [0.5, 1]])


def test_a_flat_map_stretches_to_zeros() -> None:
    values, low, high = render.stretch(np.full((3, 2), 0.7))
    assert low == high == 0.7
    np.testing.assert_array_equal(values, np.zeros((3, 2)))


def test_stretch_looks_past_what_is_no_number() -> None:
    values, low, high = render.stretch(np.array([np.nan, 1.0, np.inf, 3.0, -np.inf]))
    assert (low, high) == (1.0, 3.0)
    np.testing.assert_array_equal(values, [np.nan, 0, np.nan, 1, np.nan])
    values, low, high = render.stretch(np.array([np.nan, np.inf]))
    assert np.isnan([*values, low, high]).all()


def test_a_tiny_range_is_stretched_in_full() -> None:
    values, low, high = render.stretch(np.float32([0.5, 0.5 + 2**-20, 0.5 + 2**-19]))
    np.testing.assert_array_equal(values, [0, 0.5, 1])
    assert high - low == 2**-19


# Nothing that comes in changes


def test_inputs_are_never_modified() -> None:
    image, values = crop(), np.array([[0.1, np.nan], [0.7, 2.0]], dtype=np.float32)
    kept = image.copy(), values.copy()
    for array in (image, values):
        array.flags.writeable = False
    render.colours(values)
    render.resize(values, (9, 9))
    render.overlay(image, values)
    render.stretch(values)
    given = record("spatial", "block1"), record("channel", "block1"), heatmap("gradcam", "block1")
    before = [given[0].weights.clone(), given[1].weights.clone(), given[2].values.clone()]
    maps = {("block1", "gradcam"): given[2]}
    render.png(figure_of(image, prediction(), {"block1": given[:2]}, maps), 40)
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(values, kept[1])
    after = [given[0].weights, given[1].weights, given[2].values]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


# The figure


def test_every_panel_says_stage_kind_resolution_and_what_the_colours_stand_for() -> None:
    attention = {
        "block2": (record("channel", "block2", 1), record("spatial", "block2", 2)),
        "block5": (record("channel", "block5", 3), record("spatial", "block5", 4, 1e-6)),
    }
    maps = {
        ("block2", "gradcam"): heatmap("gradcam", "block2", -0.25, 12.5),
        ("block5", "gradcam"): heatmap("gradcam", "block5", 0.0, 3.21e-7),
    }
    figure = figure_of(crop(), prediction(), attention, maps)
    assert around(figure, "block2; gradcam") == ["block2", "4×4", "gradcam", "−0.250", "12.5"]
    assert around(figure, "block5; gradcam") == ["block5", "4×4", "gradcam", "0", "3.21×10⁻⁷"]
    for stage in attention:
        channel = attention[stage][0]
        found = around(figure, f"{stage}; spatial attention")
        assert found[:3] == [stage, "6×4", "spatial attention"]
        ends = [number(text) for text in found[3:5]]
        assert ends == [0, 1]  # of weights of positions, whatever these are
        found = around(figure, f"{stage}; channel attention")
        assert found[:3] == [stage, "24 channels", "channel attention"]
        assert {"weight", "channels, sorted", "0", "1"} <= set(found)
        assert found[-1] == f"{channel.low:#.3g} … {channel.high:#.3g}"


def test_an_overlay_panel_shows_the_overlay_and_its_bar_the_colours() -> None:
    maps = {("block4", "layercam"): heatmap("layercam", "block4")}
    figure = figure_of(crop(), prediction(), {}, maps)
    shown = panel(figure, "block4; layercam").images[0].get_array()
    values = maps["block4", "layercam"].values.numpy()
    np.testing.assert_array_equal(shown, render.overlay(crop(), values))
    bar = panel(figure, "block4; layercam; colour bar").images[0].get_array()
    expected = render.colours(np.linspace(0, 1, 256)[None])
    np.testing.assert_allclose(bar, expected, atol=1e-6)
    np.testing.assert_array_equal(panel(figure, "crop").images[0].get_array(), crop())


def test_attention_is_shown_by_its_view() -> None:
    kinds = ("volume", "token", "pool")
    records = {"block3": tuple(record(kind, "block3") for kind in kinds)}
    figure = figure_of(crop(), prediction(), records, {})
    for one in records["block3"]:
        shown = panel(figure, f"block3; {one.kind} attention").images[0].get_array()
        assert one.spatial is not None
        high = 1.0 if one.kind == "volume" else float(one.spatial.max())
        values = (one.spatial / high).numpy()
        np.testing.assert_allclose(shown, render.overlay(crop(), values), atol=2)  # of 255
        found = around(figure, f"block3; {one.kind} attention")
        assert found[1] == ("3×2" if one.kind == "token" else "6×4")
        assert found[3:5] == ["0", f"{high:#.3g}"]
    assert "mean over channels" in around(figure, "block3; volume attention")
    assert "received by each position" in around(figure, "block3; token attention")


def test_channel_weights_are_sorted_on_one_scale_a_row() -> None:
    first, second = record("channel", "block1", 1), record("channel", "block2", 2, 0.05)
    records = {"block1": (first,), "block2": (second,)}
    figure = figure_of(crop(), prediction(), records, {})
    for one in (first, second):
        axes = panel(figure, f"{one.stage}; channel attention")
        assert axes.get_ylim() == (0, 1)
        for steps in axes.patches:
            shown = steps.get_data().values  # type: ignore[attr-defined]
            np.testing.assert_allclose(shown, one.weights.sort().values, atol=1e-6)


@pytest.mark.parametrize("kind", ["spatial", "channel", "pool", "gradcam"])
def test_a_flat_map_says_so_instead_of_colours(kind: str) -> None:
    one = record("spatial" if kind == "gradcam" else kind, "block1")
    weights = torch.full_like(one.weights, 0.25)
    weights[0] += 2**-25  # no more than rounding
    flat = AttentionRecord("block1", one.kind, weights, one.grid)
    attention = {} if kind == "gradcam" else {"block1": (flat,)}
    maps = {("block1", "gradcam"): heatmap("gradcam", "block1", 0.25, 0.25)}
    figure = figure_of(crop(), prediction(), attention, maps if kind == "gradcam" else {})
    name = f"block1; {kind}" + ("" if kind == "gradcam" else " attention")
    assert {"flat: nothing to see", "0.250 everywhere"} <= set(around(figure, name))
    assert not any(axes.get_label().endswith("colour bar") for axes in figure.axes)
    assert len(np.unique(panel(figure, name).images[0].get_array())) == 1


def test_a_map_without_any_number_is_flat() -> None:
    one = AttentionRecord("block1", "spatial", torch.full((2, 2), float("nan")), (2, 2))
    figure = figure_of(crop(), prediction(), {"block1": (one,)}, {})
    assert {"flat: nothing to see", "no numbers"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("low", "high", "note"),
    [
        (0.499, 0.501, "range only 0.0020 (0.4%)"),
        (0.46, 0.5, "range only 0.040 (8%)"),
        (0.44, 0.5, None),  # more than a tenth
        (0.0, 1e-9, None),
    ],
)
def test_a_nearly_flat_map_is_annotated(low: float, high: float, note: str | None) -> None:
    maps = {("block1", "gradcam"): heatmap("gradcam", "block1", low, high)}
    found = texts(figure_of(crop(), prediction(), {}, maps))
    assert [text for text in found if text.startswith("range")] == ([note] if note else [])


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [
        (0.4997, 0.5003, ["0.4997", "0.5003"]),
        (0.49999, 0.50001, ["0.49999", "0.50001"]),
        (0.4999999, 0.5000009, ["0.500000", "0.500001"]),
        (1.23451e-10, 1.23459e-10, ["1.23×10⁻¹⁰", "+8.0×10⁻¹⁵"]),
    ],
)
def test_close_ends_get_the_digits_that_tell_them_apart(
    low: float, high: float, ends: list[str]
) -> None:
    maps = {("block1", "gradcam"): heatmap("gradcam", "block1", low, high)}
    figure = figure_of(crop(), prediction(), {}, maps, scale="stretch")
    assert around(figure, "block1; gradcam")[3:5] == ends


def test_a_gate_that_weighs_all_alike_looks_so_unless_it_is_stretched() -> None:
    weights = torch.linspace(0.51, 0.55, 24).reshape(4, 6)
    records = {"block4": (AttentionRecord("block4", "spatial", weights, (4, 6)),)}
    grey, name = np.full((32, 32, 3), 128, np.uint8), "block4; spatial attention"
    contrast: dict[str, int] = {}
    for scale, ends, span in (
        ("raw", ["0", "1.00"], (0.51, 0.55)),
        ("stretch", ["0.510", "0.550"], (0, 1)),
    ):
        figure = figure_of(grey, prediction(), records, {}, scale=scale)
        pixels = np.asarray(panel(figure, name).images[0].get_array(), dtype=int)
        contrast[scale] = int(np.ptp(pixels, axis=(0, 1)).max())
        assert around(figure, name)[3:6] == [*ends, "range only 0.040 (4%)"]
        (line,) = panel(figure, f"{name}; colour span").patches
        assert isinstance(line, Rectangle)
        assert (line.get_x(), line.get_x() + line.get_width()) == pytest.approx(span, abs=1e-6)
    assert contrast["raw"] < 15
    assert contrast["stretch"] > 100


def test_a_method_that_knows_no_class_says_so() -> None:
    maps = {("block1", m): heatmap(m, "block1", target=t) for m, t in [("a", None), ("b", 3)]}
    figure = figure_of(crop(), prediction(), {}, maps)
    assert "knows no class" in around(figure, "block1; a")
    assert "knows no class" not in around(figure, "block1; b")


@pytest.mark.parametrize(
    ("stages", "kinds", "methods"),
    [
        (1, (), 1),
        (1, ("channel", "spatial"), 5),
        (2, ("token",), 0),
        (2, (), 5),
        (3, ("volume",), 2),
        (4, ("pool",), 1),
        (5, (), 1),
        (5, ("channel",), 1),
        (5, ("channel", "spatial"), 3),
    ],
)
def test_all_stages_and_rows_stand_in_order_and_nothing_collides(
    stages: int, kinds: tuple[str, ...], methods: int
) -> None:
    target = LABELS[5] if stages == 2 else LABELS[1] if stages == 1 else ""
    figure = full(
        STAGES[:stages], METHODS[:methods], kinds, target=target, note="untrained weights"
    )
    rows = [f"{kind} attention" for kind in kinds] + list(METHODS[:methods])
    places = [
        [panel(figure, f"{stage}; {row}").get_position() for stage in STAGES[:stages]]
        for row in rows
    ]
    for row in places:
        assert sorted(box.x0 for box in row) == [box.x0 for box in row]
    assert sorted((row[0].y0 for row in places), reverse=True) == [row[0].y0 for row in places]
    check_layout(figure)


def check_layout(figure: Figure) -> None:
    """Every letter lies on the page, on no other text and on no picture."""
    found = boxes(figure)
    page = figure.bbox
    for text, box in found:
        inside = page.x0 < box.x0 and box.x1 < page.x1 and page.y0 < box.y0 and box.y1 < page.y1
        assert inside, text.get_text()
    for (one, a), (two, b) in combinations(found, 2):
        # Bold and regular lines stand close: one pixel of their empty margins may touch.
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (one.get_text(), two.get_text())
    pictures = [axes for axes in figure.axes if axes.images]
    for axes in pictures:
        a = axes.get_window_extent()
        for text, b in found:
            apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
            assert apart or text.get_text().startswith("flat"), (axes, text.get_text())
    for one, two in combinations(figure.axes, 2):
        a, b = one.get_window_extent(), two.get_window_extent()
        assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0, (one, two)


@pytest.mark.parametrize(
    ("low", "high"),
    [(1.23451e-10, 1.23459e-10), (0.49999, 0.5), (1e9, 2e9), (-2e-7, -1e-7), (0.5, 0.500001)],
)
def test_awkward_numbers_collide_with_nothing(low: float, high: float) -> None:
    weights = low + torch.linspace(0, 1, 24).double() * (high - low)
    records = {
        stage: (
            AttentionRecord(stage, "channel", weights, (4, 6)),
            AttentionRecord(stage, "spatial", weights.reshape(4, 6), (4, 6)),
        )
        for stage in STAGES[:2]
    }
    check_layout(figure_of(crop(), prediction(), records, {}))


def test_two_notes_under_a_panel_have_room() -> None:
    weights = 0.5 + record("volume", "block1").weights / 1000
    records = {"block1": (AttentionRecord("block1", "volume", weights, (4, 6)),)}
    maps = {("block1", "eigencam"): heatmap("eigencam", "block1", 0.499, 0.501, None)}
    figure = figure_of(crop(), prediction(), records, maps, note="untrained")
    found = around(figure, "block1; volume attention")
    assert found[-2].startswith("range only")
    assert found[-1] == "mean over channels"
    check_layout(figure)


def test_a_figure_in_chinese() -> None:
    """Every text but names, labels and numbers; nothing collides."""
    kinds = ("channel", "spatial", "volume", "token", "pool")
    figure = full(STAGES[:2], ("gradcam",), kinds, lang="zh", target=LABELS[5])
    names = {"T", "A title", "gradcam", *STAGES, *LABELS, f"▶ {LABELS[5]}"}
    for said in set(texts(figure)) - names:
        assert not re.search("[A-Za-z]", said.replace("softmax", "")), said
    assert {"通道注意力", "自注意力", "预测", "▶ 所解释的类别, 第 6 位"} <= set(texts(figure))
    check_layout(figure)


def test_without_attention_and_methods_crop_and_prediction_remain() -> None:
    figure = figure_of(crop(), prediction(), {"block1": ()}, {})
    assert [axes.get_label() for axes in figure.axes] == ["crop", "prediction"]
    assert "32×32" in texts(figure)


def test_stages_may_differ_in_what_they_have() -> None:
    attention = {"block1": (), "block3": (record("token", "block3"),)}
    maps = {(stage, "gradcam"): heatmap("gradcam", stage) for stage in ("block1", "block3")}
    maps["block3", "attention*gradient"] = heatmap("attention*gradient", "block3")
    figure = figure_of(crop(), prediction(), attention, maps)
    names = {axes.get_label() for axes in figure.axes if "colour" not in axes.get_label()}
    assert names == {
        "crop",
        "prediction",
        "block1; gradcam",
        "block3; gradcam",
        "block3; token attention",
        "block3; attention*gradient",
    }
    columns = {name: panel(figure, name).get_position().x0 for name in names}
    assert len({columns[name] for name in names if name.startswith("block3")}) == 1
    check_layout(figure)


@pytest.mark.parametrize("kinds", [("pool",), ("channel", "spatial")])
def test_attention_at_the_last_stages_leaves_no_empty_corner(kinds: tuple[str, ...]) -> None:
    """Crop and prediction fill it, and no column of their own stands empty below them."""
    attention = {
        stage: tuple(record(kind, stage) for kind in kinds) for stage in ("block4", "block5")
    }
    maps = {(stage, "gradcam"): heatmap("gradcam", stage) for stage in STAGES}
    figure = figure_of(crop(), prediction(), attention, maps, target=LABELS[5])
    check_layout(figure)
    place = {
        name: panel(figure, name).get_position()
        for name in ("crop", "prediction", "block1; gradcam", f"block4; {kinds[0]} attention")
    }
    assert place["crop"].x0 == pytest.approx(place["block1; gradcam"].x0)
    assert place["crop"].y0 > place["block1; gradcam"].y1
    first = place[f"block4; {kinds[0]} attention"]
    assert place["crop"].y1 == pytest.approx(first.y1, abs=0.01)  # a chart starts lower
    assert place["crop"].x1 < place["prediction"].x0 < place["prediction"].x1 < first.x0


def test_two_records_of_one_kind_get_a_row_each() -> None:
    records = {"block1": (record("spatial", "block1", 1), record("spatial", "block1", 2))}
    figure = figure_of(crop(), prediction(), records, {})
    heights = {a.get_position().y0 for a in figure.axes if a.get_label().endswith("attention")}
    assert len(heights) == 2


# The prediction


def test_the_top_five_stand_with_percentages_and_bars() -> None:
    figure = full(("block1",), (), (), target="goldfish")
    ranked = prediction().top(5)
    found = texts(figure)
    assert [text for text in found if "%" in text] == [f"{r.probability:.1%}" for r in ranked]
    for one in ranked:
        assert (one.label in found) != (one.label == "goldfish")
    bars = panel(figure, "prediction").patches
    widths = [bar.get_width() for bar in bars]  # type: ignore[attr-defined]
    assert widths == [w for r in ranked for w in (1, r.probability)]


def test_the_target_is_marked_by_more_than_colour() -> None:
    figure = full(("block1",), (), (), target="goldfish")
    (marked,) = [text for text in figure.texts if text.get_text() == "▶ goldfish"]
    assert "Bold" in str(marked.get_fontproperties().get_file())
    assert "▶ the class explained" in texts(figure)
    colours = [bar.get_facecolor() for bar in panel(figure, "prediction").patches[1::2]]
    assert colours[1] not in (colours[0], *colours[2:])
    assert len(set(colours)) == 2


def test_a_target_beyond_the_top_five_is_added_with_its_rank() -> None:
    figure = full(("block1",), (), (), target="school bus")
    share = prediction().ranked[5].probability
    assert {"▶ school bus", f"{share:.1%}", "▶ the class explained, no. 6"} <= set(texts(figure))
    assert len(panel(figure, "prediction").patches) == 12


def test_without_a_target_nothing_is_marked() -> None:
    figure = full(("block1",), (), ())
    assert not any("▶" in text for text in texts(figure))


def test_fewer_classes_than_five() -> None:
    figure = figure_of(crop(), prediction(("yes", "no")), {}, {}, target="no")
    assert {"top 2", "2 classes", "yes", "▶ no"} <= set(texts(figure))
    check_layout(figure)


# Words


def test_markup_is_never_interpreted() -> None:
    wild = r"$\frac{1}{$ x_1^2 <b>&amp;</b> \n {"
    labels = (wild, "<script>", "a_b", "100% $5", "&lt;")
    maps = {("$s$", "$m_1$"): heatmap("$m_1$", "$s$")}
    figure = figure_of(
        crop(), prediction(labels), {}, maps, title=wild, note=wild, target="<script>"
    )
    assert not any(text.get_parse_math() or text.get_usetex() for text in figure.texts)
    assert {"$s$", "$m_1$", "▶ <script>", "a_b", "100% $5", "&lt;"} <= set(texts(figure))
    render.png(figure, 40)
    tags = {
        element.tag.split("}")[1] for element in ElementTree.fromstring(render.svg(figure)).iter()
    }
    assert not tags & {"b", "script"}


def test_long_words_are_wrapped_or_shortened_within_the_page() -> None:
    long = "a very long label, with many, many synonyms, and then some more of them"
    for stages in (0, 1, 5):
        figure = full(
            STAGES[:stages],
            ("a_method_with_a_name_without_end", "gradcam"),
            (),
            title="/".join(["folder"] * 60),
            note=f"untrained: {long}; {long}",
            target="school bus",
        )
        check_layout(figure)
        assert any(text.endswith("…") for text in texts(figure))
    figure = figure_of(
        crop(), prediction([f"{n} {long}" for n in range(9)]), {}, {}, target=f"7 {long}"
    )
    found = texts(figure)
    assert sum(text.endswith("…") for text in found) == 6
    assert any(text.startswith("▶ 7 a very") for text in found)
    check_layout(figure)


def test_a_note_that_fits_three_lines_is_told_in_full() -> None:
    note = "untrained: all weights are random, nothing here was learned, and this is a long note"
    found = texts(figure_of(crop(), prediction(), {}, {}, note=note))
    assert " ".join(text for text in found if text in note and len(text) > 9) == note


LETTERS = {
    "CJK": "老虎猫直骨",
    "Katakana": "キツネ",
    "Hangul": "고양이",
    "Devanagari": "बाघ",
    "Thai": "แมว",
}


@pytest.fixture
def no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with matplotlib's own fonts only."""
    own = matplotlib.get_data_path()
    manager = font_manager.fontManager
    kept = [entry for entry in manager.ttflist if entry.fname.startswith(own)]
    monkeypatch.setattr(manager, "ttflist", kept)
    fonts._fonts_of.cache_clear()
    yield
    fonts._fonts_of.cache_clear()


def drawn(figure: Figure, text: str) -> np.ndarray:
    """The pixels of a text on the page, rendered by a file's bytes."""
    (found,) = [one for one in figure.texts if one.get_text() == text]
    box = found.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    page = np.asarray(Image.open(io.BytesIO(render.png(figure, 100))).convert("L"))
    return page[
        int(page.shape[0] - box.y1) - 1 : int(page.shape[0] - box.y0) + 2,
        int(box.x0) - 1 : int(box.x1) + 2,
    ]


@pytest.mark.usefixtures("no_system_fonts")
@pytest.mark.parametrize("script", ["CJK", "Katakana", "Hangul"])
def test_without_fonts_of_the_system_chinese_japanese_and_korean_are_drawn(script: str) -> None:
    label = LETTERS[script]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a character that it lacks
        figure = figure_of(crop(), prediction((label, "cat")), {}, {})
        outlines = render.svg(figure)
    assert label in texts(figure)
    assert not any("no font" in text for text in texts(figure))
    # Each letter has a form of its own, so none of them is the box of a missing one.
    glyphs = {letter: FT2Font(str(fonts.assets_folder() / "fonts" / "NotoSansCJKsc-subset.otf"))
              .get_char_index(ord(letter)) for letter in label}  # fmt: skip
    assert len(set(glyphs.values())) == len(label)
    assert all(glyphs.values())
    ElementTree.fromstring(outlines)
    assert (drawn(figure, label) < 128).any()


@pytest.mark.usefixtures("no_system_fonts")
@pytest.mark.parametrize("script", ["Devanagari", "Thai"])
def test_what_no_font_has_becomes_a_name_that_can_be_read_and_is_said(script: str) -> None:
    label = LETTERS[script]
    escaped = label.encode("unicode_escape").decode()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = ("cat", label, f"cat {label[0]}")
        figure = figure_of(crop(), prediction(labels), {}, {}, title=label, target=label)
        render.png(figure, 40)
        render.svg(figure)
    found = texts(figure)
    assert {escaped, "▶ class 1", f"cat {escaped[:6]}"} <= set(found)
    assert f"no font on this machine has the characters of: {script}" in " ".join(found)
    check_layout(figure)


@pytest.mark.parametrize("script", LETTERS)
def test_a_font_of_the_system_that_has_the_letters_is_used(script: str) -> None:
    label = LETTERS[script]
    system = [
        entry.fname
        for entry in font_manager.fontManager.ttflist
        if not entry.fname.startswith((matplotlib.get_data_path(), str(fonts.assets_folder())))
        and all(FT2Font(entry.fname).get_char_index(ord(letter)) for letter in label)
    ]
    if not system:
        pytest.skip(f"no font of this machine has {script}")
    figure = figure_of(crop(), prediction((label, "cat")), {}, {})
    assert label in texts(figure)
    (found,) = [one for one in figure.texts if one.get_text() == label]
    files = font_manager.fontManager._find_fonts_by_props(found.get_fontproperties())
    assert {str(file) for file in files[1:]} <= {str(Path(file).resolve()) for file in system}


def test_the_subset_has_all_of_gb2312_and_its_licence_beside_it() -> None:
    opened = FT2Font(str(fonts.assets_folder() / "fonts" / "NotoSansCJKsc-subset.otf"))
    pairs = (bytes((row, column)) for row in range(0xB0, 0xF8) for column in range(0xA1, 0xFF))
    letters = [text for pair in pairs if (text := pair.decode("gb2312", "ignore"))]
    assert len(letters) == 6763
    assert all(opened.get_char_index(ord(letter)) for letter in letters)
    assert "SIL OPEN FONT LICENSE" in (fonts.assets_folder() / "fonts" / "OFL.txt").read_text()
    words = [word for lang in LANGUAGES for word in section(lang, "report").values()]
    assert all(fonts.drawable(word) == word for word in words)


def test_controls_and_halves_of_pairs_are_escaped_and_formatting_is_left_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        title = "cat\t\n Łódź \udc80\x00\U000e0001"
        figure = full(("block1",), (), (), title=title, target="")
        render.png(figure, 40)
    assert r"cat Łódź \udc80\x00" in texts(figure)


# Stages


def order(figure: Figure) -> list[str]:
    """The headings of the columns from left to right."""
    size = {"gradcam"}
    kinds = sorted(
        (t.get_position()[0], t.get_text()) for t in figure.texts if t.get_text() in size
    )
    bold = [t for t in figure.texts if "Bold" in str(t.get_fontproperties().get_file())]
    heads = {t.get_position()[0]: t.get_text() for t in bold if t.get_text() != "T"}
    return [heads[x] for x, _ in kinds]


def stages(names: Sequence[str], **more: Any) -> Figure:
    maps = {(name, "gradcam"): heatmap("gradcam", name) for name in names}
    return figure_of(crop(), prediction(), {}, maps, **more)


def test_stages_stand_as_they_come_beside_each_other() -> None:
    names = ["stem", "layer2.1", "layer1.0", "head"]
    assert order(stages(names)) == names


@pytest.mark.parametrize(
    "names",
    [
        [f"encoder.layers.encoder_layer_{n}.self_attention.out_proj" for n in range(3)],
        [f"features.denseblock{n}.denselayer12.conv2" for n in range(1, 4)],
        [f"{n}.blocks.attention.with.a.very.long.name" for n in range(3)],
        ["layer4.2.conv1", "layer4.2.conv1.a", "layer4.2.conv1.a.a.very.long.name.a"],
        [f"a.very.long.name.{'x' * 40}.{n}.{'y' * 40}{n}" for n in range(3)],
        [f"{'x' * 40}{n}{'z' * 40}{n * 'long'}" for n in range(3)],
        ["x" * 300, "x" * 301, "x" * 302],
    ],
)
def test_long_names_are_shortened_in_the_middle_and_stay_different(names: list[str]) -> None:
    figure = stages(names)
    shown = order(figure)
    assert len(set(shown)) == len(names)
    assert all("…" in text or text in names for text in shown)
    check_layout(figure)


def test_a_long_name_keeps_its_start_and_its_end() -> None:
    (shown,) = order(stages(["features.denseblock4.denselayer16.conv2"]))
    start, end = shown.split("…")
    assert "features.denseblock4.denselayer16.conv2".startswith(start)
    assert end.endswith("16.conv2")


# Files


def test_png_is_a_picture_of_the_asked_size() -> None:
    figure = full(("block1",), ("gradcam",), ())
    with Image.open(io.BytesIO(render.png(figure, 50))) as image:
        assert image.format == "PNG"
        np.testing.assert_allclose(image.size, figure.get_size_inches() * 50, atol=1)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_svg_is_whole_and_its_names_agree() -> None:
    tree = ElementTree.fromstring(render.svg(full(STAGES[:2], ("gradcam",), ("channel",))))
    names = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(names) == len(set(names))
    used = {
        value.split("#")[1].rstrip(")")
        for element in tree.iter()
        for key, value in element.attrib.items()
        if "#" in value and (key.endswith("href") or "url(#" in value) and "data:" not in value
    }
    assert used
    assert used <= set(names)


def test_equal_figures_give_equal_bytes() -> None:
    one, two = (full(STAGES[:2], ("gradcam",), ("channel", "spatial")) for _ in range(2))
    assert render.png(one, 60) == render.png(one, 60) == render.png(two, 60)
    assert render.svg(one) == render.svg(one) == render.svg(two)


def test_threads_draw_what_one_thread_draws() -> None:
    def draw(seed: int) -> bytes:
        given = {"block1": (record("channel", "block1", seed), record("spatial", "block1", seed))}
        maps = {("block1", "gradcam"): heatmap("gradcam", "block1", high=seed + 1.5)}
        title = f"no. {seed}"
        return render.png(figure_of(crop(), prediction(), given, maps, title=title), 60)

    alone = [draw(seed) for seed in range(4)]
    assert len(set(alone)) == 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, [0, 1, 2, 3] * 2)) == alone * 2


def test_settings_of_matplotlib_neither_matter_nor_change() -> None:
    usual = render.png(full(("block1",), ("gradcam",), ("channel",), target="koala"), 60)
    style = {
        "text.usetex": True,
        "axes.grid": True,
        "text.color": "red",
        "font.size": 30,
        "figure.constrained_layout.use": True,
        "image.origin": "lower",
        "axes.facecolor": "black",
        "figure.facecolor": "black",
        "text.parse_math": True,
    }
    with matplotlib.rc_context(style):
        before = dict(matplotlib.rcParams)
        figure = full(("block1",), ("gradcam",), ("channel",), target="koala")
        assert render.png(figure, 60) == usual
        assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_matplotlib_comes_when_a_figure_is_drawn_and_pyplot_never() -> None:
    code = """
import sys
import numpy as np, torch
from vggviz import plotting as render
from vggviz.types import Prediction, Ranked
assert "matplotlib" not in sys.modules
prediction = Prediction(torch.zeros(1), (Ranked(0, "cat", 1.0),))
panels = render.panels({}, {})
figure = render.figure(np.zeros((9, 9, 3), np.uint8), prediction, panels, title="T")
render.png(figure), render.svg(figure)
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
