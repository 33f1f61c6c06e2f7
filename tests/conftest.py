"""What several test files share: a small network, pictures for it, the rule of no traces, one app
and one browser for all tests of the page, and how files are shared out over processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: one core for each worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hostile
import pytest
import torch
import torch.nn.functional as F
from hostile import Hostile
from served import Served, served
from torch import Tensor, nn

from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.weights import Card

if TYPE_CHECKING:
    from vggviz.app.networks import Networks

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
WAIT = 120_000  # milliseconds: a loaded machine with two cores loads full-size networks, too

LONG = ("browser", "slow", "ray")
"""Markers of tests that take seconds."""


@pytest.hookimpl(tryfirst=True)  # before markers are selected with -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs in a browser, and put files with long tests first, so that with several
    processes, which share out files in this order, none is left over at the end."""
    long = set()
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
        if any(map(item.get_closest_marker, LONG)):
            long.add(item.path)
    items.sort(key=lambda item: item.path not in long)


HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def count_hooks(model: nn.Module) -> int:
    """All hooks of all modules; one that stands in several tables, as those with keywords do, is
    one hook."""
    return sum(
        len({key for name in HOOKS for key in getattr(module, name)}) for module in model.modules()
    )


@contextmanager
def leaving_no_trace(model: nn.Module) -> Iterator[None]:
    """Assert that the block, even one that raises, leaves `model` as it was.

    Training flags per module; of each parameter the value, `requires_grad` and `.grad`; buffers;
    no hooks; and around the model the global random state and whether gradients are recorded.
    """
    flags = {path: module.training for path, module in model.named_modules()}
    parameters = {
        name: (p.requires_grad, p.grad, None if p.grad is None else p.grad.clone())
        for name, p in model.named_parameters()
    }
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random, recording = torch.get_rng_state(), torch.is_grad_enabled()
    assert count_hooks(model) == 0
    try:
        yield
    finally:
        assert count_hooks(model) == 0
        assert {path: module.training for path, module in model.named_modules()} == flags
        for name, p in model.named_parameters():
            wanted, grad, value = parameters[name]
            assert p.requires_grad == wanted, name
            assert p.grad is grad, name
            assert value is None or (grad is not None and torch.equal(grad, value)), name
        assert model.state_dict().keys() == state.keys()
        for name, value in model.state_dict().items():
            assert torch.equal(value, state[name]), name
        assert torch.equal(torch.get_rng_state(), random)
        assert torch.is_grad_enabled() == recording


@pytest.fixture
def untouched() -> Callable[[nn.Module], AbstractContextManager[None]]:
    """`with untouched(model):` fails where the block changes anything about the model."""
    return leaving_no_trace


@pytest.fixture
def small_vgg() -> Callable[..., Network]:
    """Build a VGG19 at an eighth of its width, 10 classes, by default with the `gap` head.

    Unlike a fresh network nothing is at its neutral value: biases and norms are drawn, γ is 0.6.
    In training mode, as any module at first.
    """

    def build(*, seed: int = 0, dtype: torch.dtype = torch.float32, **config: Any) -> Network:
        generator = torch.Generator().manual_seed(seed)
        full = {"width": 0.125, "head": "gap", "num_classes": 10, **config}
        model = build_network(NetworkConfig(**full), generator)
        generator = torch.Generator().manual_seed(seed + 7)  # the same whatever the attention drew
        with torch.no_grad():
            for name, value in model.state_dict().items():
                drawn = torch.randn(value.shape, generator=generator)
                if name.endswith("gamma"):
                    value.fill_(0.6)
                elif name.endswith("running_var"):
                    value.copy_(drawn.abs() * 0.5 + 0.5)
                elif name.endswith(("bias", "running_mean")):
                    value.add_(drawn * 0.2)
                elif name == "classifier.0.weight" and config.get("head", "gap") == "gap":
                    value.copy_(drawn)
        return model.to(dtype)

    return build


@pytest.fixture
def networks(small_vgg: Callable[..., Network]) -> Networks:
    """A page's networks: a small one of two attention types."""
    from vggviz.app.networks import Networks  # Gradio takes seconds, and most tests need none

    def load(weights: str, attention: str) -> Explainer:
        model = small_vgg(attention=attention, blend="replace", architecture="vgg19_bn")
        labels = tuple(f"thing {k}" for k in range(10))
        return Explainer(model, Card(weights, model.config, Preprocess(64, 64), labels))

    return Networks({"small": ("cbam", "se")}, load)


@pytest.fixture
def pictures() -> Callable[..., Tensor]:
    """Draw `count` normalised pictures (count, 3, size, size): coarse blobs and fine noise."""

    def draw(count: int = 1, size: int = 64, *, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn(count, 3, 6, 6, generator=generator)
        fine = torch.randn(count, 3, size, size, generator=generator)
        return F.interpolate(coarse, (size, size), mode="bicubic") * 1.5 + fine * 0.3

    return draw


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in, to which huggingface_hub in this process now speaks, with a cache of its own.

    The library reads its environment once, when it is imported: so its constants are set here.
    A process of its own is told by its environment.
    """
    from hub import TOKEN, standing_in
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with standing_in() as hub:
        url = hub.url
        for name, value in {
            "ENDPOINT": url,
            "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(constants, name, value)
        yield hub


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`python app.py`, started in the repository on a free port. What was uploaded is gone when it
    has stopped."""
    folder = tmp_path_factory.mktemp("app")
    with served(folder) as server:
        yield server
        assert "Traceback" not in server.printed()
        server.process.terminate()
        server.process.wait(60)
        kept = {file.parent.name for file in (folder / "uploads").glob("*/*") if file.is_file()}
        assert kept <= {"examples"}


@pytest.fixture(scope="session")
def app(server: Served) -> str:
    """The address of the server."""
    return server.address


@pytest.fixture(scope="session")
def corpus() -> dict[str, Hostile]:
    """All hostile files by their names."""
    return {one.name: one for one in hostile.corpus()}


@pytest.fixture(scope="session")
def config(app: str) -> dict[str, Any]:
    """What the server tells a browser about the page."""
    with urllib.request.urlopen(f"{app}/config") as response:
        return json.load(response)


@pytest.fixture(scope="module")  # its event loop would be in the way of other modules'
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")
    if not Path(CHROMIUM).is_file():
        pytest.skip("no chromium: install Debian's package of that name")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(app: str, browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page in a browser of one's own; nothing may fail there, or leave the machine."""
    troubles: list[str] = []
    contexts: list[Any] = []

    def watch(request: Any) -> None:
        if urlsplit(request.url).scheme in ("http", "https", "ws", "wss") and not (
            request.url.startswith(f"{app}/")
        ):
            troubles.append(request.url)

    def open_page(
        width: int = 1440,
        height: int = 900,
        theme: str = "light",
        locale: str = "en-GB",
        query: str = "",
        late: str = "",
        more: bool = True,
    ) -> Any:
        """`late` are scripts, as a regular expression, that come half a second later; with `more`
        all settings are open."""
        size = {"width": width, "height": height}
        context = browser.new_context(viewport=size, locale=locale)
        contexts.append(context)
        context.set_default_timeout(WAIT)
        context.add_init_script(SHIFTS)
        page = context.new_page()
        if late:
            page.route(re.compile(late), lambda route: (time.sleep(0.5), route.continue_()))
        page.on("request", watch)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"{app}/?__theme={theme}{query}{'&more=1' if more else ''}")
        # Attached, not visible: a link's lesson may have opened another tab by now.
        page.locator("#maps img").nth(1).wait_for(state="attached")
        page.locator("#picture input[type=file]").wait_for(state="attached")
        page.locator("#examples button").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


# Layout shifts that no one caused by an input just before, summed up as browsers report them.
SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""
