"""The lessons: their formulas, their facts, and the states that they set."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import escape, unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import gradio as gr
import numpy as np
import pytest
import torch
from torch import nn

from vggviz.app.examples import example_classes, examples
from vggviz.app.formulas import FORMULAS
from vggviz.app.inputs import UploadedPicture
from vggviz.app.lessons.card import card, go
from vggviz.app.lessons.facts import _hits, measured_facts
from vggviz.app.lessons.steps import LESSONS, Lesson, Step
from vggviz.app.link import COMPONENTS
from vggviz.app.networks import Networks
from vggviz.app.result import Request
from vggviz.app.session import Session
from vggviz.app.tabs import TABS
from vggviz.app.tabs.what_if import compare
from vggviz.app.view import view_options
from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.locales import LANGUAGES, TEXTS, text
from vggviz.metrics.agreement import agreement
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.weights import BUNDLED, Card, assets_folder, bundled_results

EXAMPLES = assets_folder() / "examples"
# Read off the papers: each formula's letters in order.
LETTERS = {
    "sees": ["yc=max⁡(0,bc+∑kwck∗xk)", "pk=exp⁡(zk)∑jexp⁡(zj)"],
    "channel": ["zc=1N∑nxcn", "s=σ⁡(W2max⁡(0,W1z)),ycn=scxcn"],
    "spatial": ["m=σ⁡(norm⁡(w∗[meancx;maxcx]))", "ycn=mnxcn"],
    "self": ["A=softmax⁡(qk⊤d)", "y=x+WoAv"],
    "gradcam": ["wc=1N∑n∂zk∂xcn", "Ln=max⁡(0,∑cwcxcn)"],
    "meaning": ["y=x+γ(f⁡(x)−x)", "AUC=∫01pk(t)dt"],
}


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks.bundled()


def test_there_are_six_lessons_of_five_to_seven_steps() -> None:
    keys = [lesson.key for lesson in LESSONS]
    assert keys == ["sees", "channel", "spatial", "self", "gradcam", "meaning"]
    assert all(5 <= len(lesson.steps) <= 7 for lesson in LESSONS)
    for lesson in LESSONS:
        assert len({step.key for step in lesson.steps}) == len(lesson.steps)


@pytest.mark.parametrize("key", LETTERS)
def test_formulas_are_whole_mathml(key: str) -> None:
    lines = re.findall(r"<math.*?</math>", FORMULAS[key])
    trees = [ElementTree.fromstring(line) for line in lines]
    assert ["".join(tree.itertext()) for tree in trees] == LETTERS[key]
    arity = {"msub": 2, "msup": 2, "mfrac": 2, "munder": 2, "msubsup": 3, "msqrt": 1}
    for part in (part for tree in trees for part in tree.iter()):
        assert len(part) == arity.get(part.tag, len(part)), part.tag
        assert part.tag in {*arity, "math", "mrow", "mi", "mo", "mn"}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_each_step_asks_before_it_reveals(lang: str) -> None:
    shown = card(lang)
    sections = re.findall(r"<section .*?</section>", shown)
    assert len(sections) == len(LESSONS)
    used = set()
    for section, lesson in zip(sections, LESSONS, strict=True):
        assert FORMULAS[lesson.key] in section
        articles = re.findall(r"<article .*?</article>", section)
        assert len(articles) == len(lesson.steps) == section.count("data-to=")
        for article, step in zip(articles, lesson.steps, strict=True):
            parts = ("text", "ask", "options", "reveal", *(("do",) if step.done else ()))
            keys = [f"lessons.{lesson.key}.{step.key}.{part}" for part in parts]
            used |= set(keys)
            said = [f">{escape(text(lang, key).split('|')[0])}<" for key in keys[:4]]
            places = [article.index(one) for one in said]
            assert places == sorted(places)
            options = text(lang, keys[2]).split("|")
            assert article.count("data-option=") == len(options) >= 2
            assert step.right is None or step.right < len(options)
            assert ('class="do"' in article) == bool(step.done)
            assert bool(step.done) or not (step.show or step.press)
        letters = json.loads(unescape(re.findall(r'data-letters="([^"]*)"', section)[0]))
        signs = set(re.findall("<mi>([^<]+)</mi>", FORMULAS[lesson.key]))
        assert letters
        assert set(letters) <= signs
        used |= {f"lessons.{lesson.key}.{part}" for part in ("title", "line", "letters")}
    common = {key for key in TEXTS[lang] if key.startswith("lessons.") and key.count(".") == 1}
    assert {key for key in TEXTS[lang] if key.startswith("lessons.")} == used | common

    class Balanced(HTMLParser):
        open: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    parser = Balanced()
    parser.open = []
    parser.feed(shown)
    assert parser.open == []


STEPS = [(lesson, step) for lesson in LESSONS for step in lesson.steps]


@pytest.mark.parametrize(
    ("lesson", "step"), STEPS, ids=[f"{one.key}.{step.key}" for one, step in STEPS]
)
def test_each_step_sets_a_state_that_there_is(
    networks: Networks, lesson: Lesson, step: Step
) -> None:
    wanted = [(False, step.state)] + ([(True, step.show)] if step.show else [])
    for show, state in wanted:
        *updates, request = go(Session(networks), lesson.key, step.key, show, 6)
        assert request == 7
        parts = dict(zip(COMPONENTS, updates, strict=True))
        file = next(one.file for one in examples() if one.file.stem == state.example)
        assert parts["picture"] == str(file)
        assert parts["weights"]["value"] == BUNDLED
        assert parts["attention"]["value"] == state.attention
        assert state.attention in dict(map(reversed, parts["attention"]["choices"]))
        for name in ("target", "contrast"):
            labels = {index: label for label, index in parts[name]["choices"]}
            assert not getattr(state, name) or labels[parts[name]["value"]] == getattr(state, name)
        assert parts["stage"]["value"] == state.stage
        assert parts["tabs"]["selected"] == state.tab
        assert state.tab in {"explore", *TABS}
        for name, known in view_options().items():
            assert parts[name] == (getattr(state, name) or known[0])


def test_every_picture_of_the_lessons_is_known() -> None:
    """Nothing is explained by an answer that is wrong."""
    states = {(step.state.example, step.state.attention) for _, step in STEPS}
    for example, attention in states:
        answer = Explainer.load(BUNDLED, attention).explain(EXAMPLES / f"{example}.jpg", methods=())
        shows = example_classes(str(EXAMPLES / f"{example}.jpg"))
        assert answer.prediction.top(1)[0].label in shows, (example, attention)


@pytest.mark.parametrize("wrong", [-1, "0", None, 1.5, True, "sees.halves", ["sees"]])
def test_a_step_that_there_is_not_is_refused(networks: Networks, wrong: object) -> None:
    for parts in ((wrong, "halves"), ("sees", wrong), ("sees", "two")):
        with pytest.raises(gr.Error, match="no such lesson"):
            go(Session(networks), *parts, False, 0)


def test_a_page_with_other_networks_opens_what_it_has(
    small_vgg: Callable[..., Network],
) -> None:
    model = small_vgg(attention="gate", architecture="vgg19_bn")
    card_ = Card("own", model.config, Preprocess(64, 64), tuple(f"thing {k}" for k in range(10)))
    other = Networks({"own": ("gate",)}, lambda *_: Explainer(model, card_))
    parts = dict(zip(COMPONENTS, go(Session(other), "gradcam", "two", False, 0), strict=False))
    assert parts["weights"]["value"] == "own"
    assert parts["attention"]["value"] == "gate"
    assert parts["target"]["value"] == ""


def test_measured_numbers_are_those_of_the_evaluation() -> None:
    file = assets_folder() / "weights" / "evaluation.json"
    results = json.loads(file.read_text("utf-8"))["results"]
    told = " ".join(measured_facts("se", ("accuracy",), "en"))
    assert f"{100 * results['se']['top1']['value']:.1f}%" in told
    assert f"{100 * results['none']['top1']['value']:.1f}%" in told
    pointing = results["cbam"]["pointing"]
    subset = pointing["subsets"]["off_centre"]
    told = " ".join(measured_facts("cbam", ("pointing",), "zh"))
    assert f"{subset['count']} 张" in told
    best = {
        kind: max(
            view["rates"]["off_centre"]["value"]
            for view in pointing["views"]
            if (view["kind"] == "gradcam") == (kind == "gradcam")
        )
        for kind in ("attention", "gradcam")
    }
    for rate in best.values():
        assert f"{100 * rate:.0f}%" in told
    lost = 100 * results["cbam"]["use"]["uniform"]["points"]["value"]
    assert f"{lost:.1f} points".replace("-", "−") in " ".join(
        measured_facts("cbam", ("use",), "en")
    )
    assert measured_facts("", ("accuracy",), "en") == []
    assert measured_facts("se", ("pointing",), "en") == []  # which has no map


@pytest.mark.parametrize(("block", "field"), [(1, 5), (3, 48), (5, 252)])
def test_what_a_place_has_seen(block: int, field: int) -> None:
    """The receptive fields that the first lesson tells, by the gradient of a single place."""
    layers: list[nn.Module] = []
    for part in build_network(NetworkConfig(width=0.0625)).features:
        if isinstance(part, nn.Conv2d):
            layers.append(nn.Conv2d(1, 1, 3, padding=1, bias=False, dtype=torch.double))
            nn.init.constant_(layers[-1].weight, 1 / 9)
        elif isinstance(part, nn.MaxPool2d):
            if sum(isinstance(layer, nn.AvgPool2d) for layer in layers) == block - 1:
                break
            layers.append(nn.AvgPool2d(2))
    picture = torch.zeros(1, 1, 512, 512, dtype=torch.double, requires_grad=True)
    answer = nn.Sequential(*layers)(picture)[0, 0]
    middle = len(answer) // 2
    (gradient,) = torch.autograd.grad(answer[middle, middle], picture)
    rows = gradient[0, 0].ne(0).any(1).nonzero()
    assert int(rows.max() - rows.min()) + 1 == field
    assert f"{field}×{field}" in text("en", "lessons.sees.window.reveal")


def test_how_many_weights_self_attention_has() -> None:
    explained = Explainer.load("everyday", "self_attention").explain(EXAMPLES / "koala.jpg")
    assert tuple(explained.attention["block4"][0].weights.shape) == (4, 100, 100)
    assert f"{4 * 100 * 100:,}" in text("en", "lessons.self.count.reveal")
    assert f"{4 * 12544**2 / 1e6:.0f} million" in text("en", "lessons.self.count.reveal")
    assert f"{4 * 12544**2 * 4 / 1e9:.1f} GB" in text("en", "lessons.self.count.reveal")


def test_attention_stays_and_gradcam_changes() -> None:
    """What the fifth lesson claims of its first two steps, and of the fourth."""
    explainer = Explainer.load(BUNDLED, "cbam")
    file = EXAMPLES / "espresso-and-orange.jpg"
    methods = ("gradcam", "hirescam")
    one, other = explainer.explain_each(file, ("espresso", "orange"), methods=methods)
    for first, second in zip(one.attention["block4"], other.attention["block4"], strict=True):
        assert torch.equal(first.weights, second.weights)
    maps = [found.heatmaps["block4", "gradcam"].raw for found in (one, other)]
    assert not torch.allclose(*maps)
    peaks = [int(map.sum(1).argmax()) for map in maps]
    assert peaks[0] < 5 <= peaks[1]  # espresso above, orange below
    assert agreement(maps[0], one.heatmaps["block4", "hirescam"].raw).spearman < 0.9


def test_what_the_first_lesson_claims_of_grids_and_layercam() -> None:
    explainer = Explainer.load(BUNDLED, "none")
    found = explainer.explain(EXAMPLES / "golden-retriever.jpg", methods=("gradcam", "layercam"))
    maps = found.heatmaps
    assert maps["block1", "gradcam"].values.shape == (80, 80)
    assert maps["block5", "gradcam"].values.shape == (5, 5)
    alike = [
        agreement(maps[stage, "gradcam"].raw, maps[stage, "layercam"].raw).spearman
        for stage in ("block1", "block5")
    ]
    assert alike[0] < 0.5
    assert alike[1] > 0.8


def test_what_the_second_lesson_claims_of_channels() -> None:
    explainer = Explainer.load(BUNDLED, "se")
    tabby, koala = (explainer.explain(EXAMPLES / f"{one}.jpg") for one in ("tabby-cat", "koala"))
    contributions = tabby.contributions["block5"].numpy()
    sizes = np.sort(np.abs(contributions))[::-1]
    assert sizes[: len(sizes) // 10].sum() > 0.5 * sizes.sum()
    assert (contributions < 0).any()
    highest = [int(one.attention["block5"][0].weights.argmax()) for one in (tabby, koala)]
    assert highest[0] != highest[1]


def test_what_the_third_lesson_claims_of_ranges() -> None:
    found = (
        Explainer.load(BUNDLED, "simam").explain(EXAMPLES / "lesser-panda.jpg").spatial("block4")
    )
    assert found is not None
    assert 0 < float(found.max() - found.min()) < 0.1


def test_right_options_are_those_of_the_evaluation() -> None:
    """Of the questions that measurements answer."""
    results = {key: bundled_results(BUNDLED, key) for key in ("spatial", "cbam")}
    rates = {
        (key, kind): _hits(found["pointing"], kind)
        for key, found in results.items()
        for kind in ("attention", "gradcam")
    }
    chance = results["spatial"]["pointing"]["subsets"]["off_centre"]["chance"]
    assert 2 <= rates["spatial", "attention"] / chance <= 3  # 'two to three times as often'
    assert rates["cbam", "gradcam"] - rates["cbam", "attention"] > 0.05  # 'that of Grad-CAM'
    assert results["cbam"]["use"]["uniform"]["points"]["low"] > 0.1  # 'more than 10'


def test_an_untrained_classifier_changes_gradcam(networks: Networks) -> None:
    """What the last lesson claims of its third step."""
    state = LESSONS[5].steps[2].state
    picture = UploadedPicture(EXAMPLES / f"{state.example}.jpg")
    session = Session(networks)
    result = session.explain(picture, Request("", BUNDLED, state.attention, ""))
    told = compare(Session(networks, result), "learned", 1, state.stage)
    rho = float(re.findall(r"rank correlation ([−\d.]+)", told)[0].replace("−", "-"))
    assert rho < 0.9
