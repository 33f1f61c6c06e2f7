"""What the README tells people to type works as it stands."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from vggviz.cli import main
from vggviz.files import assets_folder

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text("utf-8")
# Made by the commands before them, or the reader's own.
MADE = {"mine.safetensors", "my-folders/", "maps", "out", "out/", "runs/"}
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for kind, block in BLOCKS
    if kind == "bash"
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("vggviz ")
]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the README's paths mean what they mean to its reader."""
    (tmp_path / "assets").symlink_to(assets_folder().resolve())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_that_are_named_are_there_or_made() -> None:
    assert len(COMMANDS) > 8
    for command in COMMANDS:
        for word in command:
            if re.search(r"\.(jpg|png|safetensors|zip)$|/$|^assets", word) and word not in MADE:
                assert (README.parent / word).exists(), command
            assert "…" not in word, command


def test_the_python_example_runs(checkout: Path) -> None:
    (example,) = [block for kind, block in BLOCKS if kind == "python"]
    exec(compile(example, "README.md", "exec"), {})
    assert {file.suffix for file in (checkout / "out").iterdir()} == {".json", ".npz", ".png"}


def test_the_first_command_runs(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = next(words for words in COMMANDS if words[1] == "explain")
    picture = "assets/examples/tabby-cat.jpg"  # of the folder, which would take longer
    monkeypatch.setattr(
        sys, "argv", [picture if word == "assets/examples" else word for word in command]
    )
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    assert (checkout / "out" / "tabby-cat.json").is_file()


def test_what_gradio_reads_is_in_the_table_of_variables() -> None:
    assert "`GRADIO_ROOT_PATH`" in TEXT
