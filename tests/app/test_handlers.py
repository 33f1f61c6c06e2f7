"""The page's handlers, without a server: what they show, keep, refuse and share."""

from __future__ import annotations

import base64
import html
import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from gradio.data_classes import ImageData
from PIL import Image

from vggviz import plotting as render
from vggviz.app import handlers, inputs, markup
from vggviz.app import result as results
from vggviz.app.diagrams import diagram
from vggviz.app.errors import boundary
from vggviz.app.handlers import ExploreContent, choose_network, draw, draw_maps, explain
from vggviz.app.inputs import Picture, UploadedPicture
from vggviz.app.networks import Networks
from vggviz.app.parts.answer import about
from vggviz.app.parts.maps import LAYER, _stages_with_attention
from vggviz.app.result import Result
from vggviz.app.session import Session
from vggviz.app.view import LAYOUTS
from vggviz.attention import ATTENTION
from vggviz.explainer import Explainer
from vggviz.images import ImageError, Preprocess
from vggviz.networks import Network
from vggviz.networks.vgg import VGG
from vggviz.plotting import data_uri
from vggviz.plotting.numbers import range_text
from vggviz.weights import Card, WeightsError, bundled_types

LABELS = ('<b>bold</b> & "quoted"', "koala", "kiwi", *(f"thing {k}" for k in range(3, 10)))
TYPES = ("none", *ATTENTION)


@pytest.fixture
def networks(small_vgg: Callable[..., Network]) -> Networks:
    """A small network of each attention type, said to be trained, and one that is not."""

    def load(weights: str, attention: str) -> Explainer:
        model = small_vgg(attention=attention, blend="replace", architecture="vgg19_bn")
        trained = "nothing" if weights == "fresh" else "all"
        card = Card(weights, model.config, Preprocess(64, 64), LABELS, trained=trained)
        return Explainer(model, card)

    return Networks({"small": TYPES, "fresh": ("se", "cbam")}, load)


def photo(seed: int = 0, size: tuple[int, int] = (120, 90)) -> UploadedPicture:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return UploadedPicture(
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), f"{seed}.png"
    )


def ask(
    networks: Networks, attention: str, picture: UploadedPicture | None = None, **changes: Any
) -> Any:
    request = {"weights": "small", "target": "", "contrast": "", **changes}
    weights, target, contrast = (request.pop(name) for name in ("weights", "target", "contrast"))
    view = (request.pop("stage", "block3"), *request.pop("view", ()))
    session = Session(networks, **request)
    return explain(session, picture or photo(), weights, attention, target, contrast, *view)


def seen(networks: Networks, result: Result, lang: str = "en") -> Session:
    return Session(networks, result, lang=lang)


def sources(part: str) -> list[str]:
    return re.findall(r'src="([^"]+)"', part)


@pytest.mark.parametrize("attention", TYPES)
def test_each_type_shows_what_it_weighs_and_says_what_it_does_not(
    networks: Networks, attention: str
) -> None:
    explanation = networks.get("small", attention).explain(photo().image)
    exaggerated = ("gradcam", "side", "crop", "inferno", "stretch", "cam")
    drawn = ExploreContent(*ask(networks, attention, view=exaggerated)[3:])
    views = {
        view: [getattr(record, view) for record in explanation.attention.get("block3", ())]
        for view in ("spatial", "channel")
    }
    spatial = next((map for map in views["spatial"] if map is not None), None)
    channel = next((vector for vector in views["channel"] if vector is not None), None)
    if attention == "coordinate":  # what rows and columns weigh together
        rows, columns = (record.weights for record in explanation.attention["block3"])
        spatial = (rows[:, :, None] * columns[:, None]).mean(0)
        torch.testing.assert_close(explanation.spatial("block3"), spatial)
    heatmap = explanation.heatmaps["block3", "gradcam"]

    maps = [heatmap.raw.numpy()] if not heatmap.flat else []
    if spatial is not None:
        maps.insert(0, spatial.numpy())
    side = (LAYER, LAYER)
    expected = [render.colours(render.resize(render.stretch(map)[0], side)) for map in maps]
    layers = re.findall(r'<img class="heat" style="" src="([^"]+)"', drawn.maps)
    for got, wanted in zip(layers, expected, strict=True):
        assert np.abs(decoded(got) - 255 * wanted).max() <= 24  # what JPEG makes of edges
        assert np.abs(decoded(got) - 255 * wanted).mean() <= 2
    for map in maps:
        assert all(end in drawn.maps for end in range_text(map.min(), map.max()))
    said = "This attention weighs channels, not places."
    assert (said in drawn.maps) == (attention in ("se", "eca", "selective_kernel"))
    assert ("No attention in this network." in drawn.maps) == (attention == "none")

    assert ("<svg" in drawn.channels) == (channel is not None)
    places_only = attention in ("spatial", "self_attention", "softmax")
    assert ("This attention weighs places, not channels." in drawn.channels) == places_only
    if channel is not None:
        assert (
            f"highest weight {range_text(channel.min(), channel.max())[1]} (channel "
            in drawn.channels
        )
        for extreme in (channel.max(), channel.min()):  # several dead channels may weigh the same
            named = [f"(channel {index})" for index in (channel == extreme).nonzero().flatten()]
            assert any(name in drawn.channels for name in named)
    line = html.escape(markup.attention_explanation("en", attention))
    assert drawn.about == f"<p>{line}</p>{diagram('en', attention)}"


def decoded(uri: str) -> Any:
    kind, body = uri.split(";base64,")
    assert kind in ("data:image/jpeg", "data:image/png", "data:image/webp")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))), dtype=np.int16)


def test_every_type_has_a_line_that_explains_it() -> None:
    for key in TYPES:
        assert markup.attention_title("en", key)
        assert markup.attention_explanation("en", key).endswith(".")
        assert markup.attention_explanation("zh", key).endswith("。")


def test_the_answer_is_the_networks(networks: Networks) -> None:
    details, result, _, answer, _, _, maps, *_ = ask(networks, "cbam")
    explanation = networks.get("small", "cbam").explain(photo().image)
    assert details == explanation.to_json()
    names = re.findall(r'class="name">(.*?)</span>', answer)
    assert [html.unescape(name) for name in names] == [
        ranked.label for ranked in explanation.prediction.top(5)
    ]
    crop = re.findall(r"--input:url\(([^)]+)\)", maps)[0]
    assert np.array_equal(decoded(crop), explanation.image)
    assert result.crop is not None
    assert "64&nbsp;×&nbsp;64 pixels" in maps


def test_the_page_says_how_a_deep_picture_is_shown(networks: Networks, tmp_path: Path) -> None:
    deep = np.linspace(100, 4095, 80 * 80).reshape(80, 80).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "scan.tif")
    Image.new("RGB", (80, 80), "teal").save(tmp_path / "flat.png")
    for lang, scan, flat in (
        ("en", "Values 100 to 4095 of the file", "has one colour"),
        ("zh", "文件中 100 到 4095 的值", "只有一种颜色"),
    ):
        picture = UploadedPicture(tmp_path / "scan.tif")
        assert scan in ask(networks, "cbam", picture, lang=lang)[3]
        assert flat in ask(networks, "cbam", UploadedPicture(tmp_path / "flat.png"), lang=lang)[3]
        usual = ask(networks, "cbam", lang=lang)[3]
        assert scan not in usual
        assert flat not in usual


@pytest.mark.parametrize(
    ("content", "known"),
    [
        (b"8BPS\0\1" + bytes(40), "a.png 是 PSD (Photoshop)，这里无法打开"),
        (b"GIF89a" + b"\x20\0\x20\0\0\0\0" + b"\7" * 1_100_000, "a.png 的结构太复杂"),
        (b"P3 16 16 255 " + b"9 " * 768, "a.png 是文本形式的 PPM"),
        (b"P5 9000 9000 255 ", "a.png 有 9000 × 9000 像素：最多可用 50 百万像素"),
    ],
)
def test_why_a_picture_is_refused_is_said_in_chinese(
    networks: Networks, tmp_path: Path, content: bytes, known: str
) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(gr.Error) as refused:
        ask(networks, "cbam", UploadedPicture(tmp_path / "a.png"), lang="zh")
    assert str(refused.value.message).startswith(known)


def test_labels_are_text_and_never_markup(networks: Networks) -> None:
    _, _, _, answer, _, _, maps, channels, *_ = ask(networks, "cbam", target="0")
    assert "<b>bold" not in answer + maps + channels
    assert "for &lt;b&gt;bold&lt;/b&gt; &amp; &quot;quoted&quot;" in maps
    assert 'alt="Grad-CAM for &lt;b&gt;bold&lt;/b&gt; &amp; &quot;quoted&quot; at' in maps


def test_another_view_runs_no_network(networks: Networks) -> None:
    runs = count_runs(networks.get("small", "cbam"))
    _, result, *_ = ask(networks, "cbam")
    assert len(runs) == 1
    drawn = [draw(seen(networks, result), stage) for stage in VGG.stages]
    assert len({one.maps for one in drawn}) == len({one.channels for one in drawn}) == 5
    assert len({one.channel for one in drawn}) == 5
    assert (
        len(
            {
                draw_maps(seen(networks, result), "block3", "gradcam", layout)[0]
                for layout in LAYOUTS
            }
        )
        == 4
    )
    looks = {
        draw_maps(seen(networks, result), "block3", "gradcam", "side", on, colours, scale)[0]
        for on in ("crop", "picture")
        for colours in ("inferno", "viridis")
        for scale in ("raw", "stretch")
    }
    assert len(looks) == 8
    assert len(runs) == 1


def test_the_same_question_is_not_asked_twice(networks: Networks) -> None:
    runs = count_runs(networks.get("small", "cbam"))
    first = ask(networks, "cbam")
    again = ask(networks, "cbam", result=first[1], stage="block5")
    assert again[1] is first[1]
    assert again[0] == first[0]
    assert again[3:] == tuple(draw(seen(networks, first[1]), "block5"))
    assert len(runs) == 1
    assert ask(networks, "cbam", result=first[1], target="koala")[1] is not first[1]
    assert ask(networks, "cbam", photo(1), result=first[1])[1] is not first[1]
    assert len(runs) == 3


def test_equal_content_costs_one_pass_whoever_asks(networks: Networks, tmp_path: Path) -> None:
    runs = count_runs(networks.get("small", "cbam"))
    files = [tmp_path / name for name in ("mine.png", "yours.png")]
    for file in files:
        photo().image.save(file)
    mine, yours = (ask(networks, "cbam", UploadedPicture(file, str(file)))[1] for file in files)
    assert len(runs) == 1
    assert (mine.request.path, yours.request.path) == tuple(map(str, files))
    assert mine.stages is yours.stages  # in memory once, too
    unnamed = UploadedPicture(files[0].read_bytes())
    assert ask(networks, "cbam", unnamed, lang="zh", stage="block5")[1].stages is mine.stages
    assert len(runs) == 1
    layercam = ("block3", "layercam")
    found = [
        handlers.merge_maps(session, handlers.add_method(session, (result.request, *layercam)))
        for result in (mine, yours)
        for session in [seen(networks, result)]
    ]
    assert len(runs) == 2
    assert found[0].request == mine.request
    np.testing.assert_array_equal(
        found[0].maps["block3", "layercam", 0], found[1].maps["block3", "layercam", 0]
    )
    photo(1).image.save(files[1])  # the same name, another picture
    other = ask(networks, "cbam", UploadedPicture(files[1], str(files[1])))[1]
    assert len(runs) == 3
    assert not np.array_equal(other.crop, mine.crop)
    assert (
        ask(networks, "se", UploadedPicture(files[0]))[1].attention == "se"
    )  # another network's answer
    with ThreadPoolExecutor(8) as pool:  # a class that opens the same example at the same moment
        list(pool.map(lambda _: ask(networks, "cbam", photo(2)), range(16)))
    assert len(runs) == 4


def held(value: Any) -> Iterator[np.ndarray]:
    """All arrays in there."""
    if isinstance(value, np.ndarray):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from held(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from held(one)


def test_the_cache_has_its_bounds(networks: Networks) -> None:
    """It holds each result and, for the tabs, its explanation."""
    result = ask(networks, "cbam")[1]
    arrays = sum(array.nbytes for array in {id(array): array for array in held(result)}.values())
    assert arrays == result.nbytes
    both, most = networks.cache.nbytes, 4 * max(result.nbytes, networks.cache.nbytes)
    assert both > arrays
    assert len(networks.cache) == 2
    small = Networks(networks.choices, networks.get, cache_bytes=most)
    for seed in range(6):
        ask(small, "cbam", photo(seed))
        assert small.cache.nbytes <= most
    assert most - both < small.cache.nbytes
    assert len(small.cache) == 8  # of the last four pictures


def count_runs(explainer: Explainer) -> list[None]:
    runs: list[None] = []
    explainer.model.features[0].register_forward_hook(lambda *_: runs.append(None))
    return runs


@pytest.mark.parametrize("target", ["koala", "1", "KOALA"])
def test_another_class_changes_gradcam_and_nothing_else(networks: Networks, target: str) -> None:
    explainer = networks.get("small", "cbam")
    ranked = explainer.explain(photo().image).prediction.ranked
    assert ranked[0].label != "koala"
    _, plain, _, answer, _, _, before, *_ = ask(networks, "cbam")
    details, result, _, same, _, _, after, *_ = ask(networks, "cbam", target=target)
    assert details["target"]["label"] == result.target.label == "koala"
    assert "for koala" in after
    pressed = re.compile(r'aria-pressed="\w+"')
    bars, bars_before = (pressed.sub("", one[one.index("<ol") :]) for one in (same, answer))
    assert bars == bars_before
    chosen = re.findall(r'class="chip"[^>]*aria-pressed="true"[^>]*><b>(.*?)</b>', same)
    assert chosen == ["koala"]
    assert sources(after)[:3] == sources(before)[:3]  # original, and attention over it
    assert sources(after)[4] != sources(before)[4]
    assert plain.target == ranked[0]


def test_a_picture_that_was_taken_away_is_still_asked_about(
    networks: Networks, tmp_path: Path
) -> None:
    """As the browser does before it turns on the camera."""
    file = tmp_path / "0.png"
    photo().image.save(file)
    result = ask(networks, "cbam", UploadedPicture(file, str(file)))[1]
    asked = ("small", "cbam", "", "", "block3")
    session = Session(networks, result)
    assert explain(session, None, *asked)[1] is result
    other = explain(session, None, "small", "se", *asked[2:])[1]
    assert other.request.path == str(file)
    assert other.crop.tobytes() == result.crop.tobytes()


def test_what_cannot_be_done_is_said_in_a_sentence(
    networks: Networks, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(gr.Error, match="No class 'koalla': did you mean 'koala'") as refused:
        ask(networks, "cbam", target="koalla")
    assert not refused.value.print_exception
    with pytest.raises(gr.Error, match="&lt;img src=x&gt;"):
        ask(networks, "cbam", target="<img src=x>")
    with pytest.raises(gr.Error, match="no network 'small' with attention 'nonsense'"):
        ask(networks, "nonsense")
    with pytest.raises(gr.Error, match="Choose a picture first"):
        explain(Session(networks), None, "small", "cbam", "", "")
    assert not caplog.records

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret /srv/path")

    monkeypatch.setattr(Explainer, "explain_each", fail)
    with pytest.raises(gr.Error, match=r"^'Something went wrong on the server") as refused:
        ask(networks, "cbam")
    assert "secret" not in refused.value.message
    assert "secret" in caplog.text


def test_what_was_not_learned_is_said(
    networks: Networks, small_vgg: Callable[..., Network], pictures: Any
) -> None:
    view = ("gradcam", "side", "crop", "inferno", "raw", "attention")
    *_, answer, _, strip, maps, _, _, _ = ask(networks, "cbam", weights="fresh", view=view)
    for part in (answer, strip, maps):
        assert markup.badge("untrained") in part
    *_, answer, _, strip, maps, _, _, _ = ask(networks, "cbam", view=view)
    assert markup.badge("untrained") not in answer + strip + maps
    assert "γ" not in answer + strip + maps

    model = small_vgg(attention="cbam", blend="residual", architecture="vgg19_bn")
    card = Card("small", model.config, Preprocess(64, 64), LABELS)
    blended = Networks({"small": ("cbam",)}, lambda *_: Explainer(model, card))
    model.attention["block2"].gamma.data.fill_(-0.001)
    _, result, *_, strip, maps, _, _, _ = ask(blended, "cbam", view=view)
    assert "γ = 0.60" in maps
    assert "ignores" not in maps
    assert strip.count(markup.badge("γ = 0.00: ignored")) == 1
    badge = markup.badge("γ = 0.00: the network ignores this attention")
    assert badge in draw(seen(networks, result), "block2").maps


def test_a_block_without_attention_says_so(small_vgg: Callable[..., Network]) -> None:
    model = small_vgg(
        attention="cbam", stages=("block5",), blend="replace", architecture="vgg19_bn"
    )
    card = Card("small", model.config, Preprocess(64, 64), LABELS)
    networks = Networks({"small": ("cbam",)}, lambda *_: Explainer(model, card))
    _, result, *_, maps, channels, channel, _ = ask(networks, "cbam")
    assert "No attention at Block 3.</p><p>Block 5 has it." in maps
    assert "No attention at Block 3." in channels
    assert not channel
    assert "No attention at" not in "".join(draw(seen(networks, result), "block5")[:-1])
    for count, sentence in ((2, "A and B have it."), (4, "A, B, C and D have it.")):
        assert _stages_with_attention("en", ["A", "B", "C", "D"][:count]) == sentence


def test_a_flat_map_is_called_flat_and_leaves_the_picture_bare(networks: Networks) -> None:
    _, result, *_ = ask(networks, "spatial")
    flat = replace(result.stages["block3"], attention=np.full((8, 8), 0.5, dtype=np.float32))
    result = replace(result, stages={**result.stages, "block3": flat})
    part = draw(seen(networks, result), "block3").maps
    attention = part.split("<figure")[2]
    assert sources(attention) == [data_uri(result.square)]
    assert "the same everywhere: 0.50" in attention
    assert "linear-gradient" not in attention
    assert "Nothing to compare here" in part


def test_a_session_keeps_no_full_attention(networks: Networks) -> None:
    _, result, *_ = ask(networks, "self_attention")
    explanation = networks.get("small", "self_attention").explain(photo().image)
    full = sum(r.weights.nbytes for records in explanation.attention.values() for r in records)
    kept = [p.attention for p in result.stages.values()] + [
        p.gradcam for p in result.stages.values()
    ]
    assert all(map is not None and map.base is None for map in kept[:5])
    assert sum(map.nbytes for map in kept if map is not None) < full / 20


def test_the_sharp_square_is_what_the_network_saw(networks: Networks) -> None:
    _, result, *_ = ask(networks, "none", photo(3, (700, 500)))
    assert result.square.shape == (results.SIDE, results.SIDE, 3)
    small = np.asarray(Image.fromarray(result.square).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(small.astype(int) - result.crop).mean() < 2


def test_two_at_once_get_what_they_chose(networks: Networks) -> None:
    asked = [(photo(seed), attention) for seed in range(3) for attention in ("cbam", "simam")] * 3
    alone = [ask(networks, attention, picture)[3:-1] for picture, attention in asked]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda one: ask(networks, one[1], one[0])[3:-1], asked)
    assert len(set(alone)) == 6
    assert list(together) == alone


def test_other_weights_keep_the_attention_they_have(networks: Networks) -> None:
    attention, target, contrast = choose_network(Session(networks), "fresh", "cbam", "1", "2")
    assert contrast["value"] == ""
    assert attention["value"] == "cbam"
    assert [key for _, key in attention["choices"]] == ["se", "cbam"]
    assert target["value"] == ""
    assert len(target["choices"]) == 1 + len(LABELS)
    assert ("koala", "1") in target["choices"]
    attention, *_ = choose_network(Session(networks), "fresh", "spatial", "", "")
    assert attention["value"] == "se"
    _, result, *_ = ask(networks, "cbam", weights="fresh")
    attention, target, contrast = choose_network(seen(networks, result), "fresh", "cbam", "1", "2")
    assert (attention["value"], target["value"]) == ("cbam", "1")  # only the focus was here
    assert contrast["value"] == "2"
    with pytest.raises(gr.Error, match="There is no network 'other' here"):
        choose_network(Session(networks), "other", "cbam", "", "")


class TestNetworks:
    def test_one_load_serves_all(self, small_vgg: Callable[..., Network]) -> None:
        loads: list[str] = []
        started = threading.Barrier(6)

        def load(weights: str, attention: str) -> Explainer:
            loads.append(attention)
            model = small_vgg(attention=attention)
            return Explainer(model, Card(weights, model.config, Preprocess(64, 64), LABELS))

        networks = Networks({"small": ("none", "se")}, load)

        def get(attention: str) -> Explainer:
            started.wait()
            return networks.get("small", attention)

        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(get, ["none", "se"] * 3))
        assert sorted(loads) == ["none", "se"]
        assert len(set(map(id, found))) == 2

    def test_the_least_recently_used_makes_room(self, networks: Networks) -> None:
        size = sum(p.numel() for p in networks.get("small", "none").model.parameters())
        networks._max_parameters = int(1.5 * size)
        first, second = networks.get("small", "none"), networks.get("small", "simam")
        assert networks.get("small", "none") is first
        networks.get("small", "eca")
        assert networks.get("small", "none") is first
        assert networks.get("small", "simam") is not second

    def test_the_latest_stays_however_large(self, networks: Networks) -> None:
        networks._max_parameters = 0
        assert networks.get("small", "none") is networks.get("small", "none")

    def test_a_failed_load_is_tried_again(self, small_vgg: Callable[..., Network]) -> None:
        model = small_vgg()
        outcomes: Iterator[Any] = iter([WeightsError("not there yet"), model])

        def load(weights: str, attention: str) -> Explainer:
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                raise outcome
            return Explainer(model, Card(weights, model.config, Preprocess(64, 64), LABELS))

        networks = Networks({"small": ("none",)}, load)
        with pytest.raises(gr.Error, match=r"Not there yet\."):
            ask(networks, "none")
        assert ask(networks, "none")[0]["weights"] == "small"

    def test_the_bundled_ones(self) -> None:
        choices = Networks.bundled().choices
        assert set(choices.get("everyday", ())) == set(bundled_types())
        assert set(choices["random"]) == set(TYPES)
        assert next(iter(choices)) == ("everyday" if bundled_types() else "random")


class TestPicture:
    def test_is_read_as_the_explainer_reads_it(self, tmp_path: Path) -> None:
        see_through = Image.new("RGBA", (40, 30), (255, 0, 0, 0))
        see_through.save(tmp_path / "ghost.png")
        read = Picture(render=False).preprocess(ImageData(path=str(tmp_path / "ghost.png")))
        assert read is not None
        assert (read.image.mode, read.image.size) == ("RGB", (40, 30))
        assert read.image.getpixel((5, 5)) == (255, 255, 255)
        assert read.path == str(tmp_path / "ghost.png")
        assert Picture(render=False).preprocess(None) is None

    @pytest.mark.parametrize(
        "content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\nnope", b"<svg onload='alert(1)'/>"]
    )
    def test_a_broken_file_is_a_sentence_without_a_path(
        self, tmp_path: Path, content: bytes
    ) -> None:
        file = tmp_path / "holiday <b>.png"
        file.write_bytes(content)
        read = Picture(render=False).preprocess(ImageData(path=str(file)))
        with (
            pytest.raises(gr.Error, match=r"holiday &lt;b&gt;\.png") as refused,
            boundary(),
        ):
            _ = read and read.image
        assert str(tmp_path) not in refused.value.message
        assert not refused.value.print_exception

    def test_a_data_uri_is_read_too(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        read = Picture(render=False).preprocess(ImageData(url=data_uri(pixels, "png")))
        assert read is not None
        assert np.array_equal(read.image, pixels)
        assert read.path is None
        for url in ("data:image/png;base64,%%%", "data:text/html;base64,AAAA", "file:///x", None):
            broken = Picture(render=False).preprocess(ImageData(url=url))
            with pytest.raises(ImageError):
                _ = broken and broken.image

    def test_gradio_writes_no_stub_beside_the_source(self) -> None:
        assert not list(Path(inputs.__file__).parent.glob("*.pyi"))


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [
        (0.4997, 0.5002, ("0.4997", "0.5002")),
        (0.0, 4.23e-6, ("0", "4.2×10⁻⁶")),
        (-0.5, 12.34, ("−0.50", "12")),
        (0.5, 0.5, ("0.50", "0.50")),
        (float("nan"), float("nan"), ("–", "–")),
        (150.0, 1234567.0, ("1.5×10²", "1.2×10⁶")),
    ],
)
def test_both_ends_have_the_digits_that_tell_them_apart(
    low: float, high: float, ends: tuple[str, str]
) -> None:
    assert range_text(low, high) == ends


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0, "0.0%"),
        (1e-5, "&lt;0.1%"),
        (0.0234, "2.3%"),
        (0.5, "50%"),
        (0.996, "99.6%"),
        (0.99996, "&gt;99.9%"),
        (1, "100%"),
    ],
)
def test_percent(probability: float, text: str) -> None:
    assert markup.percent(probability) == text


def test_nothing_of_anyone_is_kept_in_a_module(networks: Networks) -> None:
    ask(networks, "cbam", photo(7))
    held = [value for module in (handlers, markup, results) for value in vars(module).values()]
    assert not [value for value in held if isinstance(value, Result | Explainer | Networks)]


def test_the_page_says_what_was_measured_of_a_type() -> None:
    def found(lost: float, best: dict[str, str]) -> dict[str, Any]:
        view = {"stage": "block4", "kind": "spatial", "rates": {"off_centre": {"value": 0.437}}}
        gradcam = {**view, "kind": "gradcam", "rates": {"off_centre": {"value": 0.3}}}
        return {
            "top1": {"value": 0.7251},
            "use": {"uniform": {"points": {"value": lost}}},
            "pointing": {
                "subsets": {"off_centre": {"chance": 0.1405}},
                "views": [gradcam, view],
                "best": {"off_centre": best},
            },
        }

    told = about("en", "spatial", found(0.0212, {"attention": "block4", "gradcam": "block4"}))
    assert "with its average in its place, 2.1 points fewer are right; finds 44% of" in told
    assert "(chance 14%)" in told
    told = about("en", "se", found(0.004, {"gradcam": "block4"}))
    assert "hardly used: with its average in its place, 0.4 points fewer are right." in told
    assert "finds" not in told
    assert "Measured" not in about("en", "se")
