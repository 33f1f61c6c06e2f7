"""The built wheel works on its own, away from the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="needs the extra 'test'")
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(out), str(ROOT)], check=True)
    (wheel,) = out.glob("vggviz-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "stage")
    return out / "stage"


def test_assets_travel_inside_the_package(installed: Path) -> None:
    for name in ("tiny50-none.safetensors", "tiny50-cbam.safetensors"):
        bundled = (installed / "vggviz" / "assets" / "weights" / name).read_bytes()
        assert bundled == (ROOT / "assets" / "weights" / name).read_bytes()
    assert (installed / "vggviz" / "assets" / "examples" / "examples.json").is_file()
    assert (installed / "vggviz" / "app" / "style.css").is_file()
    for file in (ROOT / "vggviz" / "locales").glob("*.json"):
        assert (installed / "vggviz" / "locales" / file.name).read_bytes() == file.read_bytes()


def test_it_explains_in_another_directory(installed: Path, tmp_path: Path) -> None:
    picture = installed / "vggviz" / "assets" / "examples" / "koala.jpg"
    script = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "import vggviz; assert vggviz.__file__.startswith(sys.path[0]), vggviz.__file__\n"
        "from vggviz.cli import main\n"
        f"sys.argv = ['vggviz', 'explain', {str(picture)!r}, '--out', 'here']\n"
        "main()\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert (tmp_path / "here" / "koala.png").is_file()
