"""Every block of code in the README and the documentation works as it stands.

The blocks of a page run in its order, in an empty folder from which `assets` and `deploy` can be
reached: Python in one namespace, `vggviz` in this process, `python FILE` in one of its own. A block
with a title is written to that file. What is not run stands in `NOT_RUN` with the reason; its
options are checked all the same.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from vggviz import ATTENTION, METHODS
from vggviz.cli import app
from vggviz.files import assets_folder

ROOT = Path(__file__).parents[2]
NAMES = ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*NAMES, *sorted(file.relative_to(ROOT).as_posix() for file in ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"^```(\w*)(?: title=\"(\S+)\")?\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Nothing runs these; commands in a block without a language are bash.
TEXTS = ("toml", "text", "cpp", "java", "")

NOT_RUN = {
    r"python3? -m venv|VENV=|pip install|\.venv/bin/": "installs, tests or builds; .ci/run does",
    r"pip-audit": "asks a service for known holes",
    r"python app\.py|(VGGVIZ_\w+=\S+ )?vggviz serve": "runs until stopped; tests/app starts it",
    r"VGGVIZ_ONE=": "runs until it is stopped; tests/app/test_haproxy.py starts it",
    r"docker ": "needs Docker; tests/app/test_space.py does what the Dockerfile says",
    r"hf upload|vggviz push": "uploads; tests/unit/test_hub.py does, to a stand-in",
    r"vggviz compare": "minutes; tests/unit/test_seed_study.py runs it smaller",
    r"vggviz evaluate": "takes 15 rounds of latency; tests/judges runs it smaller",
    r"vggviz train.*cbam --freeze-backbone --out": "ten epochs; train-attention.md runs two",
    r"vggviz train --data photos": "minutes; tests/unit/test_unlabelled.py trains it smaller",
    r"vggviz explain.*--weights mine\.safetensors  # or": "opens what was not trained here",
    r"python docs/images/draw": "writes the pictures of these pages; minutes on a busy machine",
    r"python docs/results/tables": "rewrites pages; tests/unit/test_docs_tables.py runs it",
}
PYTHON_NOT_RUN = {
    "docs/how-to/api.md": "asks a running page; tests/app/test_space.py runs it",
    "docs/how-to/evaluate-on-your-own-boxes.md": "reads boxes; test_cli_evaluate.py runs it",
    "docs/how-to/onnx.md": "reads a picture that is not here; its export's own test runs it",
}
PRINTED = {
    "docs/tutorials/your-own-network.md": "2 2.gate.4 channel (16,)\n5 5.gate.4 channel (32,)\n",
}


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, title and source of each block."""
    found = BLOCK.findall((ROOT / page).read_text("utf-8"))
    return [
        ("bash" if not language and source.startswith("vggviz ") else language, title, source)
        for language, title, source in found
    ]


def commands(source: str) -> list[str]:
    """The lines of a bash block, those that go on joined."""
    lines = (line.strip() for line in source.replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def reason(command: str) -> str | None:
    """Why a command is not run, or None."""
    return next((why for start, why in NOT_RUN.items() if re.match(start, command)), None)


CODE = [page for page in PAGES if any(language not in TEXTS for language, *_ in blocks(page))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "assets").symlink_to(assets_folder().resolve())
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    attention = dict(ATTENTION)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    ATTENTION.clear()
    ATTENTION.update(attention)


def run_command(command: str) -> None:
    program, *words = shlex.split(command, comments=True)
    if program == "vggviz":
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, f"{command}\n{done.output}"
    else:
        assert program == "python", f"a command that no one runs: {command}"
        source = ROOT / words[0]
        subprocess.run([sys.executable, str(source), *words[1:]], check=True)


def check_options(command: str) -> None:
    """Parse what is not run. Raises click's errors for an unknown command or option."""
    for part in command.split("&&"):
        words = shlex.split(re.sub(r"^(\w+=\S+ )+", "", part.strip()), comments=True)
        if words[:1] == ["vggviz"]:
            group: Any = typer.main.get_command(app)
            name, own, rest = group.resolve_command(typer.Context(group), words[1:])
            own.make_context(name, list(rest))


@pytest.mark.slow
@pytest.mark.parametrize("page", CODE)
def test_the_code_of_a_page_runs(
    page: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    known = [code_alone(source) for _, _, source in blocks("README.md")]
    for language, title, source in blocks(page):
        if page == "README.zh-CN.md" and code_alone(source) in known:
            continue
        if title:
            Path(title).write_text(source, "utf-8")
        elif language == "python" and page not in PYTHON_NOT_RUN:
            exec(compile(source, page, "exec"), names)
        elif language == "bash":
            for command in commands(source):
                if reason(command):
                    check_options(command)
                else:
                    run_command(command)
    assert PRINTED.get(page, "") in capsys.readouterr().out


def code_alone(source: str) -> str:
    """Without comments and what is said in another language."""
    return re.sub(r" +#.*| --lang zh", "", source)


def test_all_code_says_its_language() -> None:
    found = {language for page in PAGES for language, *_ in blocks(page)}
    assert found <= {"python", "bash", *TEXTS}
    assert all(page in PAGES or page.startswith("docs/how-to/") for page in PYTHON_NOT_RUN)
    assert sum(len(blocks(page)) for page in PAGES) > 40


def test_nothing_is_left_out_for_nothing() -> None:
    every = [
        command
        for page in PAGES
        for language, _, source in blocks(page)
        if language == "bash"
        for command in commands(source)
    ]
    for start in NOT_RUN:
        assert any(re.match(start, command) for command in every), start


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_is_short_and_counts_right(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert len(text.splitlines()) <= 150
    assert re.search(rf"\b{len(ATTENTION)} ?(\[types\]|种\[注意力\])", text)
    assert re.search(rf"\[{len(METHODS)} (CAM methods|种 CAM)\]", text)


def test_both_readmes_link_to_the_same_pages() -> None:
    english, chinese = (
        set(re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text("utf-8")))
        for name in ("README.md", "README.zh-CN.md")
    )
    assert english ^ chinese == {"README.md", "README.zh-CN.md"}
