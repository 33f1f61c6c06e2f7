"""The diagrams of attention types: all of their line is drawn, inside the frame, in any theme."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from vggviz.app.diagrams import BOX, WIDTH, diagram
from vggviz.attention import ATTENTION, AttentionType


@pytest.mark.parametrize("attention", ATTENTION)
def test_every_type_is_drawn_from_its_line(attention: str) -> None:
    drawn = ElementTree.fromstring(diagram("en", attention))
    (image,) = drawn.iter("svg")
    words = [label.text for label in image.iter("text")]
    line = re.split(r"\s*(?:=>|[|>;]| : )\s*", ATTENTION[attention].diagram)
    assert words == ["x", *(word.strip() for word in line), "y"]
    _, _, width, height = map(float, image.attrib["viewBox"].split())
    assert width == WIDTH <= 332  # a phone's 360 pixels without margins
    assert f"min-width:{WIDTH}px" in image.attrib["style"]  # so that 14 pixels stay 14
    assert float(image.attrib["font-size"]) >= 14
    boxes = [
        tuple(float(box.attrib[name]) for name in ("x", "y", "width")) for box in image.iter("rect")
    ]
    for x, y, wide in boxes:
        assert 0 <= x < x + wide < WIDTH
        assert 0 <= y < y + BOX < height
    for one in boxes:  # no box lies over another
        for other in boxes:
            apart = abs(one[1] - other[1]) >= BOX
            aside = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0]
            assert one is other or apart or aside
    assert not re.search(r"#[0-9a-f]{3}|black|white", diagram("en", attention))


def test_it_is_told_to_who_does_not_see_it() -> None:
    assert f'role="img" aria-label="Diagram. {ATTENTION["se"].explanation}"' in diagram("en", "se")
    assert 'aria-label="示意图：每个通道一个权重' in diagram("zh", "se")


def test_what_has_no_line_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTENTION, "other", AttentionType(ATTENTION["se"], "Other", "It weighs."))
    assert diagram("en", "none") == diagram("en", "other") == ""
