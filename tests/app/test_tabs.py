"""The tabs beside Explore, without a server: what they compute, and what they say of it."""

from __future__ import annotations

import html
import json
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

from vggviz.app.attention_rows import attention_rows
from vggviz.app.inputs import UploadedPicture
from vggviz.app.networks import Networks
from vggviz.app.parts.maps import why_not_compared
from vggviz.app.result import Request
from vggviz.app.session import Session
from vggviz.app.tabs import all_stages, all_types, faithful, pixel, what_if
from vggviz.app.tabs.panels import text_percent
from vggviz.attention import ATTENTION
from vggviz.explainer import Explainer
from vggviz.hooks.capture import capture
from vggviz.images import Crop, Preprocess
from vggviz.metrics.agreement import agreement
from vggviz.networks import Network
from vggviz.networks.vgg import VGG
from vggviz.types import AttentionRecord, Prediction, Ranked
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


def opened(networks: Networks, attention: str, lang: str = "en") -> Session:
    session = Session(networks, lang=lang)
    request = Request("0.png", "small", attention, "")
    result = session.explain(UploadedPicture(picture(), "0.png"), request)
    return Session(networks, result, lang=lang)


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
        session = opened(networks, "self_attention")
        explainer = networks.get("small", "self_attention")
        pixels = explainer.preprocess.normalise(session.current.crop)[None]
        with torch.no_grad(), capture(explainer.model) as trace:
            explainer.model(pixels)
        weights = trace.taps["attention.block4.module.token"].weights[0]  # (heads, N, M)
        record = pixel.token_records(session.explanation())["block4"]
        height, width = record.grid
        expected = weights[:, 2 * width + 3].mean(0).reshape(record.keys or ())
        torch.testing.assert_close(record.query(2, 3), expected)
        told = pixel.content(session, record, pixel.Cell(2, 3))
        assert told.count("<canvas") == 1 + len(weights)  # the mean, then each head
        assert told.count(f"left:{300 / width:.3f}%;top:{200 / height:.3f}%") == 1 + len(weights)
        sent = drawn(told)
        assert (sent["count"], sent["layers"]) == (height * width, 1 + len(weights))
        most = sent["views"][0]["readings"][2 * width + 3][1]
        assert most == text_percent(float(expected.max()))

    def test_tabs_share_the_explanation_that_is_shown(self, networks: Networks) -> None:
        """No pass where the cache has it, and the same without a cache."""
        session = opened(networks, "self_attention")
        runs: list[None] = []
        model = networks.get("small", "self_attention").model
        handle = model.register_forward_hook(lambda *_: runs.append(None))
        _, expected = pixel.update_tab(session, "block5")
        pixel.update_tab(session, "block4")
        all_stages.grid(session, ["gradcam"])
        what_if.update_tab(session, "learned", 0, "block4")
        faithful.update_tab(session, "block4")
        assert runs == []
        all_stages.grid(session, ["gradcam", "layercam"])
        all_stages.grid(session, ["layercam"])
        assert len(runs) == 1
        handle.remove()
        bare = Networks(networks.choices, networks.get, cache_bytes=1000)
        again = Session(bare, session.current)
        assert pixel.update_tab(again, "block5")[1] == expected

    @pytest.mark.parametrize("chosen", ["cbam", "none"])
    def test_whatever_type_is_chosen_self_attention_is_shown(
        self, networks: Networks, chosen: str
    ) -> None:
        session, asking = opened(networks, chosen), opened(networks, "self_attention")
        runs: list[None] = []
        handle = networks.get("small", "self_attention").model.register_forward_hook(
            lambda *_: runs.append(None)
        )
        stage, told = pixel.update_tab(session, "block4")
        assert runs == [None]  # the cache has the other type's explanation for another class
        handle.remove()
        assert (stage["value"], stage["visible"]) == ("block4", True)
        record = pixel.token_records(asking.explanation())["block4"]
        assert drawn(told)["views"] == attention_rows(record, 0)["views"]
        title = {"cbam": "CBAM", "none": "a network without attention"}[chosen]
        assert f"Shown with self-attention: you chose {title}" in told
        assert "Shown with self-attention" not in pixel.update_tab(asking, "block4")[1]

    def test_a_stage_that_is_too_large_is_asked_place_by_place(
        self, networks: Networks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = opened(networks, "cbam")
        whole = drawn(pixel.update_tab(session, "block4")[1])
        monkeypatch.setattr("vggviz.app.attention_rows.LIMIT", 16)
        told = pixel.update_tab(session, "block4")[1]
        assert drawn(told)["count"] == 1
        assert "click on a place" in told
        row, column = 2, 3
        event = gr.EventData(None, {"row": row, "column": column})
        sent = drawn(pixel.click(session, "block4", event))
        index = row * whole["columns"] + column
        assert (sent["first"], sent["count"]) == (index, 1)
        assert sent["views"][0]["readings"] == [whole["views"][0]["readings"][index]]

    def test_places_that_nearly_all_look_at_are_named(self, networks: Networks) -> None:
        weights = torch.full((2, 16, 16), 0.04)
        weights[:, :, 6] = 0.4
        record = AttentionRecord("block4", "token", weights, (4, 4), (4, 4))
        session = opened(networks, "self_attention")
        told = pixel.content(session, record, pixel.Cell(0, 0))
        assert "1 place that nearly all look at: row 2, column 3." in told
        assert told.count('class="cell sink" style="left:50.000%;top:25.000%') == 1
        assert 'role="switch">Hide it<' in told
        weights[:] = torch.tensor([0.1] * 6 + [0.04] * 10)  # 1.6 times the even share
        assert "sinks" not in drawn_words(pixel.content(session, record, pixel.Cell(0, 0)))
        wide = torch.tensor([0.1] * 6 + [0.4 / 58] * 58).expand(1, 64, 64)
        record = AttentionRecord("block4", "token", wide, (8, 8), (8, 8))
        told = pixel.content(session, record, pixel.Cell(0, 0))
        assert "6 places that nearly all look at: row 1, column 1; " in told
        assert "; row 1, column 4; and 2 more." in told
        assert told.count("cell sink") == 6
        even = AttentionRecord("b", "token", torch.full((2, 16, 16), 1 / 16), (4, 4), (4, 4))
        assert "sinks" not in drawn_words(pixel.content(session, even, pixel.Cell(0, 0)))

    @pytest.mark.parametrize(
        "event", [{}, {"row": -1, "column": 0}, {"row": 0, "column": 4}, {"row": "0", "column": 0}]
    )
    def test_a_place_that_is_none_is_refused(
        self, networks: Networks, event: dict[str, Any]
    ) -> None:
        session = opened(networks, "self_attention")
        assert pixel.clicked_cell(session, {"row": 3, "column": 3}, (4, 4)) == (3, 3)
        with pytest.raises(gr.Error, match="no such place"):
            pixel.clicked_cell(session, event, (4, 4))
        with pytest.raises(gr.Error, match="no such place"):
            pixel.click(session, "block4", gr.EventData(None, {**event, "column": 99}))
        with pytest.raises(gr.Error, match="no such place"):
            pixel.click(session, "block9", gr.EventData(None, {"row": 0, "column": 0}))


def drawn_words(told: str) -> str:
    """The HTML without what the script is sent."""
    return re.sub("data-attention='[^']*'", "", told)


def drawn(told: str) -> dict[str, Any]:
    """What the script of the tab is sent."""
    (found,) = re.findall("data-attention='([^']*)'", told)
    sent: dict[str, Any] = json.loads(html.unescape(found))
    return sent


class TestBlocks:
    def test_a_row_each_and_a_column_each_block(self, networks: Networks) -> None:
        session = opened(networks, "cbam")
        told = all_stages.grid(session, ["layercam", "gradcam"])
        rows = re.findall(r'<tr><th scope="row">(.*?)</th>', told)
        assert rows == ["Attention", "Grad-CAM", "LayerCAM"]
        assert len(re.findall("<img", told)) == 3 * len(VGG.stages)

    def test_what_a_network_does_not_have_is_left_out(self, networks: Networks) -> None:
        methods = ["attention*gradient", "scorecam"]
        assert opened(networks, "none").current.available_methods(methods) == ("scorecam",)
        assert opened(networks, "simam").current.available_methods(methods) == tuple(methods[::-1])
        told = all_stages.grid(opened(networks, "se"), [])
        assert told.count("weighs channels, not places") == 5

    def test_the_download_is_a_png(self, networks: Networks) -> None:
        uri = all_stages.download(opened(networks, "cbam"), ["gradcam"])
        assert uri.startswith("data:image/png;base64,iVBORw0KGgo")


class TestTypes:
    def test_rows_come_one_by_one_as_the_networks_say(self, networks: Networks) -> None:
        session = opened(networks, "cbam")
        empty, *tables = all_types.run(session, "block4")
        assert 'value="0"' in empty  # nothing of another picture stays while the first is computed
        pictures = [table.count("<img") for table in (empty, *tables)]
        assert pictures[0] == 0
        assert pictures == sorted(pictures)
        charts = tables[-1].count('<rect class="for"') + tables[-1].count('<rect class="against"')
        weigh_channels = [
            key
            for key in TYPES
            if opened(networks, key).current.stages["block4"].channels is not None
            and opened(networks, key).current.stages["block4"].attention is None
        ]
        assert {"se", "eca"} <= set(weigh_channels)
        assert charts == 40 * len(weigh_channels)
        assert pictures[-1] + len(weigh_channels) == len(TYPES)  # no place is empty
        assert tables[-1].count("<figure") == len(TYPES)
        assert ["data-complete" in table for table in tables] == [False] * (len(TYPES) - 1) + [True]
        assert [f'value="{n}"' in table for n, table in enumerate(tables, 1)] == [True] * len(TYPES)
        for attention in TYPES:
            first = networks.get("small", attention).explain(picture()).prediction.top(1)[0]
            assert f"<b>{html.escape(first.label)}</b>" in tables[-1]
        assert tables[-1].count('class="current"') == tables[-1].count('class="kind current"') == 1
        assert tables[-1].count("✓") == tables[-1].count("✗") == 0  # it is no example

    def test_agreement_is_that_of_the_maps(self, networks: Networks) -> None:
        session = opened(networks, "cbam")
        one = all_types.row(session, "cbam", "block4")
        place = session.current.stages["block4"]
        assert place.attention is not None
        expected = agreement(torch.from_numpy(place.attention), torch.from_numpy(place.gradcam))
        assert one.agreement == expected.spearman
        nearly = replace(place, attention=0.5 + 0.01 * place.attention)
        assert why_not_compared(nearly, "all", nearly.attention, place.gradcam) == "attention"
        assert math.isnan(all_types.row(session, "se", "block4").agreement)

    def test_what_was_measured_stands_beside_it(self) -> None:
        base, cbam = bundled_results("everyday", "none"), bundled_results("everyday", "cbam")
        assert all_types._measured("en", cbam, base) == [
            "73.9",
            "+0.7 <small>(−0.7 to +2.0)</small>",
            "17,128",
            "1.03",
        ]
        assert all_types._measured("en", base, base) == ["73.2", "–", "0", "1"]
        assert all_types._measured("en", None, base) == ["–"] * 4


class TestWhatIf:
    @pytest.mark.parametrize(
        ("share", "key"), [(0.5, "used"), (0.84, "unused"), (0.97, "better"), (0.80, "unused")]
    )
    def test_only_a_fall_means_that_the_network_leans_on_the_weights(
        self, networks: Networks, share: float, key: str
    ) -> None:
        session = opened(networks, "cbam")
        ranked = (Ranked(0, "koala", 0.84), Ranked(1, "kiwi", 0.16))
        session = replace(session, result=replace(session.current, top=ranked))
        found = session.explanation(("block4",))
        after = replace(
            found,
            prediction=Prediction(
                found.prediction.logits, (Ranked(0, "koala", share), Ranked(1, "kiwi", 1 - share))
            ),
        )
        said = what_if.reading(session, after, [], "block4")
        assert said[-1] == session.text(f"what_if.{key}")
        other = replace(
            found,
            prediction=Prediction(
                found.prediction.logits, (Ranked(1, "kiwi", 0.6), Ranked(0, "koala", 0.4))
            ),
        )
        assert what_if.reading(session, other, [], "block4")[-1] == session.text("what_if.used")

    def test_gates_of_one_are_the_network_without_attention(
        self, networks: Networks, untouched: Any
    ) -> None:
        """`simam` learns nothing, so with gates of 1 it is the very network without attention."""
        session = opened(networks, "simam")
        explainer = networks.get("small", "simam")
        with untouched(explainer.model):
            found = what_if.explain_changed(session, "identity")
        plain = networks.get("small", "none").explain(
            picture(), target=session.current.target.index
        )
        torch.testing.assert_close(
            found.prediction.logits, plain.prediction.logits, atol=1e-5, rtol=1e-5
        )

    @pytest.mark.parametrize("attention", TYPES)
    def test_every_choice_answers_for_every_type(self, networks: Networks, attention: str) -> None:
        session = opened(networks, attention)
        for replacement in what_if.CHOICES:
            told = what_if.compare(session, replacement, 0, "block4")
            assert ("Nothing is changed yet" in told) == (replacement == "learned")
            assert told.count("<section") == 2
        assert "<b>bold" not in told

    def test_layers_go_from_the_top_down(self, networks: Networks) -> None:
        explainer = networks.get("small", "cbam")
        names = list(explainer.model.parameter_groups())
        assert names[:4] == ["head", "attention at block5", "conv5_4", "conv5_3"]
        assert names[-1] == "conv1_1"
        assert len(names) <= what_if.MAX_LAYERS
        trained = explainer.model.state_dict()
        for count in (0, 1, 3, len(names)):
            generator = torch.Generator().manual_seed(0)
            state = explainer.model.untrained(names[:count], generator).state_dict()
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
            found = explainer.model.untrained(
                list(explainer.model.parameter_groups())[:2], torch.Generator().manual_seed(0)
            )
        assert made == [found]
        trained = explainer.model.features[0].weight
        assert found.features[0].weight.data_ptr() == trained.data_ptr()  # not copied either

    def test_the_sentences_are_about_what_happened(self, networks: Networks) -> None:
        session = opened(networks, "cbam")
        same = what_if.explain_changed(session, "learned")
        said = what_if.reading(session, same, [], "block4")
        assert said[0].startswith("The answer stays")
        assert "rank correlation 1.00" in said[1] or "no order" in said[1]
        assert "hardly uses" in said[-1]


class TestFaithful:
    def test_curves_begin_and_end_where_they_must(self, networks: Networks) -> None:
        session = opened(networks, "cbam")
        *_, curves = faithful.measure(session, "block4")
        assert [name for kind, name in curves if kind == "deletion"] == [
            "attention",
            "gradcam",
            "random",
        ]
        whole = {r.index: r.probability for r in session.current.top}[session.current.target.index]
        for (kind, _), points in curves.items():
            assert len(points) == faithful.POINTS
            assert [x for x, _ in points] == pytest.approx(np.linspace(0, 1, faithful.POINTS))
            end = points[0] if kind == "deletion" else points[-1]
            assert end[1] == pytest.approx(whole, abs=1e-4)

    def test_it_is_drawn_while_it_grows_and_can_be_left(self, networks: Networks) -> None:
        session = opened(networks, "se")
        running = faithful.run(session, "block4")
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
def test_nothing_is_computed_before_a_tab_is_opened(networks: Networks, lang: str) -> None:
    assert list(all_types.run(None, "block4")) == []
    assert list(faithful.run(None, "block4")) == []
    assert all_stages.download(None, []) == gr.skip()
    session = opened(networks, "cbam", lang)
    runs: list[None] = []
    networks.get("small", "cbam").model.register_forward_hook(lambda *_: runs.append(None))
    stage, told = faithful.update_tab(session, "block4")
    assert (stage["value"], runs) == ("block4", [])
    assert 'value="0"' in told


def test_a_network_without_queries_says_so(networks: Networks) -> None:
    session = opened(networks, "cbam")
    only = Networks({"small": ("cbam",)}, networks.get)
    stage, told = pixel.update_tab(Session(only, session.current), "block4")
    assert "no self-attention" in told
    assert stage["visible"] is False


def test_a_toast_is_in_the_language_of_the_page(networks: Networks) -> None:
    session = opened(networks, "self_attention", "zh")
    lost = Session(Networks({"small": ("none",)}, networks.get), session.current, lang="zh")
    runs: list[Callable[[], Any]] = [
        lambda: pixel.update_tab(lost, "block4"),
        lambda: all_stages.grid(lost, ["gradcam"]),
        lambda: what_if.compare(lost, "learned", 0, "block4"),
        lambda: next(faithful.run(lost, "block4")),
    ]
    for run in runs:
        with pytest.raises(gr.Error, match=r"[一-鿿]"):
            run()
    with pytest.raises(gr.Error, match="没有这个位置"):
        pixel.clicked_cell(session, {"row": 0, "column": 99}, (4, 4))


def test_a_session_is_new_where_the_request_or_the_language_is(networks: Networks) -> None:
    """Gradio tells by `deep_hash` whether a state has changed."""
    first, again = opened(networks, "cbam"), opened(networks, "cbam")
    assert first.current is not again.current
    assert deep_hash(first) == deep_hash(again)
    assert deep_hash(first) != deep_hash(opened(networks, "cbam", "zh"))
    assert deep_hash(first) != deep_hash(opened(networks, "se"))
    pasted = [
        replace(one, result=replace(one.current, request=one.current.request._replace(path=None)))
        for one in (first, again)
    ]
    assert deep_hash(pasted[0]) != deep_hash(pasted[1])
