"""What is taken home is what was computed; a link brings back what it says, and nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest

from vggviz import Explainer
from vggviz.app import downloads, handlers
from vggviz.app.downloads import open_link
from vggviz.app.examples import examples
from vggviz.app.inputs import UploadedPicture
from vggviz.app.link import COMPONENTS, PageState, component_updates, page_state, query, read_query
from vggviz.app.networks import Networks
from vggviz.app.parts.maps import maps
from vggviz.app.session import Session
from vggviz.app.tabs import TABS
from vggviz.app.view import View, view_options

KOALA = next(example.file for example in examples() if example.file.stem == "koala")
ALL_TABS = ("explore", *TABS)
Take = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks.bundled()


@pytest.fixture(scope="module")
def session(networks: Networks) -> Session:
    """The page after the koala and the class pizza were chosen."""
    index = str(networks.get("everyday", "cbam").index("pizza"))
    return explained(networks, upload(KOALA), "everyday", "cbam", index, "")


def explained(networks: Networks, *request: Any) -> Session:
    return Session(networks, handlers.explain(Session(networks), *request)[1])


def upload(file: Path, path: str = "") -> UploadedPicture:
    return UploadedPicture(file, path or str(file.resolve()))


@pytest.fixture
def take(session: Session) -> Take:
    def call(format: str, lang: str = "en", tab: str = "explore", **changes: Any) -> Any:
        target, view = changes.pop("target", "47"), changes.pop("view", View("block5"))
        visitor = replace(session, lang=lang, **changes)
        return downloads.download(visitor, view, target, examples(), format, tab, "http://x/")

    return call


def content(file: dict[str, str]) -> bytes:
    return base64.b64decode(file["data"], validate=True)


def test_the_arrays_are_those_of_an_explanation(take: Take) -> None:
    file = take("npz")
    wanted = Explainer.load("everyday", "cbam").explain(KOALA, target="pizza").arrays()
    with np.load(io.BytesIO(content(file)), allow_pickle=False) as arrays:
        assert set(arrays) == set(wanted)
        for key, values in wanted.items():
            np.testing.assert_allclose(arrays[key], values, atol=1e-5, err_msg=key)
    assert file["name"] == "vggviz-pizza-cbam.npz"


def test_the_numbers_are_those_of_the_command_line(take: Take) -> None:
    told = json.loads(content(take("json")))
    wanted = json.loads(
        json.dumps(Explainer.load("everyday", "cbam").explain(KOALA, target="pizza").to_json())
    )
    assert told.keys() == wanted.keys()
    assert told["target"]["label"] == "pizza"
    assert told["stages"].keys() == wanted["stages"].keys()
    assert told["provenance"] == wanted["provenance"]


def test_report(take: Take) -> None:
    report = content(take("html", lang="zh")).decode()
    assert '<html lang="zh-Hans">' in report
    assert "http://x/?example=koala&amp;weights=everyday" in report
    assert all(take(kind)["type"] == type for kind, type in downloads.TYPES.items())


@pytest.mark.parametrize("scale", ["raw", "stretch"])
def test_the_report_has_the_colours_of_the_screen(take: Take, session: Session, scale: str) -> None:
    """Where a map's values lie on its colour bar is written under the bar."""
    view = View("block5", scale=scale)
    place = re.compile(r"left:([\d.]+)%;\s*right:([\d.]+)%")
    shown = place.findall(maps("en", session.current, view))
    assert len(shown) == 2  # attention and Grad-CAM
    assert set(shown) <= set(place.findall(content(take("html", view=view)).decode()))
    assert (set(shown) == {("0.0", "0.0")}) == (scale == "stretch")


def test_every_button_has_a_format() -> None:
    for lang in ("en", "zh"):
        for kind in (*downloads.DRAWN, *downloads.TYPES, "link"):
            assert f'data-format="{kind}"' in downloads.menu(lang)


def test_a_link_brings_back_what_is_shown(take: Take, networks: Networks) -> None:
    link = take("link", lang="zh", tab="faithful")["query"]
    assert link == (
        "example=koala&weights=everyday&attention=cbam&stage=block5&target=pizza&tab=faithful&lang=zh"
    )
    given = dict(pair.split("=") for pair in link.split("&"))
    state, ignored = read_query(Session(networks), given, examples(), ALL_TABS)
    assert ignored == ()
    assert query(state) == link
    parts = dict(
        zip(COMPONENTS, component_updates(Session(networks), examples(), state), strict=True)
    )
    assert parts["picture"] == str(KOALA.resolve())
    assert parts["weights"]["value"] == "everyday"
    assert parts["attention"]["value"] == "cbam"
    assert dict(map(reversed, parts["target"]["choices"]))[parts["target"]["value"]] == "pizza"
    assert parts["stage"]["value"] == "block5"
    assert parts["tabs"]["selected"] == "faithful"


def test_a_link_of_an_older_version_says_what_took_the_networks_place(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("gradio.Info", said.append)
    link = {"example": "koala", "weights": "tiny50", "attention": "cbam"}
    updates = dict(zip(COMPONENTS, open_link(Session(networks), examples(), link, 0), strict=False))
    assert updates["weights"]["value"] == "everyday"
    assert updates["attention"]["value"] == "cbam"
    assert len(said) == 1
    assert "tiny50. everyday took its place" in said[0]


def test_a_link_carries_how_it_is_looked_at(networks: Networks) -> None:
    pizza, orange = (
        str(networks.get("everyday", "se").index(name)) for name in ("pizza", "orange")
    )
    session = explained(networks, upload(KOALA), "everyday", "se", pizza, orange)
    view = View("block4", *(choices[-1] for choices in view_options().values()))
    state = page_state(session, view, "types", examples(), pizza, 0.3)
    assert state is not None
    assert all(state), "nothing of it is as the page opens"
    given = dict(parse_qsl(query(state)))
    assert read_query(Session(networks), given, examples(), ALL_TABS) == (state, ())
    parts = dict(
        zip(COMPONENTS, component_updates(Session(networks), examples(), state), strict=True)
    )
    assert [parts[name] for name in view_options()] == list(view[1:])
    assert (parts["stage"]["value"], parts["opacity"]) == ("block4", 0.3)
    assert (parts["target"]["value"], parts["contrast"]["value"]) == (pizza, orange)


def test_links_made_before_version_0_2_say_site(networks: Networks) -> None:
    state, ignored = read_query(Session(networks), {"site": "block2"}, (), ())
    assert (state.stage, ignored) == ("block2", ())


def test_without_a_chosen_class_a_link_names_none(take: Take) -> None:
    assert "target" not in take("link", target="")["query"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("example", "../../etc/passwd"),
        ("example", "koala.jpg"),
        ("weights", "/etc/passwd"),
        ("weights", "hf:user/repo"),
        ("attention", "__class__"),
        ("stage", "block9"),
        ("contrast", "nothing"),
        ("method", "magic"),
        ("layout", "upside-down"),
        ("on", "__proto__"),
        ("colours", "jet"),
        ("scale", "log"),
        ("opacity", "1.5"),
        ("opacity", "nan"),
        ("opacity", "much"),
        ("target", "<script>"),
        ("target", "84"),
        ("tab", "admin"),
        ("lang", "xx"),
    ],
)
def test_what_a_link_can_not_ask_for_is_ignored(networks: Networks, name: str, value: str) -> None:
    state, ignored = read_query(
        Session(networks), {name: value, "__theme": "dark"}, examples(), ALL_TABS
    )
    assert ignored == (name,)
    assert state == PageState()


def test_a_class_goes_with_its_network(networks: Networks) -> None:
    state, ignored = read_query(
        Session(networks), {"target": "ESPRESSO", "stage": "block1"}, examples(), ALL_TABS
    )
    assert (state.target, state.stage, ignored) == ("espresso", "block1", ())


def test_opening_the_page_by_a_link(networks: Networks) -> None:
    told = downloads.open_link(Session(networks), examples(), {"attention": "se"}, 3)
    assert told[-1] == 4
    assert told[COMPONENTS.index("attention")]["value"] == "se"
    assert told[COMPONENTS.index("picture")] == gr.skip()
    plain = downloads.open_link(Session(networks), examples(), {"lang": "zh", "view": "api"}, 3)
    assert all(part == gr.skip() for part in plain)


def test_ones_own_picture_has_no_link_but_files(networks: Networks) -> None:
    session = explained(networks, upload(KOALA, "/tmp/own.jpg"), "everyday", "cbam", "", "")
    assert page_state(session, View("block5"), "explore", examples()) is None
    arguments: Any = (session, View("block5"), "", examples())
    with pytest.raises(gr.Error, match="can't carry your own picture"):
        downloads.download(*arguments, "link")
    report = content(downloads.download(*arguments, "html", address="http://x/")).decode()
    assert "http://x/" not in report
    assert "/tmp/own.jpg" not in report


def test_what_can_not_be_taken_is_a_sentence(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(gr.Error, match="no such file"):
        take("exe")
    with pytest.raises(gr.Error, match="还没有"):
        take("npz", lang="zh", result=None)
    monkeypatch.setattr(downloads, "MOST_BYTES", 1000)
    with pytest.raises(gr.Error, match="vggviz explain"):
        take("npz")
