"""The notebooks in docs/notebooks run as they stand, and are kept with what they show."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST = 1_000_000  # bytes of a file


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    pytest.importorskip("nbclient", reason="needs nbclient")
    return runpy.run_path(str(FOLDER / "execute.py"))


def sources(notebook: Any, kind: str) -> str:
    return "\n".join(
        "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind
    )


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs(file: Path, script: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two kernels with two threads each are slower
    executed = script["execute"](file)
    outputs = [cell.outputs for cell in executed.cells if cell.cell_type == "code"]
    kept = json.loads(file.read_text("utf-8"))["cells"]
    before = [cell["outputs"] for cell in kept if cell["cell_type"] == "code"]
    assert [[sorted(one.get("data", [])) for one in cell] for cell in before] == [
        [sorted(set(one.get("data", [])) - {script["WIDGET"]}) for one in cell] for cell in outputs
    ]
    # Nothing warns or prints.
    assert {one.output_type for cell in outputs for one in cell} <= {
        "display_data",
        "execute_result",
    }


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_kept_with_outputs_and_links(file: Path, script: dict[str, Any]) -> None:
    assert file.stat().st_size < MOST
    notebook = json.loads(file.read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    shown = json.dumps([cell["outputs"] for cell in code])
    assert "image/png" in shown or "text/html" in shown
    assert script["WIDGET"] not in shown
    assert "<script" not in shown
    assert script["links"](file.stem) in sources(notebook, "markdown")
    installed = re.findall(r"git\+https://github\.com/([\w/]+)", sources(notebook, "code"))
    assert installed == [script["REPOSITORY"]]
    for target in re.findall(r"\]\(([\w-]+\.ipynb)\)", sources(notebook, "markdown")):
        assert (FOLDER / target).is_file()


def test_all_four_are_there() -> None:
    assert {file.stem for file in NOTEBOOKS} == {
        "does-attention-explain",
        "first-map",
        "how-attention-learns",
        "own-network",
    }


def test_binder_installs_what_they_need() -> None:
    text = (ROOT / ".binder" / "requirements.txt").read_text("utf-8")
    assert ".[notebook]" in text.splitlines()
