"""`pip install vggviz` is the library and the command line: neither needs Gradio or OpenCV."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "assets" / "examples" / "tabby-cat.jpg"
BLOCKED = ("gradio", "gradio_client", "cv2", "fastapi", "starlette", "uvicorn")
BLOCK = f"import sys\nsys.modules |= dict.fromkeys({BLOCKED})\n"

pytestmark = pytest.mark.slow


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK + script]
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def test_the_library_and_explain_need_neither(tmp_path: Path) -> None:
    script = (
        "import importlib, vggviz\n"
        "from vggviz import Explainer\n"
        "for name in vggviz.__all__: getattr(vggviz, name)\n"
        "explainer = Explainer.load(weights='everyday', attention='cbam')\n"
        f"html = explainer.explain({str(PICTURE)!r}).report()\n"
        "for room in ('benchmark', 'data', 'evaluation.maps', 'training', 'training.seed_study'):\n"
        "    importlib.import_module(f'vggviz.{room}')\n"
        "from vggviz.cli import main\n"
        f"sys.argv = ['vggviz', 'explain', {str(PICTURE)!r}, '--out', 'out']\n"
        "main()\n"
    )
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "tabby-cat.png").is_file()


@pytest.mark.parametrize("start", ["from vggviz.cli import main; main()", "import app"])
def test_the_page_says_what_it_needs(start: str, tmp_path: Path) -> None:
    done = run(f"sys.argv = ['vggviz', 'serve']\n{start}\n", tmp_path)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last == "vggviz: the page needs gradio: pip install 'vggviz[app]'"
