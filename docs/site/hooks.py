"""What mkdocs adds to the pages of this folder.

Pages made from files outside of it (the README, the changelog and others), the reference of the
command line and of the library, notebooks as pages, and the navigation: every page of a section's
folder is in it. Links between files of the repository become links between pages.
"""

from __future__ import annotations

import io
import json
import posixpath
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

import vggviz
from vggviz.cli import app

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {  # files outside of docs, and their pages
    "README.md": "index.md",
    "README.zh-CN.md": "zh.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "assets/weights/README.md": "results/model-card.md",
    "assets/examples/SOURCES.md": "pictures.md",
}
SECTIONS = {
    "Tutorials": "tutorials",
    "How-to": "how-to",
    "Concepts": "concepts",
    "Notebooks": "notebooks",
    "Reference": "reference",
    "Results": "results",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s#:]+)(#[^()\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and order the navigation."""
    pages = {page: (ROOT / file).read_text("utf-8") for file, page in OUTSIDE.items()}
    pages["reference/command-line.md"] = command_line()
    pages["reference/library.md"] = library()
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        pages[f"notebooks/{notebook.stem}.md"] = notebook_page(json.loads(notebook.read_text()))
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    config.nav = navigation([file.src_uri for file in files.documentation_pages()])
    return files


def navigation(pages: list[str]) -> list[Any]:
    """Home, the sections in order, each with all pages of its folder, then all other pages."""
    nav: list[Any] = [{"Home": "index.md"}]
    for title, folder in SECTIONS.items():
        own = [page for page in pages if page.startswith(f"{folder}/")]
        if own:
            nav.append({title: sorted(own, key=lambda page: (not page.endswith("index.md"), page))})
    nested = [page for page in pages if page.partition("/")[0] in SECTIONS.values()]
    others = sorted({*pages} - {"index.md", "zh.md", *nested})
    return [*nav, {"Project": others}, {"中文": "zh.md"}]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at pages where they point at files of the repository.

    A file of the repository that is no page loses its link. Raises FileNotFoundError for a file
    that is not there.
    """
    here = page.file.src_uri
    origin = next((file for file, name in OUTSIDE.items() if name == here), f"docs/{here}")

    def page_of(match: re.Match[str]) -> str:
        image, text, target, anchor = match.groups(default="")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        if file.startswith("docs/"):
            name = re.sub(r"\.ipynb$", ".md", file.removeprefix("docs/"))
        elif file in OUTSIDE:
            name = OUTSIDE[file]
        elif (ROOT / file).exists():
            return text
        else:
            raise FileNotFoundError(f"{origin} links to {target}")
        return f"{image}[{text}]({posixpath.relpath(name, posixpath.dirname(here) or '.')}{anchor})"

    return LINK.sub(page_of, markdown)


def command_line() -> str:
    """The help of every command as Markdown."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="vggviz")
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        with redirect_stdout(io.StringIO()):
            command.get_help(typer.Context(command, info_name=name))  # fills in the lists of keys
    text = get_docs_for_click(obj=group, ctx=context, name="vggviz")
    return text.replace("# `vggviz`", "# The command line", 1)


def library() -> str:
    """A page that mkdocstrings fills with the docstrings of all that `vggviz` offers."""
    homes: dict[str, str] = vars(vggviz)["_HOMES"]
    names = [f"vggviz.{home}.{name}" for name, home in sorted(homes.items())]
    return "\n\n".join(
        [
            "# The library",
            "Everything here is imported from `vggviz` itself: `from vggviz import Explainer`. "
            "`cams`, the engine under it, is imported from `vggviz.cam`.",
            *(f"::: {name}" for name in [*names, "vggviz.cam.cams"]),
        ]
    )


def notebook_page(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown, with its kept outputs. Badges of other hosts become plain links."""
    parts: list[str] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"!\[([^\]]*)\]\(https?:[^)]*\)", r"\1", source))
        elif cell["cell_type"] == "code":
            parts += [f"```python\n{source}\n```", *map(output, cell["outputs"])]
    return "\n\n".join(filter(None, parts))


def output(found: dict[str, Any]) -> str:
    """One output of a notebook's cell: HTML, else a picture, else text."""
    data = found.get("data", {})
    if "text/html" in data:
        return "<div>" + re.sub(r"\n\s*\n", "\n", "".join(data["text/html"])) + "</div>"
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            code = "".join(data[kind]).replace("\n", "")
            return f'<img alt="output" src="data:{kind};base64,{code}">'
    text = "".join(data.get("text/plain", found.get("text", "")))
    return f"```text\n{text.rstrip()}\n```" if text else ""
