"""What the maps are worth, against numbers taken from the networks one picture at a time."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("scipy", reason="needs the extra 'train'")
pytest.importorskip("torchmetrics", reason="needs the extra 'train'")

from blobs import BLOBS, PREPROCESS, blobs, subject

from vggviz import Explainer
from vggviz.data import DataError, Masks
from vggviz.evaluation.maps import METRICS, Report, csv_of, evaluate_maps, html_of, markdown_of
from vggviz.evaluation.maps.job import Row
from vggviz.hooks.capture import intervene
from vggviz.images import ImageError
from vggviz.metrics.agreement import agreement
from vggviz.metrics.faithfulness import area, perturb
from vggviz.metrics.localisation import crop_box, energy
from vggviz.metrics.masks import crop_mask, pixel_average_precision, score_histograms
from vggviz.metrics.replacement import REPLACEMENTS
from vggviz.networks import Network, build_network

Build = Callable[..., Network]
Untouched = Callable[[nn.Module], AbstractContextManager[None]]
STAGES = ("block4", "block5")


@pytest.fixture
def networks(small_vgg: Build) -> dict[str, SimpleNamespace]:
    return {
        name: subject(
            small_vgg(
                attention=name, stages=STAGES, architecture="vgg19_bn", num_classes=3, seed=seed
            )
        )
        for seed, name in enumerate(("none", "cbam"))
    }


def quick(
    subjects: dict[str, SimpleNamespace], *metrics: str, dataset: Any = None, **options: Any
) -> Report:
    given = {"resamples": 50, "stages": STAGES, "curves": 3, "methods": ("gradcam",), **options}
    return evaluate_maps(subjects, dataset or blobs(), metrics=metrics or tuple(METRICS), **given)


def one(report: Report, **wanted: str) -> Row:
    found = [
        row
        for row in report.rows
        if all(getattr(row, key) == value for key, value in wanted.items())
    ]
    assert len(found) == 1, found
    return found[0]


def order(count: int = 10, seed: int = 0) -> list[int]:
    return torch.randperm(10, generator=torch.Generator().manual_seed(seed))[:count].tolist()


def explained(network: SimpleNamespace, index: int, target: int | None = None) -> Any:
    explainer = Explainer(network.model, network.card)
    return explainer.explain(blobs().image(index), STAGES, ("gradcam",), target)


@pytest.mark.slow
def test_agreement_is_that_of_each_picture(networks: dict[str, SimpleNamespace]) -> None:
    found = quick(networks, "agreement")
    seen = [explained(networks["cbam"], index) for index in order()]
    attention = [one.attention["block4"][1].spatial for one in seen]  # channel, then spatial
    gradcam = [one.heatmaps["block4", "gradcam"].raw for one in seen]
    controls = {"gradcam": gradcam, "gradcam of another picture": [gradcam[-1], *gradcam[:-1]]}
    for against, others in controls.items():
        pairs = [agreement(a, b) for a, b in zip(attention, others, strict=True)]
        for measure, values in zip(
            ("spearman", "kendall", "iou", "ssim"), zip(*pairs, strict=True), strict=True
        ):
            row = one(found, network="cbam", stage="block4", map="spatial", measure=measure,
                      against=against)  # fmt: skip
            known = torch.tensor(values)[~torch.tensor(values).isnan()]
            assert row.count == len(known)
            assert row.value == pytest.approx(float(known.mean()), abs=1e-3)
            assert row.low is not None
            assert row.high is not None
            assert row.low <= row.value <= row.high
    assert "no network of another seed: no ceiling (none, cbam)" in found.notes[0]
    assert not any(row.map == "spatial" for row in found.rows if row.network == "none")


def test_another_seed_is_the_ceiling(
    networks: dict[str, SimpleNamespace], small_vgg: Build
) -> None:
    cbam = {"cbam": networks["cbam"]}
    same = quick(cbam, "agreement", others=cbam)
    row = one(same, stage="block4", map="spatial", measure="spearman", against="other seed")
    assert row.value == pytest.approx(1)
    assert same.notes == ()
    with pytest.raises(ValueError, match="must be built alike, with the same classes"):
        quick(cbam, "agreement", others={"cbam": networks["none"]})


def test_faithfulness_is_that_of_each_picture(networks: dict[str, SimpleNamespace]) -> None:
    network = networks["cbam"]
    found = quick({"cbam": network}, "faithfulness", curves=2)
    areas = []
    for index in order(2):
        seen = explained(network, index)
        pixels = PREPROCESS(blobs().image(index))
        heatmap = seen.heatmaps["block4", "gradcam"].raw
        from vggviz.evaluation.maps.faithfulness import COARSE

        points = list(
            perturb(network.model, pixels, heatmap, seen.target.index, "insertion", COARSE)
        )
        areas.append(float(area(*zip(*points, strict=True))))
    row = one(found, stage="block4", map="gradcam", measure="insertion")
    assert row.value == pytest.approx(sum(areas) / 2, abs=1e-4)
    assert row.count == 2
    measured = {(row.map, row.measure) for row in found.rows if row.stage == ""}
    assert {map for map, _ in measured} == {"random", "centre", "sobel"}
    assert len(measured) == 15


def test_without_maps_only_those_that_know_nothing_are_measured(
    networks: dict[str, SimpleNamespace],
) -> None:
    found = quick(networks, "faithfulness", methods=(), curves=1)
    assert {row.map for row in found.rows if row.network == "none"} == {"random", "centre", "sobel"}
    assert {example.title.partition(" at ")[0] for example in found.examples} == {"best: spatial"}
    said = "faithfulness: no attention over positions, and no CAM method named (none)"
    assert found.notes == (said,)
    assert f"Not measured: {said}." in markdown_of(found)


def test_localisation_is_told_the_true_class(networks: dict[str, SimpleNamespace]) -> None:
    dataset = blobs()
    assert dataset.boxes is not None
    found = quick(networks, "localisation", training=dataset)
    inside = []
    for index in order():
        seen = explained(networks["none"], index, int(dataset.targets[index]))
        box = crop_box(dataset.boxes[index], seen.crop, 32)[None]
        inside.append(energy(seen.heatmaps["block4", "gradcam"].raw[None], box, (32, 32)))
    known = torch.cat(inside)[~torch.cat(inside).isnan()]
    row = one(found, network="none", stage="block4", map="gradcam", measure="energy")
    assert row.value == pytest.approx(float(known.mean()), abs=1e-3)
    for map in ("gradcam", "spatial"):
        boxes = [
            one(found, network="cbam", stage="block4", map=map, measure=measure).value
            for measure in ("box at 30%", "box at 50%", "box at 70%", "MaxBoxAccV2")
        ]
        assert boxes[3] == pytest.approx(sum(boxes[:3]) / 3)  # type: ignore[arg-type]
        assert boxes[0] >= boxes[1] >= boxes[2]  # type: ignore[operator]
    chance = one(found, network="cbam", map="chance", measure="energy")
    assert chance == replace(one(found, network="none", map="chance", measure="energy"),
                             network="cbam")  # fmt: skip


def test_masks_are_judged_beside_the_boxes_around_them(
    networks: dict[str, SimpleNamespace],
) -> None:
    def blob_mask(left: int, top: int, right: int, bottom: int) -> Masks:
        mask = np.zeros((40, 60), dtype=np.bool_)
        mask[top:bottom, left:right] = True
        return Masks((mask,))

    masks = tuple(partial(blob_mask, *blob) for blob in BLOBS)
    masked = replace(blobs(boxes=False), masks=(*masks[:9], None))
    cbam = {"cbam": networks["cbam"]}
    found = quick(cbam, "localisation", dataset=masked, training=masked)
    chosen = [index for index in order() if index < 9]
    maps, squares = [], []
    for index in chosen:
        explanation = explained(networks["cbam"], index, int(masked.targets[index]))
        maps.append(explanation.heatmaps["block4", "gradcam"].raw)
        square = crop_mask(masks[index]().objects[0], explanation.crop, 32)
        squares.append(torch.from_numpy(square.astype(np.uint8)))
    counts = score_histograms(torch.stack(maps), torch.stack(squares))
    row = one(found, stage="block4", map="gradcam", measure="PxAP")
    assert row.value == pytest.approx(float(pixel_average_precision(counts.sum(0))), abs=1e-3)
    assert row.count == 9
    chance = one(found, map="chance", measure="PxAP")
    assert chance.value == pytest.approx(float(torch.stack(squares).double().mean()))
    around = torch.tensor(BLOBS[:9])[:, None].float().unbind()
    boxed = replace(blobs(), boxes=(*around, torch.zeros(0, 4)))
    alike = quick(cbam, "localisation", dataset=boxed, training=boxed)
    assert alike.rows == tuple(row for row in found.rows if row.measure != "PxAP")
    assert " PxAP |" in markdown_of(found)
    assert " PxAP |" not in markdown_of(alike)


def test_a_picture_whose_box_lies_outside_it_is_left_out(
    networks: dict[str, SimpleNamespace],
) -> None:
    dataset = blobs()
    assert dataset.boxes is not None
    wrong = replace(dataset, boxes=(torch.tensor([[0.0, 0, 61.5, 5]]), *dataset.boxes[1:]))
    messages: list[ImageError] = []
    found = quick({"none": networks["none"]}, "localisation", dataset=wrong,
                  unreadable=messages.append)  # fmt: skip
    assert one(found, stage="block4", map="gradcam", measure="pointing").count == 9
    (message,) = messages
    assert str(message) == (
        "0.png has the box 0, 0, 61.5, 5, which lies outside the picture of 60 × 40 pixels"
    )


def test_without_boxes_or_training_it_says_so(networks: dict[str, SimpleNamespace]) -> None:
    bare = quick(networks, "localisation", dataset=blobs(boxes=False))
    assert bare.rows == ()
    assert bare.notes == ("localisation: the data has no boxes (none, cbam)",)
    alone = quick(networks, "localisation", training=blobs(boxes=False))
    assert "no training boxes" in alone.notes[0]
    assert not any(row.measure == "MaxBoxAccV2" for row in alone.rows)
    assert any(row.measure == "pointing" for row in alone.rows)


def test_sanity_goes_through_all_layers(networks: dict[str, SimpleNamespace]) -> None:
    found = quick({"cbam": networks["cbam"]}, "sanity")
    rows = [row for row in found.rows if row.map == "spatial" and row.stage == "block4"]
    layers = [row.against for row in rows if row.measure == "spearman, independent"]
    assert layers == list(networks["cbam"].model.parameter_groups())
    assert len(layers) == 1 + 16 + 2
    assert layers[:3] == ["head", "attention at block5", "conv5_4"]
    by_layer = {row.against: row.value for row in rows if row.measure == "spearman, independent"}
    # The attention at block4 does not depend on what comes after it.
    after = layers[: layers.index("attention at block4")]
    assert all(by_layer[layer] == pytest.approx(1) for layer in after)
    assert by_layer["conv4_4"] != pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_parameter_groups_of_other_networks(small_vgg: Build) -> None:
    full = small_vgg(head="fc", architecture="vgg19_bn").parameter_groups()
    assert len(full) == 19
    assert list(full)[:4] == ["fc8", "fc7", "fc6", "conv5_4"]
    assert list(full)[-1] == "conv1_1"
    assert full["conv1_1"] == ("features.0", "features.1")
    parameters = sum(
        value.numel()
        for paths in full.values()
        for path in paths
        for value in small_vgg(head="fc", architecture="vgg19_bn").get_submodule(path).parameters()
    )
    assert parameters == sum(
        v.numel() for v in small_vgg(head="fc", architecture="vgg19_bn").parameters()
    )
    free = small_vgg(attention="simam", blend="replace").parameter_groups()
    assert not any(name.startswith("attention") for name in free)  # it has learned nothing


def test_causality_by_hand(networks: dict[str, SimpleNamespace]) -> None:
    network, dataset = networks["cbam"], blobs()
    found = quick(networks, "causality")
    images = torch.cat([PREPROCESS(dataset.image(index)) for index in order()])
    targets = dataset.targets[order()]

    def ones(_: str, __: str, weights: Tensor) -> Tensor:
        return torch.ones_like(weights)

    with torch.no_grad():
        before = network.model(images)
        with intervene(network.model, ones):
            after = network.model(images)
    x, y = (z - z.mean(1, keepdim=True) for z in (before, after))
    expected = {
        "logits": ((y - x).norm(dim=1) / x.norm(dim=1)).mean(),
        "top-1 changed": (before.argmax(1) != after.argmax(1)).double().mean(),
        "accuracy lost": (before.argmax(1) == targets).double().mean()
        - (after.argmax(1) == targets).double().mean(),
    }
    for measure, value in expected.items():
        row = one(found, network="cbam", against="identity", measure=measure)
        assert row.value == pytest.approx(float(value), abs=1e-5)
    assert {row.against for row in found.rows} == set(REPLACEMENTS)
    assert found.notes == ("causality: no attention to replace (none)",)
    with torch.no_grad():
        for stage in STAGES:
            network.model.attention[stage].gamma.zero_()  # attention that is ignored
    ignored = quick({"cbam": network}, "causality")
    assert {row.value for row in ignored.rows} == {0.0}


@pytest.mark.slow
def test_numbers_depend_on_nothing_else(
    networks: dict[str, SimpleNamespace], untouched: Untouched
) -> None:
    with ExitStack() as stack:
        for network in networks.values():
            stack.enter_context(untouched(network.model))
        found = quick(networks)
    assert found.rows[0] == quick({"none": networks["none"]}, "agreement").rows[0]
    alone = quick({"cbam": networks["cbam"]}, batch=64)
    assert alone.rows == tuple(row for row in found.rows if row.network == "cbam")
    other = quick({"cbam": networks["cbam"]}, "causality", seed=1)
    assert other.rows != tuple(row for row in alone.rows if row.metric == "causality")


def test_only_shuffling_depends_on_the_batch(networks: dict[str, SimpleNamespace]) -> None:
    whole, parts, again = (
        quick({"cbam": networks["cbam"]}, "causality", batch=batch).rows for batch in (64, 3, 3)
    )
    assert parts == again
    far = dict.fromkeys(REPLACEMENTS, 0.0)
    for one, other in zip(whole, parts, strict=True):
        assert one.value is not None
        assert other.value is not None
        far[one.against] = max(far[one.against], abs(one.value - other.value))
    assert far.pop("shuffled") > 1e-3
    assert max(far.values()) < 1e-5


# Files ---------------------------------------------------------------------------------------


def test_what_is_done_is_kept(
    networks: dict[str, SimpleNamespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = quick(networks, "agreement", "causality", folder=tmp_path)
    files = sorted(path.name for path in (tmp_path / "parts").iterdir())
    assert files == sorted(
        f"{metric}-{name}.json" for metric in ("agreement", "causality") for name in networks
    )
    measured: list[str] = []
    for metric, spec in METRICS.items():

        def counting(job: Any, metric: str = metric, measure: Any = spec.measure) -> Any:
            measured.append(f"{metric} of {job.name}")
            return measure(job)

        monkeypatch.setitem(METRICS, metric, replace(spec, measure=counting))
    assert quick(networks, "agreement", "causality", folder=tmp_path) == first
    assert measured == []
    (tmp_path / "parts" / "agreement-cbam.json").write_text("[1]")  # damaged
    (tmp_path / "parts" / "causality-cbam.json").unlink()
    assert quick(networks, "agreement", "causality", folder=tmp_path) == first
    assert measured == ["agreement of cbam", "causality of cbam"]
    measured.clear()
    with torch.no_grad():
        networks["cbam"].model.classifier[0].bias.add_(1)  # another network by the same name
    quick(networks, "causality", folder=tmp_path)
    assert measured == ["causality of cbam"]
    quick(networks, "causality", folder=tmp_path, pictures=9)
    assert measured == ["causality of cbam", "causality of none", "causality of cbam"]


@pytest.mark.slow
def test_only_what_depends_on_it_is_measured_again(
    networks: dict[str, SimpleNamespace], tmp_path: Path
) -> None:
    cbam = {"cbam": networks["cbam"]}
    given = {"folder": tmp_path, "curves": 2}
    quick(cbam, **given)

    def anew(**options: Any) -> set[str]:
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
        quick(cbam, **{**given, **options})
        return {
            p.name.partition("-")[0] for p, then in before.items() if p.stat().st_mtime_ns > then
        }

    assert anew() == set()
    assert anew(batch=3) == {"causality"}  # shuffling is drawn batch by batch
    assert anew(others=cbam, batch=3) == {"agreement"}
    given["batch"] = 3
    assert anew(others=cbam, curves=3) == {"faithfulness", "sanity"}
    assert anew(others=cbam, curves=3, training=blobs()) == {"localisation"}
    assert anew(others=cbam, curves=3, training=blobs(), seed=1) == set(METRICS)


@pytest.mark.slow
def test_other_data_under_the_same_names_is_measured_anew(
    networks: dict[str, SimpleNamespace], tmp_path: Path
) -> None:
    cbam, data = networks["cbam"], blobs()
    assert data.boxes is not None
    files = {name: data.read(name) for name in data.files}
    files |= {"0.png": files["1.png"], "1.png": files["0.png"]}
    turned = ("cow", "ant", "bee")
    shifted = tuple(some + 2 for some in data.boxes)
    whole = Masks((np.ones((40, 60), dtype=np.bool_),))
    others: dict[str, Any] = {
        "pictures": {"dataset": replace(data, read=files.__getitem__)},
        "classes": {"dataset": replace(data, targets=data.targets.roll(1))},
        "labels": {"dataset": replace(data, labels=turned)},
        "boxes": {"dataset": replace(data, boxes=shifted)},
        "masks": {"dataset": replace(data, masks=(lambda: whole,) * len(data))},
        "training": {"training": replace(data, boxes=shifted)},
        "outputs": {"network": subject(cbam.model, turned)},
    }

    def found(folder: Path | None, network: Any = cbam, **given: Any) -> Report:
        options = {"dataset": data, "training": data, "folder": folder, **given}
        return quick({"cbam": network}, "localisation", **options)

    first = found(tmp_path)
    for what, changes in others.items():
        assert found(tmp_path, **changes) == found(None, **changes) != first, what
        assert found(tmp_path) == first  # and it is kept in its turn


def test_cost_grows_linearly_in_pictures(
    networks: dict[str, SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[int] = []
    forward = Network.forward

    def counting(model: Network, x: Tensor, stage: str | None = None) -> Tensor:
        passed.append(len(x))
        return forward(model, x, stage)

    monkeypatch.setattr(Network, "forward", counting)
    for metric in METRICS:
        seen = []
        for count in (4, 8):
            passed.clear()
            quick({"cbam": networks["cbam"]}, metric, pictures=count, curves=count, batch=3)
            seen.append(sum(passed))
        assert seen[1] == 2 * seen[0] > 0, metric


def test_it_goes_on_where_it_was_stopped(
    networks: dict[str, SimpleNamespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if what == "agreement of cbam":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(networks, "agreement", folder=tmp_path, progress=stop)
    told: list[tuple[int, int]] = []
    found = quick(
        networks, "agreement", folder=tmp_path, progress=lambda *now: told.append(now[:2])
    )
    assert found == quick(networks, "agreement")
    assert told == [(0, 2), (1, 2), (1, 2), (2, 2)]


def test_a_name_with_a_path_stays_in_the_folder(
    networks: dict[str, SimpleNamespace], tmp_path: Path
) -> None:
    quick({"../a/b.safetensors": networks["cbam"]}, "causality", folder=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "parts").iterdir()] == [
        "causality-.._a_b.safetensors.json"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_unreadable_picture_is_left_out(networks: dict[str, SimpleNamespace]) -> None:
    dataset = blobs()
    broken = replace(dataset, read=lambda name: b"x" if name == "4.png" else dataset.read(name))
    told: list[ImageError] = []
    found = quick(networks, "causality", dataset=broken, unreadable=told.append)
    assert {row.count for row in found.rows} == {9}
    assert [str(error)[:5] for error in told] == ["4.png"]
    with pytest.raises(ImageError, match=r"4\.png"):
        quick(networks, "causality", dataset=broken)
    nothing = replace(dataset, read=lambda name: b"x")
    with pytest.raises(DataError, match="none of the pictures can be read"):
        quick(networks, "causality", dataset=nothing, unreadable=told.append)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("x",)}, "no metric 'x': choose from agreement, faithfulness"),
        ({"methods": ("x",)}, "no method 'x'"),
        ({"stages": ("x",)}, "no layer 'x'"),
        ({"methods": ("layercam",)}, "agreement compares with 'gradcam'"),
    ],
)
def test_wrong_words_are_named(
    options: dict[str, Any], message: str, networks: dict[str, SimpleNamespace]
) -> None:
    given = {"stages": STAGES, "metrics": ("agreement",), **options}
    with pytest.raises(ValueError, match=message):
        evaluate_maps(networks, blobs(), **given)


# What is told --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report() -> Report:
    from vggviz.networks import NetworkConfig

    subjects = {}
    for seed, name in enumerate(("none", "se", "softmax")):
        config = NetworkConfig(
            name, STAGES, head="gap", architecture="vgg19_bn", width=0.125, num_classes=3
        )
        subjects[name] = subject(build_network(config, torch.Generator().manual_seed(seed)))
    return quick(subjects, training=blobs(), methods=("gradcam", "layercam"))


def rows_of(table: str) -> Sequence[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]


def test_csv_and_json_hold_every_row(report: Report) -> None:
    read = list(csv.DictReader(io.StringIO(csv_of(report))))
    assert len(read) == len(report.rows)
    for line, row in zip(read, report.rows, strict=True):
        assert (line["metric"], line["map"], line["against"]) == (row.metric, row.map, row.against)
        assert line["value"] == ("" if row.value is None else repr(row.value))
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert len(told["rows"]) == len(report.rows)
    assert told["rows"][3]["measure"] == report.rows[3].measure
    assert told["settings"]["networks"].keys() == {"none", "se", "softmax"}
    assert "png" not in told["examples"][0]
    assert {row.metric for row in report.rows} == set(METRICS)


def test_tables_show_the_rows(report: Report) -> None:
    tables = markdown_of(report)
    cells = rows_of(tables)
    row = one(report, network="softmax", stage="block4", map="pool", measure="spearman",
              against="gradcam")  # fmt: skip
    shown = next(line for line in cells if line[:3] == ["softmax", "pool", "block4"])
    if row.value is None:
        assert shown[3] == ""
    else:
        assert shown[3].startswith(f"{row.value:.2f}".replace("-", "−"))
    assert len([line for line in cells if line[1:2] == ["centre"]]) == 2  # once a table
    assert "Not measured: causality: no attention to replace (none)." in tables
    for block in tables.split("\n\n"):
        assert len({len(line) for line in block.splitlines() if line.startswith("|")}) <= 1


def test_tables_show_the_deepest_stage_in_whatever_order_they_are_named(
    networks: dict[str, SimpleNamespace],
) -> None:
    names = ("block5", "conv5_1", "features.2", "block4")
    found = quick({"cbam": networks["cbam"]}, "localisation", stages=names)
    assert found.settings["stages"] == ["features.2", "block4", "conv5_1", "block5"]
    shown = {line[1]: line[2] for line in rows_of(markdown_of(found)) if line[0] == "cbam"}
    assert shown == {"gradcam": "block5", "spatial": "block5"}
    assert found.examples[0].title.startswith("best: gradcam at block5, ")


def test_maps_that_are_flat_on_every_picture_have_a_table_too(report: Report) -> None:
    rows = tuple(replace(r, value=None, low=None, high=None, count=0) for r in report.rows)
    flat = replace(report, rows=rows)
    assert "Means over 0 pictures" in markdown_of(flat)
    assert html_of(flat, "flat").count("<table") == len(METRICS)


def test_the_page_needs_nothing_else(report: Report) -> None:
    page = html_of(report, "made by <hand>")
    assert "made by &lt;hand&gt;" in page
    assert page.count('src="data:image/svg+xml;base64,') == len(METRICS)
    assert page.count("data:image/png;base64,") == len(report.examples) > 0
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "<script" not in page
    for metric in METRICS:
        assert f"<h2>{metric.capitalize()}</h2>" in page


def test_examples_are_the_best_and_the_worst(networks: dict[str, SimpleNamespace]) -> None:
    found = quick({"cbam": networks["cbam"]}, "agreement")
    shown = found.examples
    numbers = [float(example.title.rpartition(" ")[2].replace("−", "-")) for example in shown]
    assert [example.title[:5] for example in shown] == ["best:"] * 3 + ["worst"] * 3
    assert numbers == sorted(numbers, reverse=True)
    values = {}
    for index in order():
        seen = explained(networks["cbam"], index)
        pair = seen.attention["block5"][1].spatial, seen.heatmaps["block5", "gradcam"].raw
        values[f"{index}.png"] = agreement(*pair).spearman
    known = {name: value for name, value in values.items() if value == value}
    assert numbers[0] == pytest.approx(max(known.values()), abs=0.006)
    assert numbers[-1] == pytest.approx(min(known.values()), abs=0.006)
