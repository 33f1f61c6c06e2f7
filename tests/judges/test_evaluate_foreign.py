"""The evaluation of networks that were not made for vggviz, against plain hooks on modules."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import seed_listing
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner, Result

pytest.importorskip("scipy", reason="needs the extra 'train'")
pytest.importorskip("torchmetrics", reason="needs the extra 'train'")

from blobs import LABELS, blobs, subject

from vggviz.cli import app
from vggviz.data import DataError
from vggviz.evaluation import evaluate, table
from vggviz.evaluation.maps import METRICS, evaluate_maps, markdown_of
from vggviz.evaluation.observer import Observations, Observer
from vggviz.evaluation.pictures import batches, shared_classes
from vggviz.explainer import Explainer
from vggviz.hooks import finding
from vggviz.hooks.tap import Tap
from vggviz.metrics.replacement import REPLACEMENTS, change_to
from vggviz.networks import ForeignNetwork, Network

Build = Callable[..., Network]
Untouched = Callable[[nn.Module], AbstractContextManager[None]]
SIZE = 32


def gated(num_classes: int = 3) -> nn.Module:
    """Squeeze-and-excitation and CBAM: all attention comes out of an `nn.Sigmoid`."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), seed_listing.SqueezeExcitation(8),
            nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), seed_listing.CBAM(16),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
        ).eval()  # fmt: skip


@pytest.fixture
def network() -> nn.Module:
    return gated()


def explainer(network: nn.Module, labels: tuple[str, ...] = LABELS) -> Explainer:
    return Explainer.of(network, labels=labels, size=SIZE)


def images(one: Explainer) -> Tensor:
    (part,) = batches(blobs(), [one.preprocess], 99)
    return part[one.preprocess].images


def by_hooks(network: nn.Module, change: Callable[[Tensor], Tensor]) -> list[Any]:
    return [
        module.register_forward_hook(lambda _, __, weights: change(weights))
        for module in network.modules()
        if isinstance(module, nn.Sigmoid)
    ]


def quick(subjects: dict[str, Any], dataset: Any = None, **options: Any) -> Any:
    given = {"rounds": 6, "resamples": 50, "reference": next(iter(subjects)), **options}
    return evaluate(subjects, dataset or blobs(), **given)


def test_use_is_what_other_weights_of_its_modules_cost(
    network: nn.Module, untouched: Untouched
) -> None:
    one = explainer(network)
    x = images(one)
    with torch.no_grad():
        own = network(x).argmax(1)
        handles = by_hooks(network, lambda w: w.mean((1, 2, 3), keepdim=True).expand_as(w)
                           if w.ndim == 4 else w.mean(1, keepdim=True).expand_as(w))  # fmt: skip
        changed = network(x)
        for handle in handles:
            handle.remove()
    assert not torch.allclose(changed, network(x), atol=1e-4)
    # Half of the pictures get the class of the network with uniform weights.
    targets = torch.where(torch.arange(10) % 2 == 0, changed.argmax(1), own)
    dataset = replace(blobs(), targets=targets)
    with untouched(one.model):
        found = quick({"own": one}, dataset).results["own"]
    right, after = own == targets, changed.argmax(1) == targets
    assert found.top1.value == pytest.approx(float(right.float().mean()))
    uniform = found.use["uniform"]
    assert uniform.better == int((right & ~after).sum())
    assert uniform.worse == int((~right & after).sum())
    assert found.attention == "channel, spatial"
    assert found.stages == tuple(one.model.attention)
    assert found.gammas == {}


def test_spread_and_maps_are_those_of_the_modules(network: nn.Module) -> None:
    one = explainer(network)
    x, seen = images(one), dict[str, Tensor]()
    network[6].spatial_gate.register_forward_hook(lambda _, __, w: seen.update(spatial=w))
    network[2].fc.register_forward_hook(lambda _, __, w: seen.update(channel=w))
    with torch.no_grad():
        network(x)
    found = quick({"own": one}).results["own"]
    spread = {(one.stage, one.kind): one for one in found.spread}
    for key, weights in ((("2", "channel"), seen["channel"]), (("6", "spatial"), seen["spatial"])):
        assert spread[key].low == pytest.approx(float(weights.min()))
        assert spread[key].high == pytest.approx(float(weights.max()))
        assert spread[key].mean == pytest.approx(float(weights.mean()), rel=1e-5)
    boxes = torch.tensor([[0.0, 0, SIZE, SIZE]])
    assert found.pointing is not None
    names = [(view.stage, view.kind) for view in found.pointing.views]
    assert names == [("2", "gradcam"), ("6", "spatial"), ("6", "gradcam")]
    assert boxes.shape == (1, 4)


def test_every_metric_measures_a_foreign_network(network: nn.Module, untouched: Untouched) -> None:
    one, other = explainer(network), explainer(gated())
    with untouched(one.model):
        found = evaluate_maps(
            {"own": one}, blobs(), blobs(), curves=2, resamples=20, others={"own": other}
        )
    rows = found.frame()
    assert set(rows["metric"]) == set(METRICS)
    assert found.notes == ()
    at = rows[(rows["stage"] == "6") & (rows["map"] == "spatial")]
    assert set(at["metric"]) == {"agreement", "faithfulness", "localisation", "sanity"}
    same = at[(at["against"] == "other seed") & (at["measure"] == "spearman")]
    assert same["value"].item() == pytest.approx(1)  # the same weights
    layers = list(dict.fromkeys(at[at["metric"] == "sanity"]["against"]))
    assert layers == ["9", "6", "4", "2", "0"]
    # What comes after the attention doesn't change it.
    column = at[at["measure"] == "spearman, independent"].set_index("against")["value"]
    assert column["9"] == pytest.approx(1)
    assert column["0"] < 0.999
    assert "| own" in markdown_of(found)


def test_identity_is_the_network_without_its_gates(network: nn.Module) -> None:
    one = explainer(network)
    with torch.no_grad():
        before = network(images(one))
        handles = by_hooks(network, torch.ones_like)
        after = network(images(one))
        for handle in handles:
            handle.remove()
    x, y = (z - z.mean(1, keepdim=True) for z in (before, after))
    found = evaluate_maps({"own": one}, blobs(), metrics=("causality",), resamples=20).frame()
    rows = found.set_index(["against", "measure"])["value"]
    moved = ((y - x).norm(dim=1) / x.norm(dim=1)).mean()
    assert rows["identity", "logits"] == pytest.approx(float(moved), abs=1e-5)
    assert set(found["against"]) == set(REPLACEMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224"])
def test_transformers_are_evaluated(name: str) -> None:
    pytest.importorskip("timm", reason="needs the extra 'timm'")
    one = Explainer.load(name, labels=list(LABELS))
    dataset = blobs().subset(torch.arange(3))
    metrics = ("agreement", "localisation", "causality")
    found = evaluate_maps({name: one}, dataset, metrics=metrics, resamples=20)
    rows = found.frame()
    assert {"token", "gradcam"} <= set(rows["map"])
    assert rows[rows["map"] == "token"]["value"].notna().any()
    assert set(rows[rows["metric"] == "causality"]["against"]) == set(REPLACEMENTS)
    model = one.model
    assert isinstance(model, ForeignNetwork)
    change = change_to("identity", torch.Generator(), model.key_positions())
    with torch.no_grad(), finding(model, model.places, change=change) as places:
        model(torch.zeros(1, 3, 224, 224))
    for record in (found.record() for found in places[::3]):  # each token looks at itself
        for row, column in ((0, 0), (3, 5)):
            looked = record.query(row, column)
            assert looked[row, column] == looked.sum() == 1


def test_without_attention_it_says_so() -> None:
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    one = explainer(plain)
    found = quick({"plain": one})
    assert (found.results["plain"].use, found.results["plain"].spread) == ({}, ())
    assert "Without attention, so that there is nothing to replace: plain." in table(found)
    report = evaluate_maps({"plain": one}, blobs(), metrics=("causality",))
    assert report.notes == ("causality: no attention to replace (plain)",)


def test_an_untrained_network_has_other_weights_everywhere(
    network: nn.Module, untouched: Untouched
) -> None:
    model = ForeignNetwork(network, SIZE)
    groups = model.parameter_groups()
    assert groups["6"] == ("6.conv", "6.mlp.2", "6.mlp.0")
    with untouched(model):
        first, same, other = (
            model.untrained(groups, torch.Generator().manual_seed(seed)).state_dict()
            for seed in (0, 0, 1)
        )
        one = model.untrained(["6"], torch.Generator()).state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(first[key], same[key]), key
        assert not torch.equal(first[key], value), key
        assert not torch.equal(first[key], other[key]), key
        assert torch.equal(one[key], value) == (not key.startswith("6.")), key


# Classes that a network doesn't know ----------------------------------------------------------


def test_pictures_of_unknown_classes_are_left_out_and_counted(network: nn.Module) -> None:
    one = explainer(network, ("ant", "cow", "dog"))
    two = explainer(gated(4), ("yak", "COW", "bee", "ant"))
    dataset = blobs()
    found = quick({"one": one, "two": two}, dataset)
    assert (found.pictures, found.classes) == (7, 2)
    assert found.unknown == {"bee": 3}
    known = dataset.targets != 1
    expected = network(images(one)).argmax(1) == torch.tensor([0, -1, 1])[dataset.targets]
    assert found.results["one"].top1.value == pytest.approx(float(expected[known].float().mean()))
    note = "Left out are 3 pictures of 1 classes that not every network here knows: 'bee'."
    assert note in table(found)
    report = evaluate_maps({"one": one, "two": two}, dataset, metrics=("causality",))
    assert report.settings["pictures"] == 7
    assert report.settings["unknown"] == {"bee": 3}
    assert note in markdown_of(report)


def test_shared_classes_keep_pictures_boxes_and_names() -> None:
    dataset = replace(blobs(), wnids=("n1", "n2", "n3"))
    card = SimpleNamespace(
        weights="w", config=None, labels=("x", "y", "z"), wnids=("n3", "n9", "n1")
    )
    part, unknown = shared_classes(dataset, [card])  # type: ignore[list-item]
    assert (part.labels, part.wnids, unknown) == (("ant", "cow"), ("n1", "n3"), {"bee": 3})
    assert part.targets.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert part.files == tuple(f"{k}.png" for k in range(10) if k % 3 != 1)
    assert dataset.boxes is not None
    assert part.boxes is not None
    kept = (dataset.targets != 1).nonzero()[:, 0].tolist()
    assert all(part.boxes[row] is dataset.boxes[index] for row, index in enumerate(kept))
    with pytest.raises(DataError, match="'w' do not know the class 'ant'"):
        shared_classes(blobs(), [card])  # type: ignore[list-item]
    card.labels = ("ant",)
    with pytest.raises(DataError, match="'w' has one output"):
        shared_classes(blobs(), [card])  # type: ignore[list-item]


# Several records of one kind ------------------------------------------------------------------


class Twice(nn.Module):
    """Two spatial gates one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.taps = nn.ModuleList(Tap("spatial") for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for tap, factor in zip(self.taps, (1, -3), strict=True):
            weights = (x.mean(1) * factor).sigmoid()
            x = x * tap(weights, weights.shape[-2:])[:, None]
        return x


def observed(one: Any) -> Observations:
    (part,) = batches(blobs(), [one.card.preprocess], 99)
    observer = Observer(one.model, (), 0)
    observer.observe(part[one.card.preprocess], torch.zeros(10, dtype=torch.long))
    return observer.observations()


def test_rows_and_columns_point_at_nothing(small_vgg: Build) -> None:
    found = observed(subject(small_vgg(attention="coordinate", stages=("block4",), num_classes=3)))
    assert [(s.stage, s.kind) for s in found.spread] == [("block4", "axis"), ("block4", "axis_2")]
    assert list(found.hits) == [("block4", "gradcam")]


def test_two_taps_of_one_kind_are_kept_apart(small_vgg: Build) -> None:
    model = small_vgg(attention="spatial", stages=("block4",), num_classes=3)
    model.attention["block4"].module = Twice()
    one = subject(model)
    found = observed(one)
    assert [(s.stage, s.kind) for s in found.spread] == [
        ("block4", "spatial"), ("block4", "spatial_2")
    ]  # fmt: skip
    first, second = found.spread
    assert first.low >= 0.5 >= second.high  # σ of features that are never negative
    assert list(found.hits) == [("block4", kind) for kind in ("spatial", "spatial_2", "gradcam")]
    rows = evaluate_maps({"a": one}, blobs(), metrics=("agreement",), resamples=20).frame()
    assert {"spatial", "spatial_2"} <= set(rows["map"])


# The command line -----------------------------------------------------------------------------


def run(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders, labels, and a checkpoint of a network in a file of the user's own."""
    root = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    for label in ("cat", "dog", "emu"):
        (root / "pets" / label).mkdir(parents=True)
        for number in range(2):
            noise = generator.integers(0, 256, (36, 36, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / "pets" / label / f"{number}.png")
    (root / "labels.txt").write_text("dog\ncat\n")
    torch.save({"state_dict": gated(2).state_dict()}, root / "own.pth")
    return root


def own(folder: Path) -> list[object]:
    named = f"{__file__}:gated"
    return [
        "--network", named, "--checkpoint", folder / "own.pth", "--labels", folder / "labels.txt",
        "--size", SIZE, "--mean", "0.5", "--std", "0.5", "--data", folder / "pets",
    ]  # fmt: skip


def test_a_network_of_the_users_own(folder: Path, tmp_path: Path) -> None:
    done = run(*own(folder), "--json", tmp_path / "found.json")
    content = json.loads((tmp_path / "found.json").read_text("utf-8"))
    (result,) = content["results"].values()
    assert (result["weights"], result["attention"]) == ("own.pth", "channel, spatial")
    assert (content["pictures"], content["unknown"]) == (4, {"emu": 2})
    assert "Left out are 2 pictures of 1 classes" in done.stdout
    assert "lost with uniform" in done.stdout


def test_its_maps(folder: Path, tmp_path: Path) -> None:
    words = ("--metrics", "all", "--out", tmp_path / "out", "--curves", 2, "--methods", "gradcam")
    done = run(*own(folder), *words)
    content = json.loads((tmp_path / "out" / "maps.json").read_text("utf-8"))
    measured = {row["metric"] for row in content["rows"]}
    assert measured == set(METRICS) - {"localisation"}
    assert "Not measured: localisation: the data has no boxes" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "{file}:gated", "--attention", "se"], "brings its own attention"),
        (["--network", "{file}:gated", "--against", "x"], "compares two weights files"),
        (["--network", "{file}:gatde"], "gated"),
        (
            ["--network", "{file}:gated"],
            "'random' of test_evaluate_foreign.py:gated do not know the class 'cat' of the",
        ),
        (["--size", "32"], "can't be given with 'everyday'"),
    ],
)
def test_wrong_words_are_answered_in_one_line(words: list[str], message: str, folder: Path) -> None:
    done = run(*(word.format(file=__file__) for word in words), "--data", folder / "pets", code=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2  # the data has no parts, then this
    assert done.stdout == ""
