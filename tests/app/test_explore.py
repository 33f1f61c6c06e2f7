"""What the first tab shows beyond one map: attention off, a contrast, other methods, channels."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from vggviz.app.errors import boundary
from vggviz.app.handlers import (
    add_method,
    draw,
    draw_maps,
    explain,
    merge_maps,
    missing_map,
    translate_choices,
)
from vggviz.app.inputs import UploadedPicture
from vggviz.app.markup import bar, canvas, heat, percent
from vggviz.app.networks import Networks
from vggviz.app.parts.channels import channel, channels, effects, ranking
from vggviz.app.parts.maps import maps as maps_html
from vggviz.app.parts.maps import reading_key, why_not_compared
from vggviz.app.parts.strip import strip
from vggviz.app.result import FINEST
from vggviz.app.session import Session
from vggviz.app.view import View
from vggviz.cam import METHODS
from vggviz.explainer import Explainer
from vggviz.images import ImageError, Preprocess
from vggviz.locales import text
from vggviz.metrics.agreement import agreement
from vggviz.networks import Network
from vggviz.networks.vgg import VGG
from vggviz.plotting.scale import colour_scale
from vggviz.weights import Card

LABELS = tuple(f"thing {k}" for k in range(10))


@pytest.fixture
def networks(small_vgg: Callable[..., Network]) -> Networks:
    def load(weights: str, attention: str) -> Explainer:
        stages = VGG.stages[2:] if weights == "upper" else VGG.stages
        model = small_vgg(
            attention=attention, stages=stages, blend="replace", architecture="vgg19_bn"
        )
        return Explainer(model, Card(weights, model.config, Preprocess(64, 64), LABELS))

    types = ("cbam", "se", "none", "simam", "gate", "self_attention")
    return Networks({"small": types, "upper": types}, load)


def photo() -> UploadedPicture:
    coarse = np.random.default_rng(3).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return UploadedPicture(
        Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC), "a.png"
    )


def show(networks: Networks, attention: str, weights: str = "small", contrast: str = "") -> Session:
    session = Session(networks)
    request = (photo(), weights, attention, "", contrast, "block3")
    return Session(networks, explain(session, *request)[1])


def missing(session: Session, stage: str, method: str) -> Any:
    return missing_map(session.current, View(stage, method))


@pytest.mark.parametrize("attention", ["cbam", "self_attention", "gate"])
@pytest.mark.parametrize("weights", ["small", "upper"])
def test_switched_off_is_the_network_without_attention(
    networks: Networks, small_vgg: Callable[..., Network], weights: str, attention: str
) -> None:
    session = show(networks, attention, weights)
    model = networks.get(weights, attention).model
    plain = small_vgg(attention="none", architecture="vgg19_bn").eval()
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("attention")}
    plain.load_state_dict(state)
    with torch.no_grad():
        off = plain(networks.get(weights, attention).preprocess(photo().image))[0].softmax(0)
    assert session.current.off is not None
    assert [one.index for one in session.current.off] == off.argsort(descending=True)[:5].tolist()
    expected = [float(off[one.index]) for one in session.current.top]
    assert session.current.off_shares == pytest.approx(expected, abs=1e-5)
    told = draw(session, "block3").answer
    for share in session.current.off_shares:
        assert percent(share) in told
    same = session.current.off[0].index == session.current.top[0].index
    assert ("it says the same" in told) == same
    assert same or f"it would say {session.current.off[0].label}." in told


def test_without_attention_there_is_nothing_to_switch_off(networks: Networks) -> None:
    session = show(networks, "none")
    assert session.current.off is None
    told = draw(session, "block3").answer
    assert "no attention to switch off" in told
    assert 'class="bar without"' not in told


def test_a_contrast_changes_gradcam_and_leaves_attention(networks: Networks) -> None:
    session = show(networks, "cbam", contrast="thing 4")
    alone = networks.get("small", "cbam").explain(photo().image, target="thing 4")
    assert session.current.contrast == alone.target
    expected = alone.heatmaps["block3", "gradcam"].raw.numpy()
    got = session.current.maps["block3", "gradcam", 1]
    assert got is not None
    np.testing.assert_allclose(got, expected, atol=1e-6)
    told = draw(session, "block3").maps
    assert told.count("<figure") == 4
    assert "it knows no class" in told
    assert "for thing 4" in told
    assert "it knows no class" not in draw(show(networks, "cbam"), "block3").maps
    # On the raw range both maps share one scale, so that they can be compared.
    raw = draw_maps(session, "block3")[0]
    ends = re.findall(r"<b>([^<]+)</b></div>", raw)
    assert ends[1] == ends[2]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "gradcam"])
def test_another_method_is_computed_once_and_drawn_from_then_on(
    networks: Networks, method: str
) -> None:
    session, view = show(networks, "cbam"), ("block3", method)
    wanted = missing(session, *view)
    assert wanted is not None
    assert "is being computed" in draw_maps(session, *view)[0]
    told: list[tuple[int, int]] = []
    computed = add_method(session, wanted, progress=lambda *done: told.append(done))
    found = merge_maps(session, computed)
    after = Session(networks, found)
    stages = ("block3",) if METHODS[method].slow else VGG.stages
    expected = networks.get("small", "cbam").explain(photo().image, stages, (method,))
    for stage in stages:
        got = found.maps[stage, method, 0]
        assert got is not None
        np.testing.assert_allclose(got, expected.heatmaps[stage, method].raw, atol=1e-5)
    assert missing(after, *view) is None
    maps = draw_maps(after, *view)[0]
    assert "is being computed" not in maps
    assert METHODS[method].title in maps
    assert bool(told) == METHODS[method].slow
    assert (missing(after, "block2", method) is None) != METHODS[method].slow
    assert found.request == session.current.request


def test_a_method_that_has_no_map_says_so(networks: Networks) -> None:
    session, view = show(networks, "se"), ("block3", "attention*gradient")
    after = Session(networks, merge_maps(session, add_method(session, missing(session, *view))))
    assert "has no map here" in draw_maps(after, *view)[0]
    assert missing(after, *view) is None
    assert add_method(session, None) == gr.skip()
    other = (session.current.request._replace(path="b.png"), *view)
    assert add_method(session, other) == gr.skip()  # another result came meanwhile


def test_maps_are_merged_into_the_result_that_they_are_for_only(networks: Networks) -> None:
    """Whatever came while they were computed."""
    session = show(networks, "cbam")
    layercam, hirescam = (
        add_method(session, missing(session, "block3", method))
        for method in ("layercam", "hirescam")
    )
    found = Session(networks, merge_maps(session, layercam))
    both = merge_maps(found, hirescam)  # which knows nothing of LayerCAM's maps
    assert {("block3", method, 0) for method in ("layercam", "hirescam")} < both.maps.keys()
    for other in (show(networks, "se"), show(networks, "cbam", contrast="thing 4")):
        assert merge_maps(other, layercam) == gr.skip()
    assert merge_maps(session, None) == gr.skip()


@pytest.mark.parametrize("attention", ["se", "cbam", "simam", "gate"])
def test_feature_times_weight_is_what_the_network_computes(
    networks: Networks, attention: str
) -> None:
    """In the trunk of the network, not by our own arithmetic."""
    session = show(networks, attention)
    explainer = networks.get("small", attention)
    with torch.no_grad():
        arriving = explainer.model.features_before(explainer.preprocess(photo().image), "block4")
        module: Any = explainer.model.attention["block4"].module  # type: ignore[union-attr]
        weighed = (module.channel if attention == "cbam" else module)(arriving)[0]
    place = session.current.stages["block4"]
    assert place.features is not None
    assert place.weighed is not None
    np.testing.assert_allclose(place.features, arriving[0], atol=2e-2, rtol=2e-3)
    if attention != "cbam":  # whose channel part stands inside a module of its own
        np.testing.assert_allclose(place.weighed, weighed, atol=2e-2, rtol=2e-3)
    assert max(session.current.stages["block1"].features.shape[1:]) == FINEST  # type: ignore[union-attr]
    kept = (
        one
        for p in session.current.stages.values()
        for one in (p.features, p.weighed)
        if one is not None
    )
    assert all(one.dtype == np.float16 for one in kept)


def test_a_rank_chooses_the_channel(networks: Networks) -> None:
    session = show(networks, "se")
    stage_maps = session.current.stages["block4"]
    order = ranking(stage_maps)
    counts = np.abs(effects(stage_maps))
    assert [float(counts[i]) for i in order] == sorted(counts.tolist(), reverse=True)
    for asked, rank in ((1, 1), (7, 7), (10**6, len(order)), (-5, 1)):
        told = channel("en", session.current, "block4", asked, "viridis")
        assert f"Channel {order[rank - 1]}, rank {rank} of {len(order)}" in told
        assert told.count("<img") == 2
    assert f'max="{len(order)}"' in draw(session, "block4").channels
    assert channel("en", show(networks, "self_attention").current, "block4", 1, "viridis") == ""


def test_channels_rank_by_what_they_contribute_and_dead_ones_last(networks: Networks) -> None:
    """Against plain autograd: the score's gradient times the stage's output, summed over places."""
    session = show(networks, "se")
    explainer = networks.get("small", "se")
    kept: list[torch.Tensor] = []
    path = explainer.model.path("block4")
    with torch.enable_grad():
        pixels = explainer.preprocess(photo().image).requires_grad_()
        handle = explainer.model.get_submodule(path).register_forward_hook(
            lambda *parts: kept.append(parts[2])
        )
        logits = explainer.model(pixels)
        handle.remove()
        (slope,) = torch.autograd.grad(logits[0, session.current.target.index], kept[0])
    expected = (slope * kept[0]).detach()[0].sum((1, 2)).numpy()
    stage_maps = session.current.stages["block4"]
    np.testing.assert_allclose(effects(stage_maps), expected, atol=1e-5)
    dead = int(expected.argmax())
    contributions = expected.copy()
    contributions[dead] = 0
    weights = np.array(stage_maps.channels)
    weights[dead] = 1.0  # the highest weight of all, on nothing
    dying = replace(stage_maps, contributions=contributions, channels=weights)
    after = ranking(dying)[ranking(dying).index(dead) :]
    assert (contributions[after] == 0).all()
    assert len(after) == 1 + sum(expected[after] == 0)
    assert ranking(replace(dying, contributions=None, weighed=None))[0] == dead
    result = replace(session.current, stages={"block4": dying})
    assert f"{(contributions == 0).sum()} of 64 are silent" in channels("en", result, "block4")
    assert "silent here" in channel("en", result, "block4", 64, "viridis")


def test_agreement_is_that_of_the_raw_maps(networks: Networks) -> None:
    session = show(networks, "cbam")
    place = session.current.stages["block3"]
    assert place.attention is not None
    found = agreement(torch.from_numpy(place.attention), torch.from_numpy(place.gradcam))
    told = draw(session, "block3").maps
    assert f"{round(100 * found.iou)}% of their brightest fifths in common" in told
    words = [reading_key(value) for value in (1, 0.7, 0.5, 0.2, 0.0, -0.1, -0.5)]
    assert words == ["strong", "strong", "partly", "weak", "none", "none", "against"]


@pytest.mark.parametrize(
    ("kind", "values", "raw"),
    [
        ("spatial", (0.2, 0.6), (0, 1)),
        (None, (0.0, 3.0), (0, 3)),
        (None, (-1.0, 3.0), (-1, 3)),
    ],
)
def test_the_honest_range_starts_at_zero_and_the_exaggerated_at_the_lowest(
    kind: Any, values: tuple[float, float], raw: tuple[float, float]
) -> None:
    map = np.array([values], dtype=np.float32)
    assert colour_scale(map, "raw", kind)[:2] == pytest.approx(raw)
    assert colour_scale(map, "stretch", kind)[:2] == pytest.approx(values)
    assert colour_scale(map, "raw", None, top=9.0).high == 9
    assert colour_scale(np.full((2, 2), 0.5, np.float32), "raw").flat


def test_a_nearly_flat_map_looks_nearly_flat_unless_it_is_exaggerated() -> None:
    """The gate of everyday spans 0.51 to 0.55 at block 4."""
    gate = np.linspace(0.51, 0.55, 100, dtype=np.float32).reshape(10, 10)
    honest, exaggerated = (colour_scale(gate, one, "spatial") for one in ("raw", "stretch"))
    assert honest.nearly_flat
    assert exaggerated.nearly_flat
    spans = [
        int(np.ptp(heat(gate, one, "inferno", 64).astype(int), axis=(0, 1)).max())
        for one in (honest, exaggerated)
    ]
    assert spans[0] < 20
    assert spans[1] > 200
    assert not colour_scale(10 * gate - 5, "raw", "spatial").nearly_flat
    shares = np.linspace(0.0099, 0.0101, 100, dtype=np.float32).reshape(10, 10)  # of 100 places
    assert colour_scale(shares, "raw", "pool").nearly_flat
    told = bar("en", honest)
    assert "left:51.0%;right:45.0%" in told
    assert "<b>0</b>" in told


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"trained": "nothing"}, "untrained"),
        ({"trained": "backbone"}, "untrained"),
        ({"gamma": 0.001}, "untrained"),
        ({"attention": (0.51, 0.55)}, "attention"),
        ({"attention": (0.5, 0.5)}, "flat"),
        ({"attention": None}, "flat"),
        ({"gradcam": (5.0, 5.1)}, "cam"),
    ],
)
def test_agreement_that_would_say_nothing_is_withheld(
    networks: Networks, change: dict[str, Any], why: str | None
) -> None:
    result = show(networks, "cbam").current
    place = result.stages["block3"]

    def ramp(ends: tuple[float, float] | None) -> Any:
        return None if ends is None else np.linspace(*ends, 64, dtype=np.float32).reshape(8, 8)

    maps = {"attention": (0.1, 0.9), "gradcam": (0.0, 2.0), **change}
    place = replace(
        place,
        attention=ramp(maps["attention"]),
        gradcam=ramp(maps["gradcam"]),
        kind="spatial",
        gamma=change.get("gamma"),
    )
    result = replace(
        result,
        stages={**result.stages, "block3": place},
        maps={("block3", "gradcam", 0): place.gradcam},
        trained=change.get("trained", "all"),
    )
    assert why_not_compared(place, result.trained, place.attention, place.gradcam) == why
    told = maps_html("en", result, View("block3"))
    assert ("rank correlation" in told) == (why is None)
    assert why is None or text("en", f"explore.not_compared.{why}") in told


def test_the_strip_has_one_kind_of_map(networks: Networks) -> None:
    session = show(networks, "se", "upper")
    cam, attention = (
        strip("en", session.current, View("block3", thumbnails=one)) for one in ("cam", "attention")
    )
    assert cam.count(">Grad-CAM<") == 5
    assert attention.count(">weighs channels<") == 3
    assert attention.count(">no attention<") == 2
    images = [re.findall(r'src="([^"]+)"', one) for one in (cam, attention)]
    assert len(set(images[0])) == 5
    assert len(set(images[1])) == 1  # the picture alone


def test_over_the_whole_picture_a_map_lies_where_the_crop_was(networks: Networks) -> None:
    """Of 120 × 90 pixels the network saw the middle 90: from 15/120 on, in a square of 120."""
    session = show(networks, "cbam")
    whole = draw_maps(session, "block3", "gradcam", "side", "picture")[0]
    boxes = re.findall(
        r'style="left:([\d.]+)%;top:([\d.]+)%;width:([\d.]+)%;height:([\d.]+)%', whole
    )
    assert len(boxes) == 3  # a frame on the original, two maps
    for box in boxes:
        assert [float(part) for part in box] == pytest.approx(
            [12.5, 12.5, 75, 75], abs=0.8
        )  # of 80 pixels
    assert "left:" not in canvas(session.current.square, "x", session.current.square)


def test_both_languages_draw_the_same_pictures(networks: Networks) -> None:
    session = show(networks, "cbam", contrast="1")
    english, chinese = (
        draw(Session(networks, session.current, lang=lang), "block3")[:-1] for lang in ("en", "zh")
    )
    for one, other in zip(english, chinese, strict=True):
        assert re.findall(r'src="([^"]+)"', one) == re.findall(r'src="([^"]+)"', other)
    text = re.sub(r"<[^>]+>", " ", " ".join(chinese))
    assert not re.search(r"\b[a-z]+ [a-z]+ [a-z]+\b", re.sub(r"thing \d", "", text))
    weights, attention, target, contrast = translate_choices(
        Session(networks, lang="zh"), "small", "cbam"
    )
    assert dict(map(reversed, attention["choices"]))["se"] == "SE（压缩与激励）"
    assert target["choices"][0] == ("预测的类别", "")
    assert contrast["choices"][0] == ("无", "")
    assert "value" not in weights


def test_what_is_wrong_with_a_picture_is_said_in_both_languages(networks: Networks) -> None:
    broken = UploadedPicture(b"no picture", "a.png")
    for lang, said in (("en", "The picture is no picture"), ("zh", "The picture 不是图片")):
        with pytest.raises(gr.Error, match=said):
            explain(Session(networks, lang=lang), broken, "small", "cbam", "", "")
    with pytest.raises(gr.Error, match="请先选择一张图片"):
        explain(Session(networks, lang="zh"), None, "small", "cbam", "", "")
    with pytest.raises(gr.Error, match="没有“thing 77”这个类别：您是指“thing 7"):
        explain(Session(networks, lang="zh"), photo(), "small", "cbam", "thing 77", "")
    with pytest.raises(gr.Error, match="服务器出错了"), boundary("zh"):
        raise RuntimeError


def test_what_is_wrong_with_a_file_is_said_in_chinese(tmp_path: Any) -> None:
    """Each of these is raised by the real reader, and none stays English."""
    cut = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(cut)
    cut.write_bytes(cut.read_bytes()[:900])
    tiny = tmp_path / "tiny.png"
    Image.new("RGB", (1, 1)).save(tiny)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("text")
    for name in ("cut.png", "tiny.png", "empty.png", "text.png", "gone.png"):
        with pytest.raises(ImageError) as error:
            _ = UploadedPicture(tmp_path / name).image
        assert re.search("[一-鿿]", error.value.message("zh")), name
