"""The page of `vggviz serve --network`: a network that knows nothing of vggviz, in a browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import seed_listing
import torch
from conftest import WAIT
from page import ANSWER, EXAMPLES, MAPS, READY, changes, check, choose, says, show, upload
from served import SERVE, Served, served

from vggviz import Explainer

KEY = "seed_listing.py:vgg19"
LABELS = [f"animal {k}" for k in range(7)]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The listing in a folder of its own, with a checkpoint as DataParallel writes it."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(seed_listing.__file__, folder)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        state = seed_listing.vgg19().state_dict()
    torch.save({f"module.{key}": x for key, x in state.items()}, folder / "last.pth")
    (folder / "labels.txt").write_text("\n".join(LABELS), "utf-8")
    return {"network": f"{folder / 'seed_listing.py'}:vgg19", "checkpoint": folder / "last.pth"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, options: dict[str, Any]) -> Iterator[Served]:
    folder = Path(options["checkpoint"]).parent
    command = [*SERVE, "--network", options["network"], "--checkpoint", str(options["checkpoint"])]
    command += ["--labels", str(folder / "labels.txt"), "--size", "64"]
    with served(tmp_path_factory.mktemp("server"), command) as server:
        yield server
        assert "Traceback" not in server.printed()


def test_every_tab_of_a_foreign_network(own: Served, browser: Any, options: dict[str, Any]) -> None:
    page = browser.new_context().new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{own.address}/?example=koala&tab=explore")
    explainer = Explainer.load(
        options["network"], checkpoint=options["checkpoint"], labels=LABELS, size=64
    )
    found = explainer.explain(EXAMPLES / "koala.jpg")
    says(page, found.prediction.top(5))
    assert page.locator("#weights input").input_value() == KEY
    stages = page.locator("#stage label")
    assert stages.count() == len(explainer.model.stages) == page.locator("#strip li").count()
    values = page.locator("#stage input").evaluate_all("all => all.map(one => one.value)")
    assert values == list(explainer.model.stages)
    for index in range(stages.count()):
        if not page.locator("#stage input").nth(index).is_checked():
            box = page.locator("#stage input").nth(index)
            changes(page, MAPS, lambda box=box: check(box))
    for tab in READY:
        show(page, tab)
    show(page, "pixel")
    page.locator("#pixel .heads figure").nth(3).wait_for(state="attached")
    show(page, "what_if")
    stage = page.locator("#what-stage input").first
    stage.wait_for(state="attached")
    before = page.locator("#what-if .html-container").inner_html()
    check(page.get_by_label("Without effect"))
    page.wait_for_function(
        "before => document.querySelector('#what-if .html-container').innerHTML !== before",
        arg=before,
    )
    assert re.search("The answer (stays|changes)", page.locator("#what-if .reading").inner_text())
    page.get_by_role("tab", name="Explore").click()
    changes(page, ANSWER, lambda: choose(page, "#weights", "everyday: trained, 84 classes"))
    page.get_by_label("Block 4", exact=True).wait_for(state="attached")
    changes(page, ANSWER, lambda: choose(page, "#weights", KEY))
    page.wait_for_function(
        "count => document.querySelectorAll('#stage label').length === count",
        arg=len(explainer.model.stages),
    )
    changes(page, MAPS, lambda: upload(page, EXAMPLES / "tabby-cat.jpg"))
    says(page, explainer.explain(EXAMPLES / "tabby-cat.jpg").prediction.top(5))
    page.context.close()


def test_a_link_opens_the_network(own: Served, browser: Any, options: dict[str, Any]) -> None:
    page = browser.new_context().new_page()
    page.set_default_timeout(WAIT)
    explainer = Explainer.load(options["network"], size=64)
    stage = list(explainer.model.attention)[1]
    page.goto(f"{own.address}/?example=koala&weights={KEY}&stage={stage}&lang=zh")
    page.wait_for_function(
        "stage => document.querySelector('#stage input:checked')?.value === stage", arg=stage
    )
    page.locator("#answer h2", has_text="网络的回答").wait_for()
    page.context.close()
