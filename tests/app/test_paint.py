"""The tab 'Paint' without a server: what it shows, and what a stroke is answered."""

from __future__ import annotations

import asyncio
import html
import json
import math
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vggviz.app import build
from vggviz.app.examples import examples, painting_goal
from vggviz.app.inputs import UploadedPicture
from vggviz.app.networks import Networks
from vggviz.app.result import Request
from vggviz.app.session import Session
from vggviz.app.slots import Slots
from vggviz.app.tabs import paint
from vggviz.app.tabs.paint_view import Goal, answer, painting_target
from vggviz.attention import ATTENTION
from vggviz.attention.se import SqueezeExcitation
from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.networks.paint_code import encode
from vggviz.networks.painting import paint_grounds, painted_logits
from vggviz.types import Prediction, Ranked
from vggviz.weights import Card

LABELS = ("<b>bold</b>", "koala", "kiwi", *(f"thing {k}" for k in range(3, 10)))


@pytest.fixture
def networks(small_vgg: Callable[..., Network]) -> Networks:
    """A small network of each attention type."""

    def load(weights: str, attention: str) -> Explainer:
        model = small_vgg(
            attention=attention,
            blend="replace",
            architecture="vgg19_bn",
            stages=("block4", "block5"),
        )
        card = Card(weights, model.config, Preprocess(64, 64), LABELS)
        return Explainer(model, card)

    return Networks({"small": ("none", *ATTENTION), "bare": ("none",)}, load)


def opened(networks: Networks, attention: str, lang: str = "en", **request: str) -> Session:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC)
    wanted = Request("0.png", request.pop("weights", "small"), attention, request.pop("target", ""))
    result = Session(networks).explain(UploadedPicture(picture, "0.png"), wanted)
    return Session(networks, result, lang=lang)


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def data_of(shown: str) -> dict[str, Any]:
    found = re.search(r'data-stages="([^"]*)"', shown)
    assert found
    stages: dict[str, Any] = json.loads(html.unescape(found[1]))
    return stages


def shares(said: str) -> dict[str, tuple[float, float]]:
    """What it says now and what it said with the learned weights, by class index."""
    rows = re.findall(r'data-index="(\d+)" style="--now:([\d.]+);--was:([\d.]+)"', said)
    return {index: (float(now), float(was)) for index, now, was in rows}


def test_the_tab_opens_with_the_learned_answer(networks: Networks) -> None:
    session = opened(networks, "cbam")
    shown, tools, said, choose = paint.update_tab(session, "block4")
    stages = data_of(shown)
    ground = paint.grounds_of(session).stages["block4"]
    assert list(stages) == ["block4", "block5"]
    assert (stages["block4"]["rows"], stages["block4"]["columns"]) == (8, 8)
    assert stages["block4"]["learned"] == encode(ground.learned)
    assert 'data-stage="block4"' in shown
    assert tools.count("data-stage=") == 2
    assert len(shares(said)) == 5
    for index, (now, was) in shares(said).items():
        assert now == was
        by_index = {one.index: one.probability for one in session.current.prediction}
        assert now == pytest.approx(by_index[int(index)], abs=1e-3)
    assert "Nothing is painted" in said
    assert not choose["visible"]


def test_a_stroke_is_answered_by_the_network(networks: Networks) -> None:
    session = opened(networks, "cbam")
    explainer = session.explainer()
    grounds = paint_grounds(
        explainer.model, explainer.preprocess.normalise(session.current.crop)[None]
    )
    mask = torch.zeros(8, 8)
    mask[2:5, 3:7] = 1
    expected = explainer.prediction(painted_logits(explainer.model, grounds.stages["block4"], mask))
    said = paint.stroke(session, event(stage="block4", code=encode(mask), number=7))
    found = shares(said)
    for one in expected.top(4):
        assert found[str(one.index)][0] == pytest.approx(one.probability, abs=1e-3)
    assert 'data-number="7"' in said
    assert 'data-painted="true"' in said
    other = paint.stroke(session, event(stage="block5", code="_" * 16, number=8))
    assert shares(other) != found
    again = paint.stroke(session, event(stage="block4", code="", number=9))
    assert "Nothing is painted" in again


def test_a_stroke_costs_no_pass_of_the_whole_network(networks: Networks) -> None:
    session = opened(networks, "spatial")
    paint.update_tab(session, "block4")
    first = next(session.explainer().model.children())
    runs: list[None] = []
    handle = next(iter(first.modules())).register_forward_hook(lambda *_: runs.append(None))
    early = [
        part.register_forward_hook(lambda *_: runs.append(None))
        for part in session.explainer().model.modules_before("block4")
    ]
    paint.stroke(session, event(stage="block4", code="_" * 64, number=1))
    for one in (handle, *early):
        one.remove()
    assert runs == []


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"stage": "block4", "code": "A" * 64},
        {"stage": "block4", "code": "A" * 64, "number": "1"},
        {"stage": "block4", "code": "A" * 64, "number": True},
        {"stage": "block4", "code": "A" * 64, "number": 10**30},
        {"stage": "block1", "code": "A" * 64, "number": 1},
        {"stage": ["block4"], "code": "A" * 64, "number": 1},
        {"stage": "block4", "code": "A" * 63, "number": 1},
        {"stage": "block4", "code": "A" * 63 + "<", "number": 1},
        {"stage": "block4", "code": [math.nan] * 64, "number": 1},
        {"stage": "block4", "code": "A" * 10**6, "number": 1},
    ],
)
def test_a_stroke_that_is_none_is_refused(networks: Networks, data: dict[str, Any]) -> None:
    with pytest.raises(gr.Error, match=r"There is no such view|The paint is no text of 64"):
        paint.stroke(opened(networks, "cbam"), event(**data))


def test_an_empty_distribution_is_refused_in_the_visitors_language(networks: Networks) -> None:
    with pytest.raises(gr.Error, match="还没有涂画"):
        paint.stroke(
            opened(networks, "softmax", "zh"), event(stage="block4", code="A" * 64, number=1)
        )


def test_types_without_such_weights_offer_one_that_has(networks: Networks) -> None:
    for attention in ("self_attention", "coordinate", "selective_kernel", "none"):
        shown, tools, said, choose = paint.update_tab(opened(networks, attention), "block4")
        assert "that could be painted" in shown
        assert (tools, said) == ("", "")
        assert choose == gr.update(visible=True, value="Choose CBAM")
    shown, _, _, choose = paint.update_tab(opened(networks, "none", weights="bare"), "block4")
    assert "no attention that could be painted" in shown
    assert not choose["visible"]


def test_a_network_of_others_says_why_it_cannot_be_painted() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), SqueezeExcitation(8), nn.Flatten())
    model = nn.Sequential(layers, nn.Linear(8 * 30 * 30, 10)).eval()
    networks = Networks({"small": ("channel",)}, lambda *_: Explainer.of(model, size=32))
    session = opened(networks, "channel")
    shown, tools, said, choose = paint.update_tab(session, "0.0")
    assert "This network can't be painted on." in html.unescape(shown)
    assert (tools, said, choose["visible"]) == ("", "", False)
    with pytest.raises(gr.Error, match="can be run on from a stage"):
        paint.stroke(session, event(stage="0.0", code="A", number=1))


def test_channels_come_by_what_they_contribute(networks: Networks) -> None:
    session = opened(networks, "se")
    facts = data_of(paint.update_tab(session, "block4")[0])["block4"]
    contributions = session.current.stages["block4"].contributions
    assert contributions is not None
    assert facts["kind"] == "channel"
    assert sorted(facts["order"]) == list(range(64))
    ranked = contributions[facts["order"]]
    assert (np.diff(ranked) <= 0).all()


def prediction(*shares: float) -> Prediction:
    ranked = [Ranked(index, LABELS[index], share) for index, share in enumerate(shares)]
    ranked.sort(key=lambda one: -one.probability)
    return Prediction(torch.tensor(shares).log(), tuple(ranked))


class TestAnswer:
    learned = prediction(0.5, 0.3, 0.1, 0.04, 0.03, 0.02, 0.01)

    def test_the_goal_has_a_row_of_its_own(self) -> None:
        said = answer("en", self.learned, None, Goal(6, "thing 6"), "block4", 0)
        assert [*shares(said)] == ["0", "1", "2", "3", "6"]
        assert "Can you make it say thing 6?" in said
        assert "Nobody knows" in said
        sure = answer("en", self.learned, None, Goal(6, "thing 6", "block4"), "block4", 0)
        assert "It can be done." in sure
        other = answer("en", self.learned, None, Goal(6, "thing 6", "block4"), "block5", 0)
        assert "Nobody knows" in other

    def test_it_is_won_when_it_says_so(self) -> None:
        painted = prediction(0.1, 0.6, 0.1, 0.1, 0.04, 0.03, 0.03)
        won = answer("en", self.learned, painted, Goal(1, "koala"), "block4", 1)
        assert 'data-won="true"' in won
        assert "It says koala now: 60%." in won
        assert "With your paint it says koala (60%). With what it learned it says" in won
        lost = answer("en", self.learned, painted, Goal(2, "kiwi"), "block4", 1)
        assert 'data-won="false"' in lost
        assert "Can you make it say kiwi?" in lost

    def test_labels_are_text(self) -> None:
        said = answer("en", self.learned, None, Goal(0, "<b>bold</b>"), "block4", 0)
        assert "<b>bold" not in said
        assert "&lt;b&gt;bold&lt;/b&gt;" in said


def test_the_goal_is_the_chosen_class_or_the_second(networks: Networks) -> None:
    session = opened(networks, "cbam")
    top = session.current.top
    assert painting_target(session.current) == (top[1].index, top[1].label, "")
    chosen = opened(networks, "cbam", target=str(top[3].index))
    assert painting_target(chosen.current).number == top[3].index
    same = opened(networks, "cbam", target=str(top[0].index))
    assert painting_target(same.current).number == top[1].index


@pytest.mark.slow
def test_the_goal_of_an_example_is_one_that_can_be_won() -> None:
    session = Session(Networks({"everyday": ("cbam", "se")}))
    for attention, stage in (("cbam", "block4"), ("se", "")):
        path = str(examples()[0].file)
        request = Request(path, "everyday", attention, "")
        result = session.explain(UploadedPicture(path, path), request)
        known = painting_goal(path)
        assert known
        goal = painting_target(result)
        assert (goal.label, goal.stage) == (known.label, stage)
        assert painting_target(replace(result, request=request._replace(path="0.png"))).stage == ""


def test_strokes_alone_run_a_network_outside_of_the_queue(
    networks: Networks,
) -> None:
    """What `server.rate_limit` relies on: see `gradio_private.request_kind`."""

    async def made() -> gr.Blocks:  # where a loop runs: else Gradio makes one that it never closes
        return build(networks)

    demo = asyncio.run(made())
    quick = {fn.name for fn in demo.fns.values() if fn.fn is not None and not fn.queue}
    drawn = {"draw", "restore", "reset_method", "browser_language"}
    assert quick == {"stroke", *drawn, "<lambda>"}  # which greys buttons out


class TestSlots:
    def test_one_runs_and_the_others_wait(self) -> None:
        slots, order = Slots(1, 2, 10.0), list[int]()
        with slots.enter():
            waiting = threading.Thread(target=lambda: enter(slots, order))
            waiting.start()
            waiting.join(0.1)
            assert order == []
        waiting.join(10)
        assert order == [1]

    def test_too_many_and_too_long_are_refused(self) -> None:
        slots = Slots(1, 1, 0.05)
        with slots.enter(), pytest.raises(gr.Error, match="try again"), slots.enter():
            pass
        none = Slots(1, 0, 1.0)
        with pytest.raises(gr.Error, match="请过几秒再试"), none.enter("zh"):
            pass
        with slots.enter():  # a refusal holds no slot
            pass

    def test_an_error_frees_the_slot(self) -> None:
        slots = Slots(1, 1, 0.05)
        with pytest.raises(KeyError), slots.enter():
            raise KeyError
        with slots.enter():
            pass


def enter(slots: Slots, order: list[int]) -> None:
    with slots.enter():
        order.append(1)
