"""The documentation's tables are what `docs/results/tables.py` writes, and say what is true."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from vggviz import ATTENTION, METHODS
from vggviz.weights import load_network

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "results" / "tables.py"
PAGES = sorted(ROOT.glob("docs/**/*.md"))
stats = pytest.importorskip("scipy.stats", reason="needs the extra 'train'")


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_have_the_tables_that_the_script_writes(tables: ModuleType) -> None:
    found: list[str] = []
    for page in PAGES:
        text = page.read_text("utf-8")
        assert tables.renewed(text) == text, f"{page.name}: run {SCRIPT.relative_to(ROOT)}"
        found += re.findall(r"<!-- table (\S+) -->", text)
    assert sorted(found) == sorted(tables.TABLES)


def test_a_changed_cell_is_written_anew(tables: ModuleType) -> None:
    page = (ROOT / "docs" / "results" / "accuracy.md").read_text("utf-8")
    changed = page.replace("| `se` | ", "| `se` | 9", 1)
    assert changed != page
    assert tables.renewed(changed) == page


def test_accuracy_is_that_of_the_bundled_files(tables: ModuleType) -> None:
    none, control, *others = tables.accuracy().splitlines()[2:]
    assert control.startswith("| `none`, trained on | 73.5 | 90.7 | ")
    rows, measured = [none, *others], tables.evaluation()
    assert len(rows) == len(measured) > 5
    for row, (attention, result) in zip(rows, measured.items(), strict=True):
        card = load_network(result["weights"], attention)[1]
        assert result["fingerprint"] == card.fingerprint
        top1 = f"{100 * result['top1']['value']:.1f}"
        assert row.startswith(f"| `{attention}` | {top1} |")


def test_every_type_and_method_stands_in_its_table(tables: ModuleType) -> None:
    types = re.findall(r"^\| `(.+?)` \|", tables.attention_types(), re.MULTILINE)
    methods = re.findall(r"^\| `(.+?)` \|", tables.cam_methods(), re.MULTILINE)
    assert (types, methods) == (list(ATTENTION), list(METHODS))


def test_maps_are_read_by_column(tables: ModuleType) -> None:
    """One row by hand, from the table that the command wrote."""
    (row,) = [
        row
        for row in tables.rows_of_maps("τ_b")
        if (row["network"], row["map"], row["stage"]) == ("softmax", "pool", "block5")
    ]
    assert (row["ρ"], row["ρ to centre"]) == ("0.56 (0.47 to 0.64)", "0.32 (0.25 to 0.39)")
    with pytest.raises(KeyError):
        tables.rows_of_maps("nothing")


def test_what_is_left_of_ten_seeds_after_correction(tables: ModuleType) -> None:
    """Holm's: the smallest of five p-values times 5, the next times 4."""
    top1 = tables.read("comparison.json")["top1"]
    none = top1.pop("none")
    (first, name), (second, _) = sorted(
        (stats.ttest_rel(values, none).pvalue, name) for name, values in top1.items()
    )[:2]
    assert 5 * first < 0.05 < 4 * second
    page = (ROOT / "docs" / "results" / "accuracy.md").read_text("utf-8")
    assert f"`{name}` alone remains (p {first:.3f}, {5 * first:.2f} corrected)" in page
