"""How the code is laid out: imports go downwards only, and each thing stays in its own room."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vggviz

ROOT = Path(vggviz.__file__).parent.parent
FILES = sorted((ROOT / "vggviz").rglob("*.py"))
APP = ROOT / "app.py"

# A module imports from lower floors, or from its own package.
FLOORS = {
    "types": 0,
    "files": 0,
    "platform": 0,
    "texts": 0,
    "locales": 0,
    "inline": 0,
    "tables": 0,
    "attention": 1,
    "images": 1,
    "hooks": 1,
    "networks": 2,
    "plotting": 2,
    "metrics": 2,
    "cam": 3,
    "weights": 3,
    "data": 3,
    "explainer": 4,
    "gradio_private": 4,
    "explanation": 4,
    "widget": 4,
    "export": 4,
    "cache": 4,
    "training": 4,
    "evaluation": 4,
    "batch": 5,
    "benchmark": 5,
    "replicas": 5,
    "app": 5,
    "server": 6,
    "cli": 7,
    "app.py": 7,
}
# Within one floor, one way only.
SIDEWAYS = {
    ("attention", "hooks"),
    ("platform", "types"),
    ("types", "inline"),
    ("platform", "types"),
    ("types", "locales"),
    ("cache", "explainer"),
    ("cache", "explanation"),
    ("explainer", "explanation"),
    ("explainer", "widget"),
    ("widget", "explanation"),
    ("explainer", "export"),
}
# What `import vggviz` offers is loaded from its home: `from vggviz import Network` is `networks`.
HOMES: dict[str, str] = vars(vggviz)["_HOMES"]


def room(file: Path) -> str:
    """'cam' of vggviz/cam/driver.py, 'batch' of vggviz/batch.py, '' of vggviz/__init__.py."""
    if file == APP:
        return "app.py"
    first = file.relative_to(ROOT / "vggviz").parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(tree: ast.AST) -> Iterator[str]:
    """Everything that is imported anywhere, also in functions, under `TYPE_CHECKING` and by name:
    'a.b.c' for `from a.b import c`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "vggviz." if node.level else ""  # relative ones are not used; see below
            yield from (f"{start}{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def wrong_imports(source: str, here: str) -> list[str]:
    """The imports in the source of a module in room `here` that the floors do not allow."""
    found: list[str] = []
    for name in imports(ast.parse(source)):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        target = HOMES.get(target, target).split(".")[0]
        if top == "gradio" and here not in ("app", "gradio_private", "server", "app.py"):
            found.append(name)
        if top != "vggviz" or target not in FLOORS or target == here:
            continue  # another library, the package itself (its version), or a sibling
        if FLOORS[target] >= FLOORS[here] and (here, target) not in SIDEWAYS:
            found.append(name)
    return found


def test_every_module_has_a_floor() -> None:
    assert len(FILES) > 20
    assert {room(file) for file in FILES} - {""} <= set(FLOORS)


@pytest.mark.parametrize("file", [*FILES, APP], ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_downwards(file: Path) -> None:
    if room(file) == "":
        return  # the package's lazy table names every floor; `import vggviz` is tested below
    source = file.read_text("utf-8")
    assert wrong_imports(source, room(file)) == []
    levels = [n.level for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)]
    assert not any(levels)  # `from . import x` would hide where x lives


@pytest.mark.parametrize(
    ("source", "here"),
    [
        ("from vggviz.cam import cams", "hooks"),
        ("import vggviz.explainer", "weights"),
        ("from vggviz import weights", "networks"),
        ("from vggviz import Explainer", "plotting"),
        ("def f():\n    from vggviz.networks.vgg import VGG", "attention"),
        ("if TYPE_CHECKING:\n    from vggviz.hooks.capture import Trace", "types"),
        ("try:\n    import vggviz.app as ui\nexcept ImportError:\n    pass", "explainer"),
        ("import importlib\nimportlib.import_module('vggviz.training')", "cam"),
        ("from vggviz.training import train", "evaluation"),  # a neighbour
        ("from vggviz.cli import main", "benchmark"),  # the wrong way along one floor
        ("import gradio as gr", "cli"),
        ("def f():\n    from gradio.themes import Soft", "explainer"),
    ],
)
def test_a_wrong_import_is_found(source: str, here: str) -> None:
    assert len(wrong_imports(source, here)) == 1


@pytest.mark.parametrize(
    ("source", "here"),
    [
        (
            "from vggviz.hooks.capture import capture\nfrom vggviz.cam.formulas import gradcam",
            "cam",
        ),
        ("import vggviz\nfrom vggviz import __version__, Network", "explainer"),
        ("from vggviz.types import Kind", "hooks"),
        ("import gradio", "app"),
    ],
)
def test_a_right_import_is_let_through(source: str, here: str) -> None:
    assert wrong_imports(source, here) == []


def names_used(file: Path) -> set[str]:
    """Every bare name and attribute in a file."""
    tree = ast.walk(ast.parse(file.read_text("utf-8")))
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in tree
        if isinstance(node, ast.Name | ast.Attribute)
    }


def test_only_the_command_line_prints() -> None:
    printing = {"print", "pprint", "stdout", "stderr", "echo", "secho"}
    assert {room(file) for file in FILES if names_used(file) & printing} == {"cli"}


def test_hooks_exist_in_two_files_only() -> None:
    def hooking(file: Path) -> bool:
        return any(
            name.startswith("register_") and name.endswith("hook") for name in names_used(file)
        )

    assert [file.name for file in FILES if hooking(file)] == ["capture.py", "passes.py"]


def test_import_vggviz_costs_nothing() -> None:
    heavy = "gradio", "matplotlib", "torch", "numpy", "PIL", "cv2"
    code = f"import sys, vggviz; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "[]", "")


@pytest.mark.slow
def test_loading_an_explainer_imports_no_more_than_it_needs() -> None:
    heavy = "gradio", "matplotlib", "torchvision", "scipy", "sympy", "huggingface_hub"
    code = (
        "import sys, torch; before = set(sys.modules); import vggviz; "
        "print(vggviz.Explainer.load('everyday').card.weights, "
        f"[name for name in {heavy} if name in sys.modules and name not in before])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "everyday []", "")


def test_every_offered_name_is_there() -> None:
    assert vggviz.__all__ == sorted(HOMES)
    for name, home in HOMES.items():
        module = importlib.import_module(f"vggviz.{home}")
        assert getattr(vggviz, name) is getattr(module, name)
    with pytest.raises(AttributeError, match="module 'vggviz' has no attribute 'nothing'"):
        _ = vggviz.nothing


@pytest.mark.parametrize("file", [*FILES, APP], ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_is_short_and_says_what_it_is(file: Path) -> None:
    source = file.read_text("utf-8")
    assert len(source.splitlines()) <= 350
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    defined = {
        node.name: ast.get_docstring(node)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    public = [name for name in defined if not name.startswith("_")]
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            # The package's own list is computed; its names are documented at home.
            public = ast.literal_eval(node.value) if room(file) else []
    assert [name for name in public if name in defined and not defined[name]] == []
