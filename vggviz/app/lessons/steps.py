"""What the lessons are made of: each step's state of the page, the element it speaks of, and what
the student does.

A step's texts have the keys 'lessons.<lesson>.<step>.<part>': `text`; `ask` and `options`, a
question and its answers, separated by '|'; `do`, what the student is to do on the page; `reveal`,
what then comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vggviz.app.link import PageState
from vggviz.weights import BUNDLED

__all__ = ["LESSONS", "Lesson", "Step", "explained", "viewed"]

ATTENTION_TILE, CAM_TILE = "#maps figure:nth-of-type(2)", "#maps figure:nth-of-type(3)"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a lesson.

    `state` is the page's as the step opens, `look` the CSS selector of the element that it speaks
    of. `right` is the index of the right option, None where the page decides. `done` is a CSS
    selector of what is on the page once the student has done what the step asks for, '' where it
    asks for nothing; 'Show me' does the same: it brings about the state `show`, or clicks on the
    element `press`. `facts` are measurements to cite (see `facts.measured_facts`).
    """

    key: str
    state: PageState
    look: str
    right: int | None = None
    done: str = ""
    show: PageState | None = None
    press: str = ""
    facts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson: the key of its texts and formulas, the attention type whose measurements it cites,
    its steps, and the elements that its formulas' letters stand for, as CSS selectors."""

    key: str
    attention: str
    steps: Sequence[Step]
    letters: Mapping[str, str] = field(default_factory=dict[str, str])


def explained(**parts: str) -> str:
    """The selector of a page whose answer is of this `example`, `target` and `contrast`."""
    return "#answer .explained" + "".join(f'[data-{k}="{v}"]' for k, v in parts.items())


def viewed(**parts: str) -> str:
    """The selector of a page whose maps have this `stage`, `method`, `scale` or `thumbnails`."""
    return "#maps .viewed" + "".join(f'[data-{k}="{v}"]' for k, v in parts.items())


def changed(part: str, value: str) -> str:
    """The selector of the tab 'What if' with other attention weights, or with untrained layers."""
    return f'#what-if [data-{part}="{value}"]'


def _opened(tab: str) -> str:
    return f'#tabs [role="tab"][data-tab-id="{tab}"]'


def _state(
    example: str, attention: str, stage: str, tab: str = "explore", **more: str
) -> PageState:
    return PageState(example, BUNDLED, attention, stage, tab=tab, **more)


_SEES = _state("golden-retriever", "none", "block5")
_SE = _state("tabby-cat", "se", "block5")
_SPATIAL = _state("lesser-panda", "spatial", "block4")
_SIMAM = _state("lesser-panda", "simam", "block4", scale="stretch")
_SELF = _state("lesser-panda", "self_attention", "block4", "pixel")
_TWO = _state("espresso-and-orange", "cbam", "block4", target="espresso")
_IF = _state("koala", "cbam", "block5", "what_if")

LESSONS = (
    Lesson(
        "sees",
        "",
        (
            Step(
                *("halves", _SEES, "#network", 0),
                done=viewed(stage="block1"),
                show=_SEES._replace(stage="block1"),
            ),
            Step(
                *("window", _SEES, "#network", 1),
                done=viewed(stage="block3"),
                show=_SEES._replace(stage="block3"),
            ),
            Step(
                *("blob", _SEES._replace(stage="block1"), CAM_TILE, 1),
                done=viewed(stage="block5"),
                show=_SEES,
            ),
            Step(
                *("scores", _SEES, "#answer", 0),
                done=f"{explained()}:not([data-first])",
                press='#answer .chip[aria-pressed="false"]',
            ),
            Step(
                *("all", _SEES, "#tabs > .tab-wrapper", 0),
                done="#blocks tbody",
                show=_SEES._replace(tab="blocks"),
            ),
        ),
        {"x": "#network", "y": "#network", "w": "#network", "z": "#answer", "p": "#answer"},
    ),
    Lesson(
        "channel",
        "se",
        (
            Step(
                *("detectors", _SE, "#weights-shown", 0),
                done='#channel [data-speaks="speaks_against"]',
            ),
            Step(
                *("one", _SE, "#channel", 1),
                done='#channel [data-speaks]:not([data-rank="1"])',
                press="#channels input[type=range]",
            ),
            Step(*("no_map", _SE, ATTENTION_TILE, 1)),
            Step(
                *("picture", _SE, "#examples", 1),
                done=explained(example="koala"),
                show=_SE._replace(example="koala"),
            ),
            Step(
                *("need", _SE._replace(tab="what_if"), "#what-weights"),
                done=changed("replacement", "uniform"),
                press="#what-weights input[value=uniform]",
                facts=("accuracy", "use"),
            ),
        ),
        {"x": "#channel", "z": "#channels", "s": "#channels", "y": "#channel"},
    ),
    Lesson(
        "spatial",
        "spatial",
        (
            Step(
                *("where", _SPATIAL._replace(stage="block5"), "#network"),
                done=viewed(stage="block4"),
                show=_SPATIAL,
            ),
            Step(
                *("colours", _SPATIAL, "#scale", 1),
                done=viewed(scale="stretch"),
                show=_SPATIAL._replace(scale="stretch"),
            ),
            Step(
                *("flat", _SIMAM, f"{ATTENTION_TILE}, #scale", 2),
                done=viewed(scale="raw"),
                show=_SIMAM._replace(scale=""),
            ),
            Step(
                *("need", _SPATIAL._replace(tab="what_if"), "#what-weights"),
                done=changed("replacement", "inverted"),
                press="#what-weights input[value=inverted]",
                facts=("use",),
            ),
            Step(*("finds", _SPATIAL, ATTENTION_TILE, 1), facts=("pointing",)),
        ),
        {"m": ATTENTION_TILE, "x": "#network", "y": "#network"},
    ),
    Lesson(
        "self",
        "self_attention",
        (
            Step(
                *("asks", _SELF, "#pixel .canvas"),
                done="#pixel-looks [data-row]:not([data-opening])",
                press="#pixel .canvas",
            ),
            Step(
                *("corner", _SELF, "#pixel .canvas"),
                done='#pixel-looks [data-row="1"]',
                press="#pixel .canvas",
            ),
            Step(*("heads", _SELF, "#pixel .heads", 1)),
            Step(*("count", _SELF, "#pixel-looks", 2)),
            Step(
                *("received", _SELF, "#tabs > .tab-wrapper", 1),
                done=f'{_opened("explore")}[aria-selected="true"]',
                press=_opened("explore"),
                facts=("accuracy", "use"),
            ),
        ),
        {"A": "#pixel-looks", "q": "#pixel .canvas", "x": "#pixel .canvas"},
    ),
    Lesson(
        "gradcam",
        "cbam",
        (
            Step(
                *("two", _TWO, "#answer", 1),
                done=explained(target="orange"),
                show=_TWO._replace(target="orange"),
            ),
            Step(
                *("contrast", _TWO, "#contrast", 0),
                done=explained(contrast="orange"),
                show=_TWO._replace(contrast="orange"),
            ),
            Step(*("why", _TWO._replace(contrast="orange"), ATTENTION_TILE, 1)),
            Step(
                *("other", _TWO, "#method", 1),
                done=viewed(method="hirescam"),
                show=_TWO._replace(method="hirescam"),
            ),
            Step(*("finds", _TWO, "#maps", 1), facts=("pointing",)),
        ),
        {"L": CAM_TILE, "z": "#answer", "x": "#network", "w": CAM_TILE},
    ),
    Lesson(
        "meaning",
        "cbam",
        (
            Step(
                *("shuffle", _IF, "#what-weights"),
                done=changed("replacement", "shuffled"),
                press="#what-weights input[value=shuffled]",
            ),
            Step(*("many", _IF, "#what-if .reading", 2), facts=("use",)),
            Step(
                *("untrain", _IF, "#what-layers", 0),
                done="#what-if [data-untrained]",
                press="#what-layers input[type=range]",
            ),
            Step(
                *("delete", _IF._replace(tab="faithful"), "#faithful-start"),
                done="#faithful [data-complete]",
                press="#faithful-start",
            ),
            Step(*("conclude", _IF._replace(tab="faithful"), "#faithful", 1)),
        ),
        {"f": ATTENTION_TILE, "x": "#network", "p": "#answer"},
    ),
)
"""The lessons in order."""
