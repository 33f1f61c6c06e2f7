"""What comes late on the page: the last choice counts, in whatever order answers come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import WAIT
from page import EXAMPLES, check, choose, says, show

from vggviz.app import LAUNCH, QUEUE, build, handlers
from vggviz.app.errors import user_error
from vggviz.app.lessons import card
from vggviz.app.lessons.steps import LESSONS
from vggviz.app.link import query
from vggviz.app.markup import attention_title
from vggviz.app.networks import Networks
from vggviz.app.session import Session
from vggviz.app.tabs import explore, faithful, pixel
from vggviz.cam import METHODS
from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.locales import text
from vggviz.networks import NetworkConfig, build_network
from vggviz.weights import Card

EXAMPLE = "lesser-panda"
"""The fourth of the examples."""


class Gate:
    """A function waits here, until the test opens it."""

    def __init__(self) -> None:
        self._reached, self._open = threading.Event(), threading.Event()

    def wait(self) -> None:
        self._reached.set()
        assert self._open.wait(WAIT / 1000)

    def reached(self) -> None:
        """Wait until the function waits."""
        assert self._reached.wait(WAIT / 1000)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Gate:
    return Gate()


def load(weights: str, attention: str) -> Explainer:
    """A bundled network, or a small one whose classes have its name."""
    if weights == "everyday":
        return Explainer.load(weights, attention)
    config = NetworkConfig(
        attention, architecture="vgg11_bn", width=0.125, head="gap", num_classes=3
    )
    labels = tuple(f"{weights} {k}" for k in range(3))
    model = build_network(config, torch.Generator().manual_seed(0))
    return Explainer(model, Card(weights, config, Preprocess(64, 64), labels))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A page in this process, where a function can be made to wait."""
    demo = build(
        Networks(
            {"everyday": ("cbam", "se", "self_attention"), "one": ("se",), "two": ("eca",)}, load
        )
    )
    _, address, _ = demo.queue(**QUEUE).launch(**LAUNCH, prevent_thread_lock=True, quiet=True)
    yield address
    demo.close()


@pytest.fixture
def page(browser: Any, address: str, gate: Gate) -> Iterator[Any]:
    page = browser.new_page(locale="en-GB")
    page.set_default_timeout(WAIT)
    page.goto(f"{address}?more=1")
    page.locator("#maps img").nth(1).wait_for()
    page.locator("#picture input[type=file]").wait_for(state="attached")
    yield page
    gate.open()
    page.close()


def explained(page: Any, example: str) -> None:
    """Wait until the answer and the maps are of this example."""
    page.locator(f'#answer .explained[data-example="{example}"]').wait_for(state="attached")
    page.locator(f'#maps [data-address*="example={example}"]').wait_for(state="attached")


def late(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, gate: Gate) -> None:
    """The first call of a function from now on returns only once the gate is open."""
    function, calls = getattr(owner, name), []

    def call(*args: Any, **named: Any) -> Any:
        calls.append(None)
        first, found = len(calls) == 1, function(*args, **named)
        if first:
            gate.wait()
        return found

    monkeypatch.setattr(owner, name, call)


def test_a_slow_method_does_not_bring_the_old_picture_back(
    page: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(monkeypatch, Session, "maps", gate)
    choose(page, "#method", METHODS["scorecam"].title)
    gate.reached()
    page.locator("#examples button").nth(3).click()
    explained(page, EXAMPLE)
    gate.open()
    page.locator("#maps figure:nth-of-type(3) .heat").wait_for()  # Score-CAM of the new picture
    explained(page, EXAMPLE)
    check(page.get_by_label("Block 5", exact=True))  # what the server has is of the new one, too
    page.locator('#maps [data-stage="Block 5"]').wait_for(state="attached")
    explained(page, EXAMPLE)


def test_the_last_of_two_choices_is_explained(
    page: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first takes longer."""
    late(monkeypatch, Session, "explain", gate)
    page.locator("#examples button").nth(3).click()
    gate.reached()
    choose(page, "#attention", attention_title("en", "se"))
    page.wait_for_timeout(1000)  # in which the second could be there before the first
    gate.open()
    page.locator('#maps [data-address*="attention=se"]').wait_for(state="attached")
    page.wait_for_timeout(500)
    assert page.locator('#maps [data-address*="attention=se"]').count() == 1
    explained(page, EXAMPLE)
    network = Explainer.load("everyday", "se")
    says(page, network.explain(EXAMPLES / f"{EXAMPLE}.jpg").prediction.top(5))


def test_language_stage_and_colours_that_were_chosen_meanwhile_stay(
    page: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(monkeypatch, Session, "explain", gate)
    page.locator("#examples button").nth(3).click()
    gate.reached()
    choose(page, "#colours", "viridis")
    page.locator('#maps [data-colours="viridis"]').wait_for(state="attached")
    check(page.locator('#stage input[value="block2"]'))
    check(page.get_by_label("中文"))
    page.locator("#answer h2", has_text="网络的回答").wait_for()
    gate.open()
    explained(page, EXAMPLE)
    page.locator("#answer h2", has_text="网络的回答").wait_for()
    chosen = '#maps [data-address*="stage=block2&colours=viridis"]'
    page.locator(chosen).wait_for(state="attached")
    assert page.locator("#stage input:checked").get_attribute("value") == "block2"
    assert "The" not in page.locator("#maps").inner_text()


def options(page: Any, dropdown: str) -> list[str]:
    """What a dropdown offers."""
    field = page.locator(f"{dropdown} input")
    field.click()
    listed = page.locator(f"#{field.get_attribute('aria-controls')} [role=option]")
    listed.first.wait_for()
    return [str(one) for one in listed.evaluate_all("all => all.map(one => one.ariaLabel)")]


def test_a_network_that_is_chosen_right_after_another_has_its_own_classes(
    page: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(monkeypatch, handlers, "choose_network", gate)
    choose(page, "#weights", "one")
    gate.reached()
    choose(page, "#weights", "two")
    gate.open()
    page.locator("#answer .name", has_text="two 0").wait_for()
    assert page.locator("#weights input").input_value() == "two"
    assert options(page, "#attention") == [attention_title("en", "eca")]
    assert options(page, "#target") == [
        text("en", "shell.predicted"),
        *(f"two {k}" for k in range(3)),
    ]
    assert page.get_by_test_id("toast-body").count() == 0


def test_a_network_that_fails_takes_its_classes_away(
    page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [options(page, name) for name in ("#attention", "#target", "#contrast")]
    explain = Session.explain

    def fail(session: Session, picture: Any, request: Any) -> Any:
        if request.weights == "one":
            raise user_error("a cable fell out")
        return explain(session, picture, request)

    monkeypatch.setattr(Session, "explain", fail)
    choose(page, "#weights", "one")
    page.get_by_test_id("toast-body").filter(has_text="a cable fell out").wait_for()
    page.wait_for_function("document.querySelector('#weights input').value[0] === 'e'")
    assert [options(page, name) for name in ("#attention", "#target", "#contrast")] == before
    page.locator("#target input").click()
    page.keyboard.type("piz")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Grad-CAM for pizza").wait_for()


@pytest.mark.parametrize(
    ("tab", "owner", "function"), [("pixel", pixel, "content"), ("faithful", faithful, "draw")]
)
def test_the_last_of_two_stages_is_drawn(
    page: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch, tab: str, owner: Any, function: str
) -> None:
    show(page, tab)
    stages = page.locator(f"#{tab}-stage input")
    checked = stages.evaluate_all("all => all.findIndex(one => one.checked)")
    before = page.locator(f"#{tab}").inner_html()
    late(monkeypatch, owner, function, gate)
    check(stages.nth(0 if checked else 1))
    gate.reached()
    check(stages.nth(checked))
    gate.open()
    page.wait_for_timeout(1000)  # in which the first could be drawn
    page.wait_for_function(
        "([tab, before]) => document.querySelector(tab).innerHTML === before",
        arg=[f"#{tab}", before],
    )


def test_the_last_channel_is_drawn(page: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    slider = page.locator("#channels input[type=range]")
    slider.focus()
    late(monkeypatch, explore, "channel", gate)
    page.keyboard.press("ArrowRight")
    gate.reached()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    gate.open()
    rank = slider.input_value()
    page.get_by_role("heading", name=f"rank {rank} of").wait_for()


def test_the_last_step_of_a_lesson_is_shown(
    page: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(monkeypatch, card, "go", gate)
    page.locator("#open-lessons button").click()
    page.locator("#lesson nav li button").nth(4).click()
    gate.reached()
    steps = LESSONS[4].steps  # of a type that this page has
    different = next(n for n, one in enumerate(steps) if one.state != steps[0].state)
    page.locator("#lesson .progress:visible button").nth(different).click()
    gate.open()
    state = steps[different].state
    chosen = f'#maps [data-address*="{query(state._replace(tab="", lang=""))}"]'
    page.locator(chosen).wait_for(state="attached")


def test_what_if_is_of_the_last_picture(
    page: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(page, "what_if")
    late(monkeypatch, Session, "explain_changed", gate)
    check(page.get_by_label("Without effect"))
    gate.reached()
    page.locator("#examples button").nth(3).click()
    explained(page, EXAMPLE)
    page.wait_for_timeout(1500)  # in which the new comparison could be there before the old one
    gate.open()
    first = page.locator("#what-if .before .name").first
    top = Explainer.load("everyday", "cbam").explain(EXAMPLES / f"{EXAMPLE}.jpg").prediction.top(1)
    page.wait_for_timeout(500)
    page.locator("#what-if .before li:first-child .name", has_text=top[0].label).wait_for()
    assert first.inner_text() == top[0].label
