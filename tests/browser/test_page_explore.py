"""The first tab in a real browser: every way of looking at one result."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from page import (
    ANSWER,
    CHANNEL,
    EXAMPLES,
    MAPS,
    OPENING,
    STRIP,
    changes,
    check,
    choose,
    says,
    upload,
)

from vggviz.app import LAUNCH, QUEUE, build, handlers
from vggviz.app.errors import user_error
from vggviz.app.markup import attention_title
from vggviz.app.networks import Networks
from vggviz.cam import METHODS
from vggviz.explainer import Explainer
from vggviz.locales import class_name
from vggviz.weights import bundled_types

Visit = Callable[..., Any]


def test_each_attention_type(visit: Visit) -> None:
    page = visit()
    for key in bundled_types():
        if key != "cbam":
            changes(
                page, STRIP, lambda key=key: choose(page, "#attention", attention_title("en", key))
            )
        says(
            page,
            Explainer.load("everyday", key).explain(OPENING).prediction.top(5),
        )
        assert page.locator("#answer .bar.without").count() == (0 if key == "none" else 5)


def test_a_class_in_the_answer_becomes_the_target(visit: Visit) -> None:
    page = visit()
    second = page.locator("#answer li button").nth(1)
    label = second.locator(".name").inner_text()
    changes(page, MAPS, second.click)
    page.get_by_role("heading", name=f"Grad-CAM for {label}").wait_for()
    assert page.locator("#target input").input_value() == label
    assert page.locator("#answer [aria-pressed=true] .name").all_inner_texts() == [label]
    assert page.locator(".chip[aria-pressed=true] b").all_inner_texts() == [label]
    page.locator("#answer li button").nth(2).focus()
    changes(page, MAPS, lambda: page.keyboard.press("Enter"))
    assert page.locator("#answer li [aria-pressed=true]").count() == 1


def test_a_contrast(visit: Visit) -> None:
    page = visit()
    attention = page.get_attribute("#maps figure:nth-of-type(2) .heat", "src")
    changes(page, MAPS, lambda: choose(page, "#contrast", "pizza"))
    assert page.locator("#maps figure").count() == 4
    assert page.get_attribute("#maps figure:nth-of-type(2) .heat", "src") == attention
    assert "it knows no class" in page.locator("#maps").inner_text()
    changes(page, MAPS, lambda: choose(page, "#contrast", "Nothing"))
    assert page.locator("#maps figure").count() == 3


def test_views_of_the_same_result(visit: Visit) -> None:
    page = visit()
    changes(page, MAPS, lambda: check(page.get_by_label("Picture", exact=True).last))
    assert page.locator("#maps .frame").count() == 1
    ends = page.locator("#maps figure:nth-of-type(2) .scale b")
    assert ends.all_inner_texts() == ["0", "1.0"]
    changes(page, MAPS, lambda: check(page.get_by_label("Exaggerate", exact=True)))
    assert ends.all_inner_texts() != ["0", "1.0"]
    changes(page, STRIP, lambda: choose(page, "#colours", "viridis"))

    heat = "getComputedStyle(document.querySelector('#maps .heat')).opacity"
    before = page.evaluate(heat)
    page.locator("#opacity input[type=range]").focus()
    page.keyboard.press("End")
    page.wait_for_function(f"{heat} === '1'")
    assert float(before) == pytest.approx(0.55)

    changes(page, MAPS, lambda: choose(page, "#layout", "Attention | CAM"))
    slider = page.locator(".before-after input")
    slider.focus()
    page.keyboard.press("Home")
    assert "--at: 0%" in page.locator(".before-after").get_attribute("style")
    page.mouse.click(*middle(slider))
    assert re.search(r"--at: (49|50|51)%", page.locator(".before-after").get_attribute("style"))


def middle(part: Any) -> tuple[float, float]:
    box = part.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_other_methods_are_computed_when_asked_for(visit: Visit) -> None:
    page = visit()
    for method in ("layercam", "scorecam"):
        title = METHODS[method].title
        changes(page, MAPS, lambda title=title: choose(page, "#method", title))
        page.get_by_role("heading", name=f"{title} for").wait_for()
        page.locator("#maps figure:nth-of-type(3) .heat").wait_for()
    check(page.get_by_label("Block 5", exact=True))
    page.locator("#maps figure:nth-of-type(3) .heat").wait_for()  # computed here, too


def test_a_method_that_failed_can_be_chosen_again(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a page in this process, so that it can fail where no one can make it fail."""
    failures = [user_error("a cable fell out")]
    computed = handlers.add_method

    def add_method(session: Any, missing: Any, *args: Any, **more: Any) -> Any:
        if missing is not None and failures:
            raise failures.pop()
        return computed(session, missing, *args, **more)

    monkeypatch.setattr(handlers, "add_method", add_method)
    demo = build(Networks({"everyday": ("cbam",)}))
    _, address, _ = demo.queue(**QUEUE).launch(**LAUNCH, prevent_thread_lock=True, quiet=True)
    page = browser.new_page()
    try:
        page.goto(f"{address}?more=1")
        page.locator("#maps img").nth(1).wait_for()
        for said in ("a cable fell out", None):
            choose(page, "#method", METHODS["layercam"].title)
            if said:
                page.get_by_test_id("toast-body").filter(has_text=said).wait_for()
                page.wait_for_function("document.querySelector('#method input').value[0] === 'G'")
                page.get_by_role("heading", name="Grad-CAM for").wait_for()
        page.get_by_role("heading", name="LayerCAM for").wait_for()
        page.locator("#maps figure:nth-of-type(3) .heat").wait_for()
    finally:
        page.close()
        demo.close()


def test_a_thumbnail_chooses_the_stage_by_mouse_and_keyboard(visit: Visit) -> None:
    page = visit()
    changes(page, MAPS, lambda: page.mouse.click(*middle(page.locator("#strip img").nth(1))))
    assert page.locator("#stage input:checked").get_attribute("value") == "block2"
    page.locator("#stage input:checked").focus()
    changes(page, MAPS, lambda: page.keyboard.press("ArrowRight"))
    assert page.locator("#stage input:checked").get_attribute("value") == "block3"


def test_a_channel_is_chosen_by_mouse_and_keyboard(visit: Visit) -> None:
    page = visit()
    slider = page.locator("#channels input[type=range]")
    slider.scroll_into_view_if_needed()
    changes(page, CHANNEL, lambda: page.mouse.click(*middle(slider)))
    title = page.locator("#channel h2").inner_text()
    assert abs(int(re.findall(r"rank (\d+)", title)[0]) - 128) <= 2
    rank = int(slider.input_value())
    changes(page, CHANNEL, lambda: page.keyboard.press("ArrowRight"))
    page.get_by_role("heading", name=f"rank {rank + 1} of 256").wait_for()


def test_the_language_follows_the_browser_and_the_switch(visit: Visit) -> None:
    page = visit(locale="zh-CN")
    page.get_by_role("heading", name="网络在看哪里？").wait_for()
    page.locator("#answer h2", has_text="网络的回答").wait_for()
    page.get_by_role("tab", name="探索").wait_for()
    assert "注意力" in page.locator("#maps").inner_text()
    changes(page, MAPS, lambda: upload(page, EXAMPLES / "koala.jpg"))
    assert "The" not in page.locator("#maps").inner_text()
    changes(page, ANSWER, lambda: check(page.get_by_label("English")))
    page.locator("#answer h2", has_text="The network says").wait_for()
    page.get_by_role("heading", name="Where does the network look?").wait_for()
    says(page, Explainer.load("everyday", "cbam").explain(EXAMPLES / "koala.jpg").prediction.top(5))


def test_a_broken_picture_is_told_in_chinese(visit: Visit, tmp_path: Any) -> None:
    page = visit(query="&lang=zh")
    page.locator("#answer h2", has_text="网络的回答").wait_for()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    upload(page, broken)
    page.get_by_test_id("toast-body").filter(has_text="不是图片").wait_for()


def test_at_a_phones_width_nothing_scrolls_sideways(visit: Visit) -> None:
    page = visit(390, 844, "light", "zh-CN")
    page.locator("#answer h2", has_text="网络的回答").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#more .more").click()
    changes(page, MAPS, lambda: choose(page, "#contrast", class_name("zh", "pizza")))
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("#channels svg").is_visible()
