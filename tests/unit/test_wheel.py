"""The built wheel and source distribution are valid, and work away from the checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
pytest.importorskip("hatchling", reason="needs the extra 'test'")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    hatch = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    subprocess.run([*hatch, "-t", "sdist"], cwd=ROOT, check=True)
    (sdist,) = out.glob("vggviz-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
    source = out / sdist.name.removesuffix(".tar.gz")
    subprocess.run([*hatch, "-t", "wheel"], cwd=source, check=True)
    return out


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    (wheel,) = built.glob("vggviz-*.whl")
    stage = built / "stage"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(stage), str(wheel)], check=True)
    return stage


def test_a_package_index_would_take_both(built: Path) -> None:
    pytest.importorskip("twine", reason="needs the extra 'test'")
    files = sorted(map(str, [*built.glob("*.whl"), *built.glob("*.tar.gz")]))
    assert len(files) == 2
    command = [sys.executable, "-W", "ignore", "-m", "twine", "check", "--strict", *files]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("PASSED") == 2


def test_the_sources_can_be_tested(built: Path) -> None:
    (source,) = (folder for folder in built.glob("vggviz-*") if folder.is_dir())
    for name in ("tests/conftest.py", "docs/architecture.md", "deploy/Dockerfile", "app.py"):
        assert (source / name).read_bytes() == (ROOT / name).read_bytes()


def test_assets_travel_inside_the_package(installed: Path) -> None:
    for name in ("everyday-none.safetensors", "everyday-cbam.safetensors"):
        bundled = (installed / "vggviz" / "assets" / "weights" / name).read_bytes()
        assert bundled == (ROOT / "assets" / "weights" / name).read_bytes()
    assert (installed / "vggviz" / "assets" / "examples" / "examples.json").is_file()
    assert (installed / "vggviz" / "app" / "style.css").is_file()
    assert (installed / "vggviz" / "py.typed").is_file()
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
