"""The documentation builds without a warning and offline, and fetches nothing from elsewhere."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from served import OFFLINE

import vggviz
from vggviz import ATTENTION

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "docs" / "site" / "mkdocs.yml"
pytest.importorskip("mkdocs", reason="needs the extra 'docs'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(
        [*command, "-f", str(CONFIG), "-d", str(out)],
        env={**os.environ, **OFFLINE, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


def test_every_page_can_be_reached(site: Path) -> None:
    home = (site / "index.html").read_text("utf-8")
    linked = set(re.findall(r'href="([^":#]+\.html)', home))
    pages = [file.relative_to(ROOT / "docs") for file in ROOT.glob("docs/**/*.md")]
    assert len(pages) > 15
    assert {page.with_suffix(".html").as_posix() for page in pages} <= linked
    assert {"zh.html", "security.html", "changelog.html", "results/model-card.html"} <= linked


def test_no_page_fetches_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?https?:[^\s>]+|<link[^>]+>")
    for page in site.rglob("*.html"):
        for tag in fetched.findall(page.read_text("utf-8")):
            assert "http" not in tag, (page, tag)


def test_the_reference_is_made_from_docstrings_and_help(site: Path) -> None:
    library = (site / "reference" / "library.html").read_text("utf-8")
    for name in vggviz.__all__:
        assert re.search(rf'id="vggviz\.[a-z_.]*\b{name}"', library), name
    assert "Prediction, attention and CAMs of one picture" in library
    command_line = (site / "reference" / "command-line.html").read_text("utf-8")
    assert all(name in command_line for name in ATTENTION)
    assert "{attention}" not in command_line
    assert "vggviz-explain" in command_line


def test_a_notebook_becomes_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CONFIG.parent)
    hooks = importlib.import_module("hooks")
    cells = [
        {"cell_type": "markdown", "source": ["# One\n", "[![two](https://a/b.svg)](c)"]},
        {
            "cell_type": "code",
            "source": ["x"],
            "outputs": [
                {"data": {"text/html": ["<b>a</b>\n\n", "b"], "text/plain": ["no"]}},
                {"data": {"image/png": "QUJD\n"}},
                {"name": "stdout", "text": ["said\n"]},
            ],
        },
    ]
    assert hooks.notebook_page({"cells": cells}) == (
        "# One\n[two](c)\n\n```python\nx\n```\n\n<div><b>a</b>\nb</div>\n\n"
        '<img alt="output" src="data:image/png;base64,QUJD">\n\n```text\nsaid\n```'
    )
