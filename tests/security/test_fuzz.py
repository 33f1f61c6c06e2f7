"""Every argument that comes from a browser or a program may be anything: the outcome is a result,
or an error of one sentence, and nothing that happens is unexpected."""

from __future__ import annotations

import asyncio
import html
import inspect
import logging
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlencode

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import ImageData
from gradio.state_holder import SessionState
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.requests import Request
from test_hostile import INSIDE, SENTENCE

from vggviz.app import api, build
from vggviz.app.inputs import Picture, UploadedPicture
from vggviz.app.networks import Networks
from vggviz.app.result import Result
from vggviz.app.session import Session
from vggviz.app.view import check_options
from vggviz.cam import METHODS
from vggviz.explainer import Explainer
from vggviz.images import ImageError, Preprocess
from vggviz.networks import NetworkConfig, build_network
from vggviz.networks.vgg import VGG
from vggviz.weights import Card

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # long texts

TYPES = ("self_attention", "none", "cbam", "se")
LABELS = ("<b>bold</b>", "koala", "kiwi", *(f"thing {k}" for k in range(3, 10)))

ODD = (
    *("", " ", "0", "-1", "--5", "²", "1e9", "NaN", "null", "all", "block4", "conv5_4"),
    *("../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "hf:user/repo", "http://127.0.0.1/"),
    *("__class__", "__init__", "features.__class__", "{0.__class__}", "%s%n", "$HOME", "`id`"),
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;", "'\"", "\\", "\0", "\n"),
    *(
        "\ud800",
        "a\udfff",
        "\u202e",
        "猫",
        "block4,block9",
        ",,,",
    ),
    *("everyday", "small", *TYPES, *METHODS, *LABELS, "png", "svg", "html", "exe"),
)
LONG = st.sampled_from(["9", "x", "gradcam,", "<b>"]).map(lambda text: text * 9999)
TEXT = st.sampled_from(ODD) | st.text(max_size=40) | LONG
NUMBER = st.sampled_from(
    [0, -1, 1, 10**6, 10**400, -(10**400), math.nan, math.inf, -math.inf, 0.5, 2**63]
)
FILE = st.fixed_dictionaries(
    {"path": TEXT},
    optional={
        "url": TEXT | st.none(),
        "meta": st.sampled_from([{"_type": "gradio.FileData"}, [], 7, None]),
    },
)
LEAF = st.none() | st.booleans() | NUMBER | TEXT | FILE
JSON = LEAF | st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def fuzz(examples: int) -> settings:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # shrinking would take minutes
        suppress_health_check=list(HealthCheck),
    )


def small(weights: str, attention: str) -> Explainer:
    config = NetworkConfig(
        width=0.0625, head="gap", num_classes=10, attention=attention, blend="replace"
    )
    card = Card(weights, config, Preprocess(32, 32), LABELS, trained="all")
    return Explainer(build_network(config), card)


@pytest.fixture(scope="module")
def networks() -> Networks:
    """A tiny network of each attention type."""
    return Networks({"small": TYPES}, small)


@pytest.fixture(scope="module")
def picture() -> UploadedPicture:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return UploadedPicture(Image.fromarray(noise), "0.png")


@pytest.fixture(scope="module")
def unexpected() -> Iterator[Callable[[], None]]:
    """Asserts that the page's boundary met nothing that it had to log."""
    logged: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(logging.Formatter().format(record))

    listener = Listener(logging.WARNING)
    logging.getLogger("vggviz").addHandler(listener)

    def check() -> None:
        found, logged[:] = logged[:], []
        assert found == []

    yield check
    logging.getLogger("vggviz").removeHandler(listener)


def tried(run: Callable[[], Any]) -> Any:
    """The result, None where it was refused in one clear sentence; any other exception is one."""
    try:
        return run()
    except gr.Error as error:
        refused = error
    said = html.unescape(refused.message)
    assert re.fullmatch(r"[^\n]{3,299}[.?。？…]", said), said
    assert not refused.print_exception
    assert not INSIDE.search(said) or any(INSIDE.search(odd) for odd in ODD), said
    refused.message.encode()  # what can't be sent is no answer
    return None


@pytest.mark.parametrize("name", ["explain", "figure", "pixel", "faithfulness", "paint"])
def test_the_named_functions(
    networks: Networks, picture: UploadedPicture, unexpected: Callable[[], None], name: str
) -> None:
    function = getattr(api, name)
    known = {
        "weights": st.just("small"),
        "attention": st.sampled_from(TYPES),
        "stages": st.sampled_from(["block5", "block4,conv5_4"]),
        "stage": st.sampled_from(VGG.stages),
        "methods": st.sampled_from(["gradcam", "layercam,eigencam", "attention*gradient"]),
        "method": st.sampled_from(list(METHODS)),
        "target": st.sampled_from(["", "koala", "3"]),
        "format": st.just("svg"),
        "row": st.integers(-1, 2),
        "column": st.integers(-1, 2),
        "head": st.integers(-1, 4),
        "mask": st.sampled_from(["", "____", "A" * 16, [[0, 1], [1, 0.5]], [[math.nan] * 2] * 2]),
    }
    taken = ("session", "image")
    names = [n for n in inspect.signature(function).parameters if n not in taken]
    mostly = {n: st.one_of(known[n], known[n], JSON) for n in names}

    @fuzz(60 if name in ("figure", "faithfulness") else 150)
    @given(st.fixed_dictionaries(mostly))
    def check(asked: dict[str, Any]) -> None:
        tried(lambda: function(Session(networks), picture, **asked))
        unexpected()

    check()


def test_a_picture_may_be_anything(unexpected: Callable[[], None]) -> None:
    """What the border lets through as a picture: a path or a data URI, of any kind."""
    part = Picture(render=False)

    @fuzz(150)
    @given(TEXT | st.none(), TEXT | st.none() | TEXT.map("data:image/png;base64,{}".format))
    def check(path: str | None, url: str | None) -> None:
        read = part.preprocess(ImageData(path=path, url=url))
        said = "A picture."
        try:
            assert read is None or read.image.mode == "RGB"
        except ImageError as error:
            said = str(error)
        assert SENTENCE.fullmatch(said), said

    check()
    unexpected()


@fuzz(200)
@given(st.lists(JSON, max_size=6))
def test_a_view_may_be_anything(view: list[Any]) -> None:
    session = Session(Networks({}))
    check: Any = lambda: check_options(session, view) or True  # noqa: E731
    assert tried(check) is None or all(isinstance(one, str) for one in view)


EVENT = st.sampled_from(
    [
        "index",
        "rank",
        "row",
        "column",
        "lesson",
        "step",
        "show",
        "format",
        "tab",
        "address",
        "path",
        "code",
    ]
)


def likely(block: Any) -> st.SearchStrategy[Any]:
    """What a component may send: one of its choices, or anything."""
    choices = [value for _, value in getattr(block, "choices", None) or []]
    return st.one_of(st.sampled_from(choices), st.sampled_from(choices), JSON) if choices else JSON


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture(scope="module")
def demo(networks: Networks, loop: asyncio.AbstractEventLoop) -> gr.Blocks:
    """The page, built where a loop runs: else Gradio makes one that it never closes."""

    async def made() -> gr.Blocks:
        return build(networks)

    return loop.run_until_complete(made())


@pytest.mark.filterwarnings("ignore::UserWarning")  # a gr.Warning where no queue carries it
def test_each_event_of_the_page(
    demo: gr.Blocks,
    networks: Networks,
    loop: asyncio.AbstractEventLoop,
    unexpected: Callable[[], None],
) -> None:
    """All events, with what a browser may send for components and as the event's own data, in a
    session where no tab has been opened, or each."""
    events = [fn for fn in demo.fns.values() if fn.fn is not None]
    states = [block for block in demo.blocks.values() if isinstance(block, gr.State)]
    (result,) = (block.value for block in states if isinstance(block.value, Result))
    (lang,) = (block for block in states if block.value == "en")
    (calls,) = (fn.outputs for fn in events if fn.name == "update")
    assert len(events) > 25
    assert len(calls) == 6

    def run(fn: Any, data: Any, event: Any, link: str, language: str, opened: bool) -> None:
        state = SessionState(demo)
        state[lang._id] = language
        for call in calls if opened else ():
            state[call._id] = Session(networks, result, lang=language)
        names = ("example", "weights", "target", "stage", "lang")
        query = urlencode(dict.fromkeys(names, link), errors="replace").encode()
        scope = {"type": "http", "query_string": query, "headers": [(b"accept-language", b"zh")]}
        asked = demo.process_api(
            fn,
            list(data),
            state,
            gr.Request(request=Request(scope)),
            event_data=gr.EventData(None, event),
        )
        tried(lambda: loop.run_until_complete(asked))
        unexpected()

    for fn in events:
        sent = st.tuples(*(likely(block) for block in fn.inputs))
        event = JSON | st.dictionaries(EVENT, JSON, max_size=3)
        check = partial(run, fn)
        fuzz(5)(
            given(sent, event, TEXT, st.sampled_from(["en", "zh"]), st.booleans())(_named(check))
        )()


def _named(check: Callable[..., None]) -> Callable[..., None]:
    """A function of its own, as `given` needs it."""

    def run(data: Any, event: Any, link: str, language: str, opened: bool) -> None:
        check(data, event, link, language, opened)

    return run


@pytest.mark.parametrize("attention", TYPES)
def test_the_explainer_says_what_is_wrong(networks: Networks, attention: str) -> None:
    explainer = networks.get("small", attention)
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    sources = st.just(noise) | JSON | st.binary(max_size=60)

    @fuzz(100)
    @given(
        sources,
        st.one_of(st.sampled_from(["all", ["block5"]]), JSON),
        st.one_of(st.just(["gradcam"]), st.lists(st.sampled_from(list(METHODS)), max_size=2), JSON),
        st.one_of(st.none(), JSON),
    )
    def check(image: Any, stages: Any, methods: Any, target: Any) -> None:
        said = "A result."
        try:
            explainer.explain(image, stages, methods, target)
        except (ValueError, TypeError) as error:
            said = str(error)
        assert said
        assert "Traceback" not in said

    check()
