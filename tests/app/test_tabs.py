"""The tabs beside Explore, without a server: what they compute, and what they say of it."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from gradio.utils import deep_hash
from PIL import Image

from vggviz.app.networks import Networks
from vggviz.app.pictures import Given, Question, Shown
from vggviz.app.tabs import blocks, faithful, pixel, types, what_if
from vggviz.app.tabs.lazy import Call
from vggviz.attention import ATTENTION
from vggviz.explainer import Explainer
from vggviz.hooks.capture import capture
from vggviz.images import Crop, Preprocess
from vggviz.networks import Network
from vggviz.networks.vgg import VGG
from vggviz.types import AttentionRecord
from vggviz.weights import Card, bundled_results

LABELS = ("<b>bold</b>", "koala", "kiwi", *(f"thing {k}" for k in range(3, 10)))
TYPES = ("none", *ATTENTION)


@pytest.fixture
def networks(small_vgg: Callable[..., Network]) -> Networks:
    """A small network of each attention type."""

    def load(weights: str, attention: str) -> Explainer:
        model = small_vgg(attention=attention, blend="replace", architecture="vgg19_bn")
        card = Card(weights, model.config, Preprocess(64, 64), LABELS)
        return Explainer(model, card)

    return Networks({"small": TYPES}, load)


def picture() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC)


def called(networks: Networks, attention: str, lang: str = "en") -> Call:
    found = networks.get("small", attention).explain(picture())
    question = Question("0.png", "small", attention, "")
    return Call(Shown.of([found], Given(picture(), "0.png"), question), lang)


def test_the_same_square_gives_the_same_explanation(networks: Networks) -> None:
    explainer = networks.get("small", "cbam")
    found = explainer.explain(picture(), target="kiwi")
    (again,) = explainer.explain_crop(found.image, found.crop, ("kiwi",))
    assert torch.equal(again.prediction.logits, found.prediction.logits)
    assert again.to_json() == found.to_json()
    (bare,) = explainer.explain_crop(found.image, Crop(0, 0, 9, 9, 9, 9), methods=())
    assert not bare.heatmaps
    assert bare.provenance["crop"]["right"] == 9


class TestPixel:
    def test_a_place_looks_where_the_network_says(self, networks: Networks) -> None:
        call = called(networks, "self_attention")
        explainer = networks.get("small", "self_attention")
        pixels = explainer.preprocess.normalise(call.shown.crop)[None]
        with torch.no_grad(), capture(explainer.model) as trace:
            explainer.model(pixels)
        weights = trace.taps["attention.block4.module.token"].weights[0]  # (heads, N, M)
        kept = pixel.remember(networks, call.shown)
        record = kept["block4"]
        height, width = pixel.grid_of(call.shown, "block4")
        expected = weights[:, 2 * width + 3].mean(0).reshape(record.keys or ())
        torch.testing.assert_close(record.query(2, 3), expected)
        told = pixel.looks(networks, call, kept, "block4", pixel.Cell(2, 3))
        assert len(re.findall("<img", told)) == 1 + len(weights)  # the mean, then each head
        assert told.count(f"left:{300 / width:.3f}%;top:{200 / height:.3f}%") == 1 + len(weights)
        assert "The place in row 3, column 4" in told

    def test_what_is_not_kept_comes_from_the_network_again(
        self, networks: Networks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call = called(networks, "self_attention")
        cell = pixel.Cell(1, 1)
        kept = pixel.remember(networks, call.shown)
        wanted = pixel.looks(networks, call, kept, "block5", cell)
        monkeypatch.setattr(pixel, "KEPT", 10)
        assert pixel.remember(networks, call.shown) == {}
        assert pixel.looks(networks, call, {}, "block5", cell) == wanted

    def test_in_words_by_hand(self) -> None:
        """Of four places the first looks at the last with 0.6, at itself with 0.1."""
        weights = torch.tensor([[[0.1, 0.1, 0.2, 0.6]] * 4] * 2)
        record = AttentionRecord("block5", "token", weights, (2, 2), (2, 2))
        said = pixel.reading("en", record, pixel.Cell(0, 0))
        assert "looks most at row 2, column 2 (60%), and at itself with 10%" in said
        assert "Half of its attention rests on 1 of 4 places." in said
        assert "each place would have 25%" in said
        even = AttentionRecord("b", "token", torch.full((2, 4, 4), 0.25), (2, 2), (2, 2))
        said = pixel.reading("en", even, pixel.Cell(0, 0))
        assert "on 2 of 4 places" in said
        assert "It hardly prefers any place" in said

    def test_other_types_say_what_to_choose(self, networks: Networks) -> None:
        kept, stage, asked, canvas, told, choose = pixel.opened(
            networks, called(networks, "cbam"), "block4"
        )
        assert (kept, asked, canvas) == ({}, None, "")
        assert not stage["visible"]
        assert choose["visible"]
        assert "Only in self-attention" in told

    @pytest.mark.parametrize(
        "event", [{}, {"row": -1, "column": 0}, {"row": 0, "column": 4}, {"row": "0", "column": 0}]
    )
    def test_a_place_that_is_none_is_refused(self, event: dict[str, Any]) -> None:
        assert pixel.at({"row": 3, "column": 3}, (4, 4)) == (3, 3)
        with pytest.raises(gr.Error, match="no such place"):
            pixel.at(event, (4, 4))


class TestBlocks:
    def test_a_row_each_and_a_column_each_block(self, networks: Networks) -> None:
        call = called(networks, "cbam")
        told = blocks.grid(networks, call, ["layercam", "gradcam"])
        rows = re.findall(r'<tr><th scope="row">(.*?)</th>', told)
        assert rows == ["Attention", "Grad-CAM", "LayerCAM"]
        assert len(re.findall("<img", told)) == 3 * len(VGG.stages)

    def test_what_a_network_does_not_have_is_left_out(self, networks: Networks) -> None:
        methods = ["attention*gradient", "scorecam"]
        assert blocks.possible(called(networks, "none").shown, methods) == ("scorecam",)
        assert blocks.possible(called(networks, "simam").shown, methods) == tuple(methods[::-1])
        told = blocks.grid(networks, called(networks, "se"), [])
        assert told.count("weighs channels, not places") == 5

    def test_the_download_is_a_png(self, networks: Networks) -> None:
        uri = blocks.download(networks, called(networks, "cbam"), ["gradcam"])
        assert uri.startswith("data:image/png;base64,iVBORw0KGgo")


class TestTypes:
    def test_rows_come_one_by_one_as_the_networks_say(self, networks: Networks) -> None:
        call = called(networks, "cbam")
        tables = list(types.run(networks, call, "block4"))
        assert [table.count("<img") for table in tables] == sorted(
            table.count("<img") for table in tables
        )
        assert [f'value="{n}"' in table for n, table in enumerate(tables, 1)] == [True] * len(TYPES)
        for attention in TYPES:
            first = networks.get("small", attention).explain(picture()).prediction.top(1)[0]
            assert f"<b>{html.escape(first.label)}</b>" in tables[-1]
        assert "channels only" in tables[-1]
        assert tables[-1].count('class="current"') == 1

    def test_agreement_is_that_of_the_maps(self, networks: Networks) -> None:
        call = called(networks, "simam")
        one = types.row(networks, call.shown, "simam", "block4")
        place = call.shown.places["block4"]
        assert place.attention is not None
        ranks = [np.argsort(np.argsort(m.flatten())) for m in (place.attention, place.gradcam)]
        if len(np.unique(place.gradcam)) == place.gradcam.size:  # no ties
            assert one.agreement == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-6)
        assert math.isnan(types.row(networks, call.shown, "se", "block4").agreement)

    def test_what_was_measured_stands_beside_it(self) -> None:
        base, cbam = bundled_results("tiny50", "none"), bundled_results("tiny50", "cbam")
        assert types._measured("en", cbam, base) == [
            "72.5",
            "−0.4 <small>(−1.6 to +0.8)</small>",
            "17,128",
            "1.06",
        ]
        assert types._measured("en", base, base) == ["73.0", "–", "0", "1"]
        assert types._measured("en", None, base) == ["–"] * 4


class TestWhatIf:
    def test_gates_of_one_are_the_network_without_attention(
        self, networks: Networks, untouched: Any
    ) -> None:
        """`simam` learns nothing, so with gates of 1 it is the very network without attention."""
        call = called(networks, "simam")
        explainer = networks.get("small", "simam")
        with untouched(explainer.model):
            found = what_if.changed(explainer, call.shown, "identity")
        plain = networks.get("small", "none").explain(picture(), target=call.shown.target.index)
        torch.testing.assert_close(
            found.prediction.logits, plain.prediction.logits, atol=1e-5, rtol=1e-5
        )

    @pytest.mark.parametrize("attention", TYPES)
    def test_every_choice_answers_for_every_type(self, networks: Networks, attention: str) -> None:
        call = called(networks, attention)
        for replacement in what_if.CHOICES:
            told = what_if.compare(networks, call, replacement, 0, "block4")
            assert ("Nothing is changed yet" in told) == (replacement == "learned")
            assert told.count("<section") == 2
        assert "<b>bold" not in told

    def test_layers_go_from_the_top_down(self, networks: Networks) -> None:
        explainer = networks.get("small", "cbam")
        names = list(explainer.model.parameter_groups())
        assert names[:4] == ["head", "attention at block5", "conv5_4", "conv5_3"]
        assert names[-1] == "conv1_1"
        assert len(names) <= what_if.MOST
        trained = explainer.model.state_dict()
        for count in (0, 1, 3, len(names)):
            state = what_if.untrained(explainer, count).model.state_dict()
            changed = {
                key.rpartition(".")[0] for key in state if not torch.equal(state[key], trained[key])
            }
            chosen = list(explainer.model.parameter_groups().values())[:count]
            paths = [path for paths in chosen for path in paths]
            assert all(any(f"{c}.".startswith(f"{p}.") for p in paths) for c in changed)
            assert all(any(f"{c}.".startswith(f"{p}.") for c in changed) for p in paths)

    def test_a_step_builds_one_network(
        self, networks: Networks, monkeypatch: pytest.MonkeyPatch, untouched: Any
    ) -> None:
        explainer = networks.get("small", "cbam")
        made: list[Network] = []
        build = Network.__init__

        def noting(self: Network, *args: Any, **options: Any) -> None:
            made.append(self)
            build(self, *args, **options)

        def copied(self: Network, memo: object) -> Network:
            raise AssertionError("the network is copied")

        with untouched(explainer.model), monkeypatch.context() as patched:
            patched.setattr(Network, "__init__", noting)
            patched.setattr(Network, "__deepcopy__", copied, raising=False)
            found = what_if.untrained(explainer, 2)
        assert made == [found.model]
        trained = explainer.model.features[0].weight
        assert found.model.features[0].weight.data_ptr() == trained.data_ptr()  # not copied either

    def test_the_sentences_are_about_what_happened(self, networks: Networks) -> None:
        call = called(networks, "cbam")
        explainer = networks.get("small", "cbam")
        same = what_if.changed(explainer, call.shown, "learned")
        said = what_if.reading("en", call.shown, same, [], "block4")
        assert said[0].startswith("The answer stays")
        assert "rank correlation 1.00" in said[1] or "no order" in said[1]
        assert "hardly uses" in said[-1]


class TestFaithful:
    def test_curves_begin_and_end_where_they_must(self, networks: Networks) -> None:
        call = called(networks, "cbam")
        *_, curves = faithful.measure(networks, call.shown, "block4")
        assert [name for kind, name in curves if kind == "deletion"] == [
            "attention",
            "gradcam",
            "random",
        ]
        whole = {r.index: r.probability for r in call.shown.top}[call.shown.target.index]
        for (kind, _), points in curves.items():
            assert len(points) == faithful.POINTS
            assert [x for x, _ in points] == pytest.approx(np.linspace(0, 1, faithful.POINTS))
            end = points[0] if kind == "deletion" else points[-1]
            assert end[1] == pytest.approx(whole, abs=1e-4)

    def test_it_is_drawn_while_it_grows_and_can_be_left(self, networks: Networks) -> None:
        call = called(networks, "se")
        running = faithful.run(networks, call, "block4")
        first, second = next(running), next(running)
        values = [int(re.findall(r'value="(\d+)"', part)[0]) for part in (first, second)]
        assert values == [faithful.BATCH, 2 * faithful.BATCH]
        assert "only Grad-CAM is measured" in first
        running.close()

    def test_areas_and_words_by_hand(self) -> None:
        line = [(n / 50, 1 - n / 50) for n in range(51)]
        found = faithful.areas({("deletion", "gradcam"): line, ("insertion", "gradcam"): line[:9]})
        assert found == {("deletion", "gradcam"): pytest.approx(0.5)}
        areas: Any = {
            ("deletion", "attention"): 0.6,
            ("insertion", "attention"): 0.2,
            ("deletion", "gradcam"): 0.1,
            ("insertion", "gradcam"): 0.4,
            ("deletion", "random"): 0.3,
            ("insertion", "random"): 0.3,
        }
        said = faithful.verdicts("en", areas)
        assert said[0].startswith("Attention does no better")
        assert said[1].startswith("Grad-CAM beats the random map in both")
        areas["insertion", "gradcam"] = 0.2
        assert "in one of the two only" in faithful.verdicts("en", areas)[1]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_nothing_is_computed_before_a_tab_is_called(networks: Networks, lang: str) -> None:
    assert list(types.run(networks, None, "block4")) == []
    assert list(faithful.run(networks, None, "block4")) == []
    assert blocks.download(networks, None, []) == ""
    call = called(networks, "cbam", lang)
    runs: list[None] = []
    networks.get("small", "cbam").model.register_forward_hook(lambda *_: runs.append(None))
    stage, told = faithful.opened(call, "block4")
    assert (stage, runs) == ("block4", [])
    assert 'value="0"' in told


def test_a_network_without_queries_says_so(networks: Networks) -> None:
    told = pixel.opened(networks, called(networks, "cbam"), "block4")
    assert "no place can be asked" in told[4]
    assert told[5]["visible"] is True
    only = Networks(
        {"small": ("cbam",)}, lambda weights, attention: networks.get(weights, attention)
    )
    told = pixel.opened(only, called(networks, "cbam"), "block4")
    assert "no self-attention" in told[4]
    assert told[5]["visible"] is False


def test_a_toast_is_in_the_language_of_the_page(networks: Networks) -> None:
    lost = Networks(
        {"small": ("none",)}, lambda weights, attention: networks.get(weights, attention)
    )
    call = called(networks, "self_attention", "zh")
    runs: list[Callable[[], Any]] = [
        lambda: pixel.opened(lost, call, "block4"),
        lambda: blocks.grid(lost, call, ["gradcam"]),
        lambda: what_if.compare(lost, call, "learned", 0, "block4"),
        lambda: next(faithful.run(lost, call, "block4")),
    ]
    for run in runs:
        with pytest.raises(gr.Error, match=r"[一-鿿]"):
            run()
    with pytest.raises(gr.Error, match="没有这个位置"):
        pixel.at({"row": 0, "column": 99}, (4, 4), "zh")


def test_a_call_is_new_where_the_question_or_the_language_is(networks: Networks) -> None:
    """Gradio tells by `deep_hash` whether a state has changed."""
    first, again = called(networks, "cbam"), called(networks, "cbam")
    assert first.shown is not again.shown
    assert deep_hash(first) == deep_hash(again)
    assert deep_hash(first) != deep_hash(called(networks, "cbam", "zh"))
    assert deep_hash(first) != deep_hash(called(networks, "se"))
    pasted = [
        Call(replace(one.shown, question=one.shown.question._replace(path=None)), "en")
        for one in (first, again)
    ]
    assert deep_hash(pasted[0]) != deep_hash(pasted[1])
