"""The notebook widget in JupyterLab and in marimo, in a real browser."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from served import ROOT, served

from vggviz.files import assets_folder

WAIT = 180_000  # milliseconds
KOALA = str(assets_folder() / "examples" / "koala.jpg")
CELL = f"import vggviz\nvggviz.Explainer.load().widget({KOALA!r})"
MARIMO = f"""
import marimo

app = marimo.App()


@app.cell
def _():
    import vggviz
    return (vggviz,)


@app.cell
def _(vggviz):
    vggviz.Explainer.load().widget({KOALA!r})
    return


if __name__ == "__main__":
    app.run()
"""


def need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")


@contextmanager
def opened(browser: Any, address: str, scheme: str = "light") -> Iterator[Any]:
    """A page at `address`, where nothing may fail, or be fetched from elsewhere."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1200, "height": 900})
    context.set_default_timeout(WAIT)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    yield page
    context.close()
    assert errors == []


def shows(page: Any, title: str) -> None:
    page.locator(".vggviz .tiles[aria-busy=false] figcaption", has_text=title).wait_for()


def contrast(page: Any, selector: str) -> float:
    """WCAG's ratio of an element's text to what lies behind it."""
    return page.evaluate(
        """(selector) => {
          const luminance = (colour) => {
            const pixel = document.createElement("canvas").getContext("2d");
            pixel.fillStyle = colour;
            pixel.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...pixel.getImageData(0, 0, 1, 1).data].map((one) =>
              one > 10 ? ((one / 255 + 0.055) / 1.055) ** 2.4 : one / 255 / 12.92);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const find = (root) => root.querySelector(selector) ?? [...root.querySelectorAll("*")]
            .map((one) => one.shadowRoot && find(one.shadowRoot)).find(Boolean);
          const element = find(document);
          let behind = element;
          const bare = (one) => getComputedStyle(one).backgroundColor === "rgba(0, 0, 0, 0)";
          while (behind && bare(behind)) behind = behind.parentElement ?? behind.getRootNode().host;
          const back = behind ? getComputedStyle(behind).backgroundColor : "white";
          const both = [getComputedStyle(element).color, back].map(luminance);
          return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
        }""",
        selector,
    )


def drive(page: Any) -> None:
    """Every control, by label; the class and the opacity by keyboard."""
    shows(page, "Grad-CAM: koala")
    picture = page.locator(".vggviz .heat").last
    first = picture.get_attribute("src")

    def control(name: str) -> Any:
        return page.get_by_role("combobox", name=name, exact=True)

    control("Where in the network").select_option("Block 5")
    page.wait_for_function(
        "([image, src]) => !image.isConnected || image.src !== src",
        arg=[picture.element_handle(), first],
    )
    shows(page, "Grad-CAM: koala")
    control("Attention").select_option("Softmax pooling")
    shows(page, "pool attention")
    control("Method").select_option("LayerCAM")
    shows(page, "LayerCAM: koala")
    control("Class").focus()
    page.keyboard.type("bee")
    page.keyboard.press("Enter")
    shows(page, "LayerCAM: bee")
    opacity = page.get_by_role("slider", name="Opacity", exact=True)
    opacity.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert opacity.input_value() == "0.7"
    assert picture.evaluate("image => getComputedStyle(image).opacity") == "0.7"


def is_readable(page: Any) -> bool:
    """Whether every text has WCAG's contrast of 4.5 and more."""
    return all(
        contrast(page, f".vggviz {name}") > 4.5 for name in ("figcaption", "select", "label", "td")
    )


def test_in_jupyterlab(browser: Any, tmp_path: Path) -> None:
    need("jupyterlab", "anywidget")
    import nbformat

    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(CELL)]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "widget.ipynb")
    command = (
        *("-m", "jupyterlab", "--no-browser", "--allow-root", "--port={port}"),
        *("--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path}"),
        f"--LabApp.user_settings_dir={tmp_path / 'settings'}",
        f"--LabApp.workspaces_dir={tmp_path / 'workspaces'}",
    )
    own = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "JUPYTER_PREFER_ENV_PATH": "1"}
    with (
        served(tmp_path, command, own, until="is running at") as server,
        opened(browser, f"{server.address}/lab/tree/widget.ipynb") as page,
    ):
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        started = page.locator(".jp-InputPrompt", has_text=re.compile(r"\[[*1]\]"))
        while not started.count():  # before the kernel is connected, it asks for one
            if (accept := page.locator(".jp-Dialog .jp-mod-accept")).count():
                accept.click()
            else:
                page.get_by_role("menuitem", name="Run", exact=True).click()
                page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            page.wait_for_timeout(2000)
        drive(page)
        assert page.locator(".jp-Notebook .jp-Cell").count() == 1  # 'b' adds a cell elsewhere
        assert is_readable(page)
        page.get_by_role("menuitem", name="Settings", exact=True).click()
        page.locator(".lm-Menu-item", has_text="Theme").first.click()
        page.locator(".lm-Menu-item", has_text="JupyterLab Dark").first.click()
        page.locator("body[data-jp-theme-light=false]").wait_for(state="attached")
        page.locator(".vggviz[style*=dark]").wait_for()
        assert is_readable(page)


@pytest.mark.parametrize(("mode", "scheme"), [("run", "light"), ("edit", "dark")])
def test_in_marimo(browser: Any, tmp_path: Path, mode: str, scheme: str) -> None:
    need("marimo", "anywidget")
    (tmp_path / "widget.py").write_text(MARIMO)
    command = (
        *("-m", "marimo", mode, "--headless", "--no-token", "--port={port}"),
        str(tmp_path / "widget.py"),
    )
    own = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.marimo]\ndisplay.theme = "{scheme}"\nruntime.auto_instantiate = true\n'
    )
    with (
        served(tmp_path, command, own, until="URL:", cwd=tmp_path) as server,
        opened(browser, server.address, scheme) as page,
    ):
        drive(page)
        assert is_readable(page)
