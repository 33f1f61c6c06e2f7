"""What is said of an answer: the truth of examples, a doubt, and the classes that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import unknown
from PIL import Image

from vggviz.app.examples import example_classes, examples, is_labelled_error, is_shown
from vggviz.app.inputs import UploadedPicture
from vggviz.app.networks import Networks
from vggviz.app.parts import truth
from vggviz.app.result import Request, Result
from vggviz.app.session import Session
from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.types import Prediction, Ranked
from vggviz.weights import BUNDLED, Card, assets_folder, bundled_types, doubt_threshold

FOLDER = assets_folder() / "examples"
ENTRIES: list[dict[str, Any]] = json.loads((FOLDER / "examples.json").read_text("utf-8"))
TRAINED = (BUNDLED, "lite")
MOST_ERRORS = 2


@pytest.mark.parametrize(
    ("weights", "attention"),
    [
        (weights, attention)
        for weights in TRAINED
        for attention in dict.fromkeys(("none", *bundled_types(weights)))
    ],
)
def test_only_labelled_errors_are_wrong(weights: str, attention: str) -> None:
    if weights == "lite":
        pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra 'lite'")
    explainer = Explainer.load(weights, attention)
    for entry in ENTRIES:
        file = FOLDER / entry["file"]
        answer = explainer.explain(file, methods=()).prediction.top(1)[0].label
        right = is_shown(str(file), answer)
        assert right or entry.get("labelled_error"), (entry["file"], answer)


def test_other_names_of_a_class_are_right() -> None:
    car, cat = (str(FOLDER / file) for file in ("sports-car.jpg", "tabby-cat.jpg"))
    assert example_classes(car) == example_classes(car, {"car", "sports car"}) == ("car",)
    assert example_classes(car, {"sports car", "jeep"}) == ("sports car",)
    both = str(FOLDER / "tabby-and-golden-retriever.jpg")
    assert example_classes(both, {"tabby"}) == ("golden retriever", "tabby")
    assert is_shown(car, "sports car")
    assert is_shown(cat, "tiger cat")
    assert is_shown(both, "tabby")
    assert not is_shown(car, "jeep")
    assert not is_shown("/uploads/0123/mine.jpg", "car")
    assert not is_shown(None, "car")


def test_two_errors_are_kept_at_most() -> None:
    assert sum(bool(entry.get("labelled_error")) for entry in ENTRIES) <= MOST_ERRORS


@pytest.fixture
def result(small_vgg: Callable[..., Network]) -> Result:
    labels = ("bee", "koala", "monarch", *(f"thing {k}" for k in range(3, 10)))
    model = small_vgg(attention="se", blend="replace", architecture="vgg19_bn")
    explainer = Explainer(model, Card(BUNDLED, model.config, Preprocess(64, 64), labels))
    networks = Networks({BUNDLED: ("se",)}, lambda *_: explainer)
    picture = UploadedPicture(Image.effect_noise((64, 64), 60).convert("RGB"), "a.png")
    return Session(networks).explain(picture, Request("a.png", BUNDLED, "se", ""))


def answering(result: Result, *shares: tuple[str, float]) -> Result:
    """The result with these classes as the whole prediction."""
    ranked = tuple(Ranked(k, label, share) for k, (label, share) in enumerate(shares))
    logits = torch.tensor([share for _, share in shares]).log()
    return replace(result, prediction=Prediction(logits, ranked), top=ranked)


def scoring(result: Result, score: str, value: float) -> Result:
    """The result with this probability of its answer, or energy of its logits."""
    if score == "probability":
        ranked = (Ranked(0, "bee", value), *result.top[1:])
        return replace(result, top=ranked)
    logits = result.prediction.logits
    shifted = logits - logits.logsumexp(0) + value
    return replace(result, prediction=Prediction(shifted, result.prediction.ranked))


def of(result: Result, file: str) -> Result:
    (path,) = (str(one.file) for one in examples() if one.file.name == file)
    return replace(result, request=result.request._replace(path=path))


def test_examples_say_whether_the_answer_is_right(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = of(answering(result, ("bee", 0.9), ("monarch", 0.1)), "bee.jpg")
    assert truth.truth("en", right) == '<p class="truth right"><b>✓</b> Right: bee</p>'
    wrong = of(answering(result, ("monarch", 0.9), ("bee", 0.1)), "bee.jpg")
    assert truth.truth("en", wrong) == '<p class="truth wrong"><b>✗</b> In truth: bee</p>'
    two = of(answering(result, ("tabby", 0.9), ("bee", 0.1)), "tabby-and-golden-retriever.jpg")
    assert "✓</b> Right: golden retriever, tabby" in truth.truth("en", two)
    other = of(answering(result, ("lamp", 0.9), ("sofa", 0.1)), "bee.jpg")
    assert "which this network does not know" in truth.truth("en", other)
    assert "✗" not in truth.truth("en", other)
    assert truth.truth("en", result) == ""
    own = replace(result, request=result.request._replace(path="/tmp/gradio/9f/bee.jpg"))
    assert truth.truth("en", own) == ""
    assert example_classes(own.request.path) == ()
    assert not is_labelled_error(wrong.request.path)
    monkeypatch.setattr(truth, "is_labelled_error", lambda path: True)
    assert "What misled this one?" in truth.truth("en", wrong)
    assert "What misled" not in truth.truth("en", right)


@pytest.mark.parametrize("attention", bundled_types())
def test_a_doubt_shows_below_the_measured_threshold_only(result: Result, attention: str) -> None:
    measured = doubt_threshold(BUNDLED, attention)
    assert measured is not None
    assert measured["known"] > 500
    assert measured["unknown"] > 500
    assert measured["known_doubted"] < 0.16
    assert measured["unknown_doubted"] > measured["known_doubted"] + 0.05
    assert measured["auroc"] > 0.6
    border = measured["threshold"]
    for offset, doubted in ((-0.01, True), (0.01, False)):
        said = scoring(replace(result, attention=attention), measured["score"], border + offset)
        assert bool(truth.doubt("en", said)) == doubted
    below = scoring(replace(result, attention=attention), measured["score"], border - 0.01)
    rates = re.findall(r"(\d+)%", truth.doubt("en", below))
    expected = [f"{100 * measured[name]:.0f}" for name in ("unknown_doubted", "known_doubted")]
    assert rates == expected
    assert "none of the 10 things" in truth.doubt("en", below)


def test_networks_that_were_not_measured_have_no_doubt(result: Result) -> None:
    low = scoring(scoring(result, "energy", -9.0), "probability", 0.01)
    assert truth.doubt("en", low)
    for weights in ("random", "../everyday", "0123abcd"):
        assert doubt_threshold(weights, "se") is None
    own = replace(low, request=low.request._replace(weights="0123abcd"))
    assert truth.doubt("en", own) == ""


def test_all_classes_are_one_click_away(result: Result) -> None:
    shown = truth.knows("en", result)
    assert re.findall("<li>([^<]+)</li>", shown) == sorted(
        ("bee", "koala", "monarch", *(f"thing {k}" for k in range(3, 10)))
    )
    assert 'popovertarget="known">What this network knows (10)</button>' in shown
    assert '<div id="known" popover ' in shown


def test_the_area_under_the_curve_by_hand() -> None:
    known, others = torch.tensor([0.9, 0.5]), torch.tensor([0.1, 0.5, 0.7])
    assert unknown.auroc(known, others) == pytest.approx((3 + 1.5) / 6)
    assert unknown.auroc(others, known) == pytest.approx(1.5 / 6)
    assert unknown.digest("a/b/c.jpg") == unknown.digest("other/c.jpg") != unknown.digest("d.jpg")
