"""Run the notebooks in this folder and write them again with their outputs.

    python docs/notebooks/execute.py [NAME ...]

It needs nbclient and an installed vggviz, but no network. What differs from run to run without a
meaning (times, widgets' state) is not written. The links at the top come from `REPOSITORY`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

REPOSITORY = "vggviz/vggviz"  # on GitHub
FOLDER = Path(__file__).parent
WIDGET = "application/vnd.jupyter.widget-view+json"  # needs a kernel; the HTML beside it does not


def links(name: str) -> str:
    """The badges of a notebook: Colab, and Binder, which installs what .binder/ says."""
    file = f"docs/notebooks/{name}.ipynb"
    return (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{REPOSITORY}/blob/main/{file})\n"
        "[![Open in Binder](https://mybinder.org/badge_logo.svg)]"
        f"(https://mybinder.org/v2/gh/{REPOSITORY}/main?labpath={file.replace('/', '%2F')})"
    )


def execute(file: Path) -> Any:
    """The notebook in `file` with the outputs of a fresh kernel in an empty folder. Raises
    CellExecutionError with the first error."""
    notebook = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            store_widget_state=False,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
    return notebook


def tidy(notebook: Any, name: str) -> None:
    """Set the links, and take out what is of this run and machine only."""
    title, _, rest = notebook.cells[0].source.partition("\n\n")
    _, _, introduction = rest.partition("\n\n")
    notebook.cells[0].source = f"{title}\n\n{links(name)}\n\n{introduction}"
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }


def main() -> None:
    """Run the notebooks that are named, by default all."""
    for name in sys.argv[1:] or sorted(file.stem for file in FOLDER.glob("*.ipynb")):
        file = FOLDER / f"{name}.ipynb"
        notebook = execute(file)
        tidy(notebook, name)
        nbformat.write(notebook, file)


if __name__ == "__main__":
    main()
