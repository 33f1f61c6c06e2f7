"""Write the tables of the documentation anew from what was measured and from the specs.

    python docs/results/tables.py

A table stands in a page between `<!-- table NAME -->` and `<!-- end -->`; NAME is a key of
`TABLES`. `data` holds what `vggviz bench --json`, `vggviz compare` (comparison.json), `vggviz
evaluate` on the control of `assets/weights/make.sh` (control.json) and `tests/support/load.py
--json` wrote, `maps-in-full.md` what `vggviz evaluate --metrics all` wrote, and
`assets/weights/evaluation.json` what `vggviz evaluate --json` wrote. Of the control, and of the
runs of bench*.json and load.json before 2026-11-30, only the published figures were kept: not every
round's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from vggviz import ATTENTION, METHODS
from vggviz.files import assets_folder
from vggviz.training.seed_study import SeedStudy

DOCS = Path(__file__).resolve().parents[1]
DATA = DOCS / "results" / "data"
MARKS = re.compile(r"(<!-- table (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SUBSETS = {"off_centre": "off-centre", "small": "small box", "all": "all"}
SCENARIOS = {
    "steady": "10 a second for 4 minutes",
    "30 at once": "30 at once",
    "burst": "100 at once",
    "full queue": "400 at once, 200 places",
    "identical": "the same picture, 30 people in turn",
    "cold loads": "the page with an empty cache, 5 a second",
}


def read(name: str) -> dict[str, Any]:
    """A JSON file of `data`."""
    found: dict[str, Any] = json.loads((DATA / name).read_text("utf-8"))
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with unpadded cells, so that a changed number changes one line."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(found: dict[str, float], times: float, form: str) -> str:
    """'0.5 (0.4 to 0.6)' of a value with its interval."""
    first = found.get("value", found.get("median", 0.0))
    value, low, high = (
        format(times * x, form).replace("-", "−") for x in (first, found["low"], found["high"])
    )
    return f"{value} ({low} to {high})"


def evaluation() -> dict[str, Any]:
    """The results of the bundled network by attention type."""
    file = assets_folder() / "weights" / "evaluation.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))["results"]
    return found


def accuracy() -> str:
    """Accuracy and cost of the bundled network, without attention and with each type; the control
    is the network without attention, trained on as those with attention were (`make.sh`)."""
    rows = []
    for name, one in evaluation().items():
        against, cost = one["against"], one["cost"]
        rows.append([
            f"`{name}`",
            *(f"{100 * one[key]['value']:.1f}" for key in ("top1", "top5", "calibration")),
            spread(against["points"], 100, "+.1f") if against else "",
            f"{against['p']:.2g}" if against else "",
            f"{cost['parameters']:,}",
            f"{cost['multiply_adds'] / 1e6:.0f} M",
            f"{cost['ratio']['value']:.2f}" if cost["ratio"] else "1",
        ])  # fmt: skip
    control = [f"{100 * read('control.json')[key]:.1f}" for key in ("top1", "top5")]
    rows.insert(1, ["`none`, trained on", *control, *[""] * 3, *rows[0][6:]])
    head = ["", "top-1 %", "top-5 %", "calibration error %", "top-1 − `none`, points", "McNemar p"]
    return table([*head, "parameters", "multiply-adds", "latency × `none`"], rows)


def use() -> str:
    """How often maps point at the object, and what replaced weights cost."""
    rows = []
    for name, one in evaluation().items():
        cells = [f"`{name}`"]
        for subset in SUBSETS:
            for of in ("attention", "gradcam"):
                stage = one["pointing"]["best"][subset].get(of)
                rates = [
                    f"{100 * view['rates'][subset]['value']:.0f} ({stage})"
                    for view in one["pointing"]["views"]
                    if view["stage"] == stage and (view["kind"] == "gradcam") == (of == "gradcam")
                ]
                cells.append(rates[0] if rates else "")
        for how in ("uniform", "shuffled"):
            cells.append(spread(one["use"][how]["points"], 100, "+.1f") if one["use"] else "")
        rows.append(cells)
    pairs = [f"{title}: {of}" for title in SUBSETS.values() for of in ("attention", "Grad-CAM")]
    return table(["", *pairs, "lost with their mean", "lost when shuffled"], rows)


def seeds() -> str:
    """Accuracy by seed, as `vggviz compare` prints it."""
    found = read("comparison.json")
    study = SeedStudy(
        found["recipe"], (), 0, found["validation_pictures"], tuple(found["seeds"]),
        found["top1"], {}, found["parameters"], found["multiply_adds"],
    )  # fmt: skip
    return re.sub(r"-(?=\d+\.\d)", "−", study.table()) + "\n"


def rows_of_maps(column: str) -> list[dict[str, str]]:
    """The rows of the table in maps-in-full.md that has this column: cells by column, the network
    as 'network'. Raises KeyError for a column that no table has."""
    text = (DOCS / "results" / "maps-in-full.md").read_text("utf-8").replace("[", "(")
    for block in text.replace("]", ")").replace(", ", " to ").split("\n\n"):
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
        if lines and column in lines[0]:
            head = ["network", *lines[0][1:]]
            return [dict(zip(head, line, strict=True)) for line in lines[2:]]
    raise KeyError(column)


def agreement() -> str:
    """How alike each attention map and Grad-CAM of the same stage are, beside two controls."""
    columns = ["ρ", "IoU", "ρ to another picture", "ρ to centre"]
    rows = [
        [f"`{row['network']}`", row["stage"], *(row[column] for column in columns)]
        for row in rows_of_maps("τ_b")
        if row["map"] not in METHODS
    ]
    titles = ["ρ with Grad-CAM", "IoU of the top 20%", "ρ with another picture's Grad-CAM"]
    return table(["attention", "stage", *titles, "ρ with the centre"], rows)


def faithfulness() -> str:
    """Areas under the curves of attention and Grad-CAM at the last stage, and of control maps."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows_of_maps("ROAD"):
        name = f"`{row['network']}`" if row["network"] else f"{row['map']} map"
        if row["map"] in METHODS and row["map"] != "gradcam":
            continue
        of = "Grad-CAM" if row["map"] == "gradcam" else "attention"
        found.setdefault(name, {})[of] = row
    columns = ("deletion", "insertion", "ROAD")
    pairs = [(column, of) for column in columns for of in ("attention", "Grad-CAM")]
    rows = [
        [name, *(of_map.get(of, {}).get(column, "") for column, of in pairs)]
        for name, of_map in found.items()
    ]
    return table(["at the last stage", *(f"{column}: {of}" for column, of in pairs)], rows)


def bench() -> str:
    """Seconds a picture and ratios to a bare forward pass; † for the longer, noisier run, ¶ for the
    one with an exported file, of which only this case is shown."""
    rows = []
    cases = [
        *((key, case, "") for key, case in read("bench.json")["cases"].items()),
        *((key, case, " †") for key, case in read("bench-all.json")["cases"].items()),
        ("onnx-5", read("bench-onnx.json")["cases"]["onnx-5"], " ¶"),
    ]
    for key, case, mark in cases:
        ratio = case["ratios"]["bare"]
        cells = [case["label"] + mark, str(len(case["stages"]) or "")]
        cells.append(f"{case['median'] / case['images']:.3f}")
        rows.append([*cells, "1" if key == "bare" else spread(ratio, 1, ".2f")])
    return table(["", "stages", "seconds a picture", "× bare forward"], rows)


def measures() -> str:
    """What the page and the library take; ‡ for the run on one thread of a busy machine."""
    rows = []
    files = {"bench-everyday.json": " §", "bench-all.json": " †", "bench-find.json": " ‡"}
    for name, mark in files.items():
        for one in read(name)["measured"].values():
            median, p95 = (f"{one[key]:.3g} {one['unit']}" for key in ("median", "p95"))
            rows.append([one["label"] + mark, median, p95, one["aim"]])
    return table(["", "median", "95% of them within", "aim"], rows)


def load() -> str:
    """Simulated students."""
    found = read("load.json")
    rows = []
    for key, title in SCENARIOS.items():
        one = found[key]
        counts = [f"{one[count]:,}" for count in ("asked", "ok", "busy")]
        seconds = [f"{one[cut]:.2f} s" for cut in ("p50", "p95", "max")]
        rows.append([title, *counts, *seconds, str(sum(one["errors"].values()))])
    head = ["", "requests", "answered", "refused: busy", "p50", "p95", "slowest", "errors"]
    return table(head, rows)


def titled(spec: Any) -> str:
    """The title of an attention type or CAM method, and its paper."""
    return f"{spec.title} ({spec.paper})" if spec.paper else spec.title


def attention_types() -> str:
    """All attention types, from their specs."""
    rows = ([f"`{k}`", titled(t), t.explanation, t.start] for k, t in ATTENTION.items())
    return table(["attention", "title", "what it does", "a fresh one"], rows)


def cam_methods() -> str:
    """All CAM methods, from their specs, and how far each is from other libraries."""
    peers, rows = read("peers.json"), []
    for key, method in METHODS.items():
        errors = (f"{name} {error:.0e}" for name, error in peers.get(key, {}).items())
        against = ", ".join(errors).replace("e-0", "e-")
        rows.append([f"`{key}`", titled(method), method.explanation, against])
    return table(["CAM method", "title", "what it shows", "largest difference"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "use": use,
    "seeds": seeds,
    "agreement": agreement,
    "faithfulness": faithfulness,
    "bench": bench,
    "measures": measures,
    "load": load,
    "attention-types": attention_types,
    "cam-methods": cam_methods,
}


def renewed(page: str) -> str:
    """A page with all its tables made anew. Raises KeyError for a name not in `TABLES`."""
    return MARKS.sub(lambda found: found[1] + TABLES[found[2]]() + found[4], page)


if __name__ == "__main__":
    for file in sorted(DOCS.rglob("*.md")):
        text = file.read_text("utf-8")
        if (new := renewed(text)) != text:
            file.write_text(new, "utf-8")
            print(file.relative_to(DOCS))
