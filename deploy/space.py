"""Write the folder of a Hugging Face Space from this checkout.

    python deploy/space.py FOLDER

FOLDER then holds what the Space's repository holds: a README.md with the front matter of
`space.yml`, a requirements.txt made from pyproject.toml, app.py, the package, and its weights,
fonts and examples. Files with the same names are overwritten, others stay. Needs Python 3.11.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("app.py", "vggviz", "assets", "LICENSE", "SECURITY.md")
EXTRAS = ("app", "heic")  # of pyproject.toml


def readme() -> str:
    """The Space's README.md: its front matter, then what a visitor of the repository reads."""
    front = (ROOT / "deploy" / "space.yml").read_text("utf-8")
    return (
        f"---\n{front}---\n\n# vggviz\n\nUpload a picture, pick an attention type and a stage, and "
        "see the prediction beside the learned\nattention weights and Grad-CAM at the same stage. "
        "The page is in English and Chinese.\n\n页面有中文和英文。\n"
    )


def requirements() -> str:
    """The Space's requirements.txt: the package's dependencies and those of the page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for name in EXTRAS for line in project["optional-dependencies"][name]]
    return "\n".join([*project["dependencies"], *extras]) + "\n"


def write(folder: Path) -> None:
    """Write the Space's files to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    (folder / "README.md").write_text(readme(), "utf-8")
    (folder / "requirements.txt").write_text(requirements(), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    write(Path(sys.argv[1]))
