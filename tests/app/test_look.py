"""The classes to choose from at first sight, the view's address, and what the scripts ask for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import pytest
from PIL import Image

from vggviz.app import handlers, page_events
from vggviz.app.examples import example_classes, examples, strip
from vggviz.app.inputs import UploadedPicture
from vggviz.app.link import COMPONENTS, address, component_updates, read_query
from vggviz.app.networks import Networks
from vggviz.app.parts.chips import chip_classes, chips
from vggviz.app.session import Session
from vggviz.app.view import View

PAIR = next(example for example in examples() if example.other)


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks.bundled()


@pytest.fixture(scope="module")
def explained(networks: Networks) -> Callable[..., Session]:
    def call(picture: UploadedPicture, target: str = "", attention: str = "cbam") -> Session:
        request = ("everyday", attention, target, "")
        return Session(networks, handlers.explain(Session(networks), picture, *request)[1])

    return call


def pair() -> UploadedPicture:
    return UploadedPicture(PAIR.file, str(PAIR.file))


def labels(session: Session) -> list[str]:
    return [one.label for one in chip_classes(session.current)]


def test_chips_are_what_the_example_shows_or_the_two_most_probable(
    explained: Callable[..., Session],
) -> None:
    session = explained(pair())
    assert example_classes(str(PAIR.file)) == ("golden retriever", "tabby")
    assert labels(session) == ["golden retriever", "tabby"]
    assert all(
        one.probability == session.current.prediction.ranked[rank].probability
        for one in chip_classes(session.current)
        for rank in [session.current.prediction.ranked.index(one)]
    )
    own = UploadedPicture(PAIR.file, "/uploads/4d5e/tabby-and-golden-retriever.jpg")
    assert labels(explained(own)) == [one.label for one in session.current.top[:2]]
    assert example_classes(own.path) == ()
    chosen = explained(pair(), "pizza")
    assert labels(chosen) == ["golden retriever", "tabby", "pizza"]
    html = chips("en", chosen.current)
    assert html.count('aria-pressed="true"') == html.count('tabindex="0"') == 1
    assert "Attention stays" in html
    assert "Attention stays" not in chips("en", explained(pair(), attention="se").current)


def test_captions_of_examples_are_in_the_language_of_the_page() -> None:
    english, chinese = (
        re.findall(r'title="([^"]+)"', strip(examples(), lang)) for lang in ("en", "zh")
    )
    assert len(english) == len(chinese) == len(examples())
    assert english[3] == "A lesser (red) panda on a branch, right of the centre."
    assert not [caption for caption in english if re.search("[一-鿿]", caption)]
    assert not [caption for caption in chinese if not re.search("[一-鿿]", caption)]
    assert f'aria-label="示例：{chinese[3]}"' in strip(examples(), "zh")


def test_the_address_brings_back_the_view_and_tells_nothing_of_ones_own(
    explained: Callable[..., Session], networks: Networks
) -> None:
    session = explained(pair(), "tabby")
    found = address(session, View("block5", "layercam", colours="viridis"))
    state, ignored = read_query(session, dict(parse_qsl(found)), examples(), ())
    assert not ignored
    updates = dict(zip(COMPONENTS, component_updates(session, examples(), state), strict=True))
    assert (updates["picture"], updates["method"]) == (str(PAIR.file), "layercam")
    assert updates["target"]["value"] == str(networks.get("everyday", "cbam").index("tabby"))
    assert updates["stage"]["value"] == "block5"
    own = explained(UploadedPicture(PAIR.file, "/uploads/4d5e/me.jpg"))
    assert address(own, View("block4")) == "weights=everyday&attention=cbam&stage=block4"


def test_the_scripts_ask_for_the_next_type_or_a_state(
    explained: Callable[..., Session], networks: Networks
) -> None:
    session, types = explained(pair()), networks.types("everyday")

    def ask(data: dict[str, Any], visitor: Session = session) -> dict[str, Any]:
        found = page_events.answer(visitor, examples(), data, 7)
        return dict(zip((*COMPONENTS, "run_request"), found, strict=True))

    following = ask({"attention": "next"})
    assert (following["attention"], following["run_request"]) == (types[1], 8)
    last = explained(pair(), attention=types[-1])
    assert ask({"attention": "next"}, last)["attention"] == types[0]
    state = ask({"query": "example=koala&attention=se&target=pizza"})
    assert state["picture"].endswith("koala.jpg")
    assert state["run_request"] == 8
    for nonsense in ({}, {"query": 1}, {"attention": "first"}):
        with pytest.raises(gr.Error, match="no such view"):
            ask(nonsense)


def test_an_animation_says_that_it_is_one(explained: Callable[..., Session], tmp_path: Any) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    for count, said in ((2, True), (1, False)):
        file = tmp_path / f"{count}.gif"
        frames[0].save(file, save_all=True, append_images=frames[1:count])
        session = explained(UploadedPicture(file, str(file)))
        answer = handlers.draw(session, *View("block4")).answer
        assert ("its first frame" in answer) == said
