"""The lessons: their formulas, their facts, and the states that they set."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import gradio as gr
import pytest
import torch
from torch import nn

from vggviz.app.examples import examples
from vggviz.app.formulas import FORMULAS
from vggviz.app.link import COMPONENTS
from vggviz.app.networks import Networks
from vggviz.app.session import Session
from vggviz.app.tabs import TABS
from vggviz.app.tabs.lessons import LESSONS, go, measured_facts, page
from vggviz.explainer import Explainer
from vggviz.locales import LANGUAGES, TEXTS, text
from vggviz.networks import NetworkConfig, build_network
from vggviz.weights import assets_folder

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


def test_there_are_six_lessons_in_order() -> None:
    keys = [lesson.key for lesson in LESSONS]
    assert keys == ["sees", "channel", "spatial", "self", "gradcam", "meaning"]
    assert [state.tab for state in LESSONS[-1].buttons.values()] == ["what_if", "faithful"]


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
def test_each_lesson_has_text_formula_question_answer_and_button(lang: str) -> None:
    shown = page(lang)
    parts = shown.split('<details name="lesson"')[1:]
    assert len(parts) == len(LESSONS)
    for part, lesson in zip(parts, LESSONS, strict=True):
        assert FORMULAS[lesson.key] in part
        for name in ("title", "letters", "question", "answer", *lesson.buttons):
            assert text(lang, f"lessons.{lesson.key}.{name}").replace("'", "&#x27;") in part
        assert part.count("<button") == len(lesson.buttons)
    assert [part.startswith(" open") for part in parts] == [True] + [False] * 5
    assert sorted(key for key in TEXTS[lang] if key.startswith("lessons.")) == sorted(
        {
            "lessons.name", "lessons.line", "lessons.question", "lessons.answer",
            "lessons.measured", "lessons.use", "lessons.pointing", "lessons.formula",
            *(
                f"lessons.{lesson.key}.{part}"
                for lesson in LESSONS
                for part in ("title", "text", "letters", "question", "answer", *lesson.buttons)
            ),
        }
    )  # fmt: skip

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


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.key)
def test_each_button_sets_a_state_that_there_is(networks: Networks, lesson: object) -> None:
    number = LESSONS.index(lesson)
    for name, state in LESSONS[number].buttons.items():
        *told, wish = go(Session(networks), number, name, 6)
        assert wish == 7
        parts = dict(zip(COMPONENTS, told, strict=True))
        file = next(one.file for one in examples() if one.file.stem == state.example)
        assert parts["picture"] == str(file)
        assert parts["weights"]["value"] == "tiny50"
        assert parts["attention"]["value"] == state.attention
        assert state.attention in dict(map(reversed, parts["attention"]["choices"]))
        labels = {index: label for label, index in parts["target"]["choices"]}
        assert not state.target or labels[parts["target"]["value"]] == state.target
        assert parts["stage"]["value"] == state.stage
        assert parts["tabs"]["selected"] == state.tab
        assert state.tab in {"explore", *TABS}
        attention = Explainer.load("tiny50", state.attention).model.attention
        assert state.attention == "none" or state.stage in attention


@pytest.mark.parametrize("wrong", [-1, 6, "0", None, 1.5, True])
def test_a_lesson_that_there_is_not_is_refused(networks: Networks, wrong: object) -> None:
    with pytest.raises(gr.Error, match="no such lesson"):
        go(Session(networks), wrong, "go" if wrong is not True else "go9", 0)


def test_measured_numbers_are_those_of_the_evaluation() -> None:
    file = assets_folder() / "weights" / "evaluation.json"
    results = json.loads(file.read_text("utf-8"))["results"]
    by_key = {lesson.key: lesson for lesson in LESSONS}
    told = " ".join(measured_facts(by_key["channel"], "en"))
    assert f"{100 * results['se']['top1']['value']:.1f}%" in told
    assert f"{100 * results['none']['top1']['value']:.1f}%" in told
    pointing = results["cbam"]["pointing"]
    subset = pointing["subsets"]["off_centre"]
    told = " ".join(measured_facts(by_key["gradcam"], "zh"))
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
        measured_facts(by_key["meaning"], "en")
    )


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
    assert f"{field}×{field}" in text("en", "lessons.sees.text")


def test_how_many_weights_self_attention_has() -> None:
    explained = Explainer.load("tiny50", "self_attention").explain(EXAMPLES / "koala.jpg")
    assert tuple(explained.attention["block4"][0].weights.shape) == (4, 100, 100)
    assert f"{4 * 100 * 100:,}" in text("en", "lessons.self.answer")
    assert f"{4 * 12544**2 / 1e6:.0f} million" in text("en", "lessons.self.answer")
    assert f"{4 * 12544**2 * 4 / 1e9:.1f} GB" in text("en", "lessons.self.answer")


def test_attention_stays_and_gradcam_changes() -> None:
    """What the fifth lesson claims of its own two buttons."""
    states = list(LESSONS[4].buttons.values())
    explainer = Explainer.load("tiny50", states[0].attention)
    file = EXAMPLES / f"{states[0].example}.jpg"
    one, other = explainer.explain_each(file, [state.target for state in states])
    for first, second in zip(one.attention["block4"], other.attention["block4"], strict=True):
        assert torch.equal(first.weights, second.weights)
    maps = [found.heatmaps["block4", "gradcam"].raw for found in (one, other)]
    assert not torch.allclose(*maps)
    peaks = [int(map.sum(1).argmax()) for map in maps]
    assert peaks[0] < 5 <= peaks[1]  # espresso above, orange below
