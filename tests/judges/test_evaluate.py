"""The evaluation against counts by hand, and a network whose attention is known by construction."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, astuple, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("scipy", reason="needs the extra 'train'")
pytest.importorskip("torchmetrics", reason="needs the extra 'train'")

from blobs import BLOBS, LABELS, PREPROCESS, blobs, subject

from vggviz.data import DataError, Dataset
from vggviz.evaluation import Evaluation, evaluate, table
from vggviz.evaluation.estimator import Estimator
from vggviz.evaluation.observer import Observations
from vggviz.evaluation.pictures import batches, classes_of
from vggviz.evaluation.result import Cost, Difference, Pointing, Result, Spread, Subset, View
from vggviz.hooks.capture import capture, intervene
from vggviz.hooks.tap import Tap
from vggviz.images import ImageError, Preprocess
from vggviz.metrics.cost import multiply_adds, parameters
from vggviz.metrics.replacement import REPLACEMENTS
from vggviz.metrics.statistics import Estimate
from vggviz.networks import Network
from vggviz.networks.vgg import VGG

Build = Callable[..., Network]
Untouched = Callable[[nn.Module], AbstractContextManager[None]]


@pytest.fixture
def networks(small_vgg: Build) -> dict[str, SimpleNamespace]:
    stages = {"none": VGG.stages, "cbam": VGG.stages, "self_attention": VGG.stages[3:]}
    return {
        name: subject(
            small_vgg(attention=name, stages=own, architecture="vgg19_bn", num_classes=3, seed=seed)
        )
        for seed, (name, own) in enumerate(stages.items())
    }


def quick(subjects: dict[str, SimpleNamespace], dataset: Dataset, **options: Any) -> Evaluation:
    return evaluate(subjects, dataset, **{"rounds": 6, "resamples": 100, **options})


def seer(small_vgg: Build) -> Network:
    """A network whose spatial gate at block1 is σ(4·brightness − 2): it looks at what is bright.

    Block1 hands on the mean of the colours in one channel, and zeros in the others.
    """
    model = small_vgg(attention="spatial", stages=("block1",), blend="replace", num_classes=3)
    with torch.no_grad():
        for layer in (model.features[0], model.features[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        model.features[0].weight[0, :, 1, 1] = 1 / 3
        model.features[2].weight[0, 0, 1, 1] = 1
        gate = model.attention["block1"].module
        gate.conv.weight.zero_()
        gate.conv.weight[0, 1, 3, 3] = 4  # of the two inputs the maximum over channels
        gate.norm.reset_parameters()
        gate.norm.bias.fill_(-2)
    return model


def without_time(result: Result) -> dict[str, Any]:
    return {**asdict(result), "cost": None}


# It points, it is used -----------------------------------------------------------------------


def test_attention_that_looks_at_the_blob_hits_every_box(small_vgg: Build) -> None:
    found = quick({"seer": subject(seer(small_vgg))}, blobs(), reference="seer").results["seer"]
    assert found.pointing is not None
    view = found.pointing.best_view("attention", "all")
    assert view is not None
    assert (view.stage, view.kind, view.nowhere) == ("block1", "spatial", 0)
    assert {name: rate.value for name, rate in view.rates.items()} == {
        "all": 1, "off_centre": 1, "small": 1,
    }  # fmt: skip
    # The crop takes 14 from x and leaves y with 4 less: what is seen is x 14 … 46, y 4 … 36.
    boxes = torch.tensor(BLOBS) + torch.tensor([-15, -5, -13, -3])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1) / 32**2
    centre = ((boxes[:, :2] <= 16) & (boxes[:, 2:] > 16)).all(1)
    for name, chosen in {"all": area > 0, "off_centre": ~centre, "small": area <= 1 / 3}.items():
        subset = found.pointing.subsets[name]
        assert subset.count == int(chosen.sum()) > 0
        assert subset.chance == pytest.approx(float(area[chosen].mean()))
        assert subset.centre == pytest.approx(float(centre[chosen].float().mean()))
    assert found.pointing.subsets["small"].count == 9


def test_attention_that_looks_away_hits_none(small_vgg: Build) -> None:
    model = seer(small_vgg)
    with torch.no_grad():
        model.attention["block1"].module.conv.weight.neg_()
    found = quick({"away": subject(model)}, blobs(), reference="away").results["away"]
    assert found.pointing is not None
    view = found.pointing.best_view("attention", "all")
    assert view is not None
    assert view.rates["all"].value == 0


def test_flat_attention_points_nowhere(small_vgg: Build) -> None:
    model = seer(small_vgg)
    with torch.no_grad():
        model.attention["block1"].module.conv.weight.zero_()
    found = quick({"flat": subject(model)}, blobs(), reference="flat").results["flat"]
    assert found.pointing is not None
    view = found.pointing.best_view("attention", "all")
    assert view is not None
    assert (view.rates["all"].value, view.nowhere) == (0, 10)
    assert found.use["uniform"].points == Estimate(0, 0, 0)  # already uniform: nothing to lose
    assert found.spread[0].within == 0
    assert found.spread[0].mean == pytest.approx(1 / (1 + np.exp(2)))


def test_the_best_stage_is_chosen_for_each_subset() -> None:
    """Four boxes: whole, half (off centre), tiny in a corner, and one that was cropped away."""
    boxes = torch.tensor([[0, 0, 32, 32], [0, 0, 16, 32], [0, 0, 8, 8], [0, 0, 0, 32]]).float()
    hits = {
        ("block1", "spatial"): [1, 0, 1, 1],
        ("block2", "spatial"): [1, 1, 0, 1],
        ("block1", "gradcam"): [0, 0, 1, 1],
        ("block2", "gradcam"): [1, 1, 1, 0],
    }
    observed = Observations(
        logits=torch.zeros(4, 2),
        replaced={},
        boxes=boxes[:, None],
        hits={key: torch.tensor(value).bool() for key, value in hits.items()},
        nowhere={key: torch.zeros(4).bool() for key in hits},
        spread=(),
    )
    found = Estimator(0, 100).pointing(observed, (32, 32))
    assert found is not None
    assert found.subsets == {
        "all": Subset(3, pytest.approx((1 + 1 / 2 + 1 / 16) / 3), pytest.approx(1 / 3)),
        "off_centre": Subset(2, (1 / 2 + 1 / 16) / 2, 0),
        "small": Subset(1, 1 / 16, 0),
    }
    assert found.best == {
        "all": {"attention": "block1", "gradcam": "block2"},  # of equals the first
        "off_centre": {"attention": "block1", "gradcam": "block2"},
        "small": {"attention": "block1", "gradcam": "block1"},
    }
    assert found.over_gradcam["off_centre"].value == 1 / 2 - 1
    assert found.over_gradcam["small"].value == 0
    rates = {(view.stage, view.kind): view.rates["all"].value for view in found.views}
    assert rates["block2", "spatial"] == pytest.approx(2 / 3)


def test_use_is_what_the_mean_costs(small_vgg: Build) -> None:
    """By hand, picture by picture, with the classes that the network itself says."""
    model, dataset = seer(small_vgg), blobs()
    images = torch.cat([PREPROCESS(dataset.image(index)) for index in range(len(dataset))])
    with torch.no_grad():
        own = model.eval()(images).argmax(1)
        tap = model.attention["block1"].module.spatial
        assert isinstance(tap, Tap)

        def by_mean(path: str, kind: str, weights: Tensor) -> Tensor:
            return torch.stack([torch.full_like(one, float(one.mean())) for one in weights])

        with intervene(model, by_mean):
            changed = model(images)
        assert not torch.allclose(changed, model(images), atol=1e-3)
    # Half of the pictures get the class that the network says with uniform weights.
    targets = torch.where(torch.arange(10) % 2 == 0, changed.argmax(1), own)
    dataset = replace(dataset, targets=targets)
    found = quick({"seer": subject(model)}, dataset, reference="seer").results["seer"]
    right, after = own == targets, changed.argmax(1) == targets
    assert found.top1.value == pytest.approx(float(right.float().mean()))
    uniform = found.use["uniform"]
    assert uniform.better == int((right & ~after).sum())
    assert uniform.worse == int((~right & after).sum())
    assert uniform.points.value == pytest.approx((uniform.better - uniform.worse) / 10)
    assert set(found.use) == {"uniform", "shuffled"}


# Accuracy ------------------------------------------------------------------------------------


def test_counts_are_those_of_the_pictures_one_by_one(networks: dict[str, SimpleNamespace]) -> None:
    dataset = blobs()
    found = quick(networks, dataset, batch=4)
    assert (found.pictures, found.classes, found.unreadable) == (10, 3, ())
    right: dict[str, Tensor] = {}
    for name, one in networks.items():
        images = [PREPROCESS(dataset.image(index)) for index in range(10)]
        with torch.no_grad():
            logits = torch.cat([one.model(image) for image in images])
        right[name] = logits.argmax(1) == dataset.targets
        result = found.results[name]
        assert result.top1.value == pytest.approx(float(right[name].float().mean()))
        assert result.top5 is None  # there are 3 classes
        assert result.top1.low <= result.top1.value <= result.top1.high
        assert (result.against is None) == (name == "none")
        assert bool(result.use) == bool(result.spread) == (name != "none")
        assert list(result.gammas.values()) == pytest.approx([0.6] * len(result.stages))
    for name in ("cbam", "self_attention"):
        against = found.results[name].against
        assert against is not None
        assert against.better == int((right[name] & ~right["none"]).sum())
        assert against.worse == int((~right[name] & right["none"]).sum())
        assert against.points.value == pytest.approx((against.better - against.worse) / 10)


def test_top_counts_the_likeliest_classes() -> None:
    logits = torch.arange(7.0).repeat(7, 1)  # class 6 is the likeliest, then 5, 4 …
    estimator = Estimator(0, 100)
    for count in (1, 2, 5, 9):
        share = estimator.top(logits, torch.arange(7), count).value
        assert share == pytest.approx(min(count, 7) / 7)


def test_pictures_may_come_in_any_number_but_where_weights_are_shuffled(
    networks: dict[str, SimpleNamespace],
) -> None:
    whole, single, again = (
        quick(networks, blobs(), batch=batch, replacements=tuple(REPLACEMENTS))
        for batch in (128, 1, 1)
    )
    for name in networks:
        one, other = whole.results[name], single.results[name]
        assert (one.top1, one.against) == (other.top1, other.against)
        assert {k: v for k, v in one.use.items() if k != "shuffled"} == {
            k: v for k, v in other.use.items() if k != "shuffled"
        }
        assert other.use == again.results[name].use
        assert one.pointing is not None
        assert one.pointing == other.pointing
        for first, second in zip(one.spread, other.spread, strict=True):
            assert astuple(first)[2:] == pytest.approx(astuple(second)[2:], rel=1e-4)


def test_a_result_depends_on_the_seed_and_on_no_other_network(
    networks: dict[str, SimpleNamespace],
) -> None:
    both = quick(networks, blobs()).results
    fewer = {name: networks[name] for name in ("none", "self_attention")}
    again = quick(fewer, blobs()).results
    for name in again:
        assert without_time(again[name]) == without_time(both[name])
    other = quick(networks, blobs(), seed=1, replacements=()).results
    assert other["cbam"].top1.value == both["cbam"].top1.value
    assert other["cbam"].spread == both["cbam"].spread


def test_spread_is_that_of_the_weights(networks: dict[str, SimpleNamespace]) -> None:
    dataset, model = blobs(), networks["cbam"].model
    found = quick(networks, dataset, batch=3).results["cbam"].spread
    assert [(one.stage, one.kind) for one in found] == [
        (f"block{block}", kind) for block in range(1, 6) for kind in ("channel", "spatial")
    ]
    images = torch.cat([PREPROCESS(dataset.image(index)) for index in range(10)])
    with torch.no_grad(), capture(model) as trace:
        model(images)
    weights = trace.taps["attention.block4.module.spatial.spatial"].weights.double().numpy()
    block4 = next(one for one in found if (one.stage, one.kind) == ("block4", "spatial"))
    assert asdict(block4) == {
        "stage": "block4",
        "kind": "spatial",
        "low": pytest.approx(weights.min()),
        "high": pytest.approx(weights.max()),
        "mean": pytest.approx(weights.mean(), rel=1e-5),
        "within": pytest.approx(np.mean([one.std() for one in weights]), rel=1e-4),
    }


def test_nothing_stays_behind(networks: dict[str, SimpleNamespace], untouched: Untouched) -> None:
    with ExitStack() as stack:
        for one in networks.values():
            stack.enter_context(untouched(one.model))
        quick(networks, blobs())


# Data ----------------------------------------------------------------------------------------


def test_without_boxes_there_is_no_pointing(networks: dict[str, SimpleNamespace]) -> None:
    found, boxed = quick(networks, blobs(boxes=False)), quick(networks, blobs())
    for name, result in found.results.items():
        assert result.pointing is None
        assert result.top1 == boxed.results[name].top1
        assert result.spread == boxed.results[name].spread
    told = table(found)
    assert "Grad-CAM" not in told
    assert "lost with uniform" in told
    assert json.loads(json.dumps(found.to_json()))["results"]["cbam"]["pointing"] is None


def test_an_unreadable_picture_is_left_out(networks: dict[str, SimpleNamespace]) -> None:
    dataset = blobs()
    broken = replace(dataset, read=lambda name: b"x" if name == "4.png" else dataset.read(name))
    told: list[ImageError] = []
    counts: list[tuple[int, int]] = []
    found = quick(
        networks, broken, batch=3, unreadable=told.append, progress=lambda *c: counts.append(c)
    )
    kept = torch.tensor([index for index in range(10) if index != 4])
    whole = quick(networks, dataset.subset(kept), batch=3)
    assert (found.pictures, found.unreadable) == (9, ("4.png",))
    assert "4.png" in str(told[0])
    assert counts[-1][0] == counts[-1][1] == 10 * 7 + 3 * 7
    for name in ("none", "cbam"):
        assert found.results[name].top1 == whole.results[name].top1
    with pytest.raises(ImageError, match=r"4\.png"):
        quick(networks, broken)
    nothing = replace(dataset, read=lambda name: b"x")
    with pytest.raises(DataError, match="none of the pictures can be read"):
        quick(networks, nothing, unreadable=told.append)


def test_each_picture_is_decoded_once(networks: dict[str, SimpleNamespace]) -> None:
    dataset = blobs()
    read: list[str] = []

    def counting(name: str) -> bytes:
        read.append(name)
        return dataset.read(name)

    card = replace(networks["cbam"].card, preprocess=Preprocess(48, 48))
    networks["cbam"].card = card  # sees the pictures at another size
    quick(networks, replace(dataset, read=counting))
    assert read == list(dataset.files)


def test_batches_are_what_the_preprocessing_makes() -> None:
    dataset = blobs()
    other = Preprocess(36, 36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    parts = list(batches(dataset, [PREPROCESS, other], 4))
    assert [part[other].indices.tolist() for part in parts] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9]
    ]  # fmt: skip
    for preprocess in (PREPROCESS, other):
        expected = torch.cat([preprocess(dataset.image(index)) for index in range(10)])
        images = torch.cat([part[preprocess].images for part in parts])
        torch.testing.assert_close(images, expected)
        assert parts[0][preprocess].images.is_contiguous(memory_format=torch.channels_last)


def test_classes_are_matched_by_name(small_vgg: Build) -> None:
    dataset = blobs()
    model = small_vgg(num_classes=4)
    card = subject(model, ("Cow", "dog", "ant", "bee")).card
    assert classes_of(dataset, card).tolist() == [2, 3, 0]
    named = replace(dataset, wnids=("n3", "n1", "n2"))
    assert classes_of(named, replace(card, wnids=("n1", "n2", "n3", "n4"))).tolist() == [2, 0, 1]
    assert classes_of(named, card).tolist() == [2, 3, 0]  # only the data has ids
    with pytest.raises(DataError, match="'small' do not know the class 'bee'"):
        classes_of(dataset, replace(card, labels=("ant", "cow", "x", "y")))
    with pytest.raises(DataError, match="'small' have 2 classes called 'ant'"):
        classes_of(dataset, replace(card, labels=("ant", "bee", "cow", "ant")))


def test_exact_names_of_classes_come_first(small_vgg: Build) -> None:
    """'A' and 'a' are two classes where both are there; accents may be composed or not."""
    card = subject(small_vgg(num_classes=4), ("a", "A", "E\u0301", "x")).card
    dataset = replace(blobs(), labels=("A", "a", "\xe9"))
    assert classes_of(dataset, card).tolist() == [1, 0, 2]
    named = replace(dataset, wnids=("n1", "N1", "n2"))
    assert classes_of(named, replace(card, wnids=("N1", "n1", "N2", "n3"))).tolist() == [1, 0, 2]
    assert [card.index(one) for one in ("A", "a", "\xe9", "X")] == [1, 0, 2, 3]
    ids = replace(card, wnids=("n1", "N1", "n2", "n3"))
    assert [ids.index(one) for one in ("N1", "n1", "N2", "A")] == [1, 0, 2, 1]
    for labels in (("x", "A", "a"), ("X", "x", "A")):  # one output is never two classes
        with pytest.raises(DataError, match=r"do not know the class '[aX]'"):
            classes_of(replace(dataset, labels=labels), replace(card, labels=("A", "B", "C", "x")))


def test_the_targets_are_the_networks_own_outputs(small_vgg: Build) -> None:
    model = small_vgg(num_classes=4, attention="cbam")
    straight = subject(model, ("x", *LABELS))
    turned = small_vgg(num_classes=4, attention="cbam")
    with torch.no_grad():
        for value in turned.classifier[0].parameters():
            value.copy_(value.flip(0))
    other = subject(turned, (*LABELS[::-1], "x"))
    found = quick({"one": straight, "two": other}, blobs(), reference="one").results
    assert found["one"].top1 == found["two"].top1
    assert found["one"].pointing == found["two"].pointing
    against = found["two"].against
    assert against is not None
    assert (against.better, against.worse, against.p) == (0, 0, 1)


def test_wrong_words_are_named(networks: dict[str, SimpleNamespace]) -> None:
    with pytest.raises(ValueError, match="no reference 'se': there are none, cbam"):
        quick(networks, blobs(), reference="se")
    with pytest.raises(ValueError, match=f"no replacement 'x': .*{', '.join(REPLACEMENTS)}"):
        quick(networks, blobs(), replacements=("x",))
    with pytest.raises(ValueError, match="at least 6 rounds, not 5"):
        quick(networks, blobs(), rounds=5)


# Cost ----------------------------------------------------------------------------------------


def test_multiply_adds_by_hand(untouched: Untouched) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),  # 4·3·3·3 at each of 8·8 positions
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2),  # 6·4·3·3 at 3·3
        nn.Flatten(),
        nn.Linear(54, 5),
    )
    with untouched(model):
        counted = multiply_adds(model, torch.zeros(1, 3, 8, 8))
    assert counted == 108 * 64 + 216 * 9 + 54 * 5
    assert parameters(model) == 108 + 4 + 216 + 6 + 270 + 5


def test_attention_costs_its_own_products(small_vgg: Build) -> None:
    bare, attended = (small_vgg(attention=name, stages=("block5",)) for name in ("none", "spatial"))
    image = torch.zeros(1, 3, 64, 64)
    more = multiply_adds(attended, image) - multiply_adds(bare, image)
    assert more == 2 * 49 * 4 * 4  # a 7×7 convolution of two maps at 4×4 positions
    assert parameters(attended) - parameters(bare) == 2 * 49 + 2 + 1  # bias and γ


# What is told --------------------------------------------------------------------------------


def test_json_holds_every_number(networks: dict[str, SimpleNamespace]) -> None:
    found = quick(networks, blobs())
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(told["results"]) == set(networks)
    cbam, result = told["results"]["cbam"], found.results["cbam"]
    assert cbam["top1"] == asdict(result.top1)
    assert cbam["cost"]["ratio"]["low"] > 0
    assert cbam["stages"] == [f"block{block}" for block in range(1, 6)]
    assert result.pointing is not None
    assert len(cbam["pointing"]["views"]) == 10  # five stages, attention and Grad-CAM
    assert cbam["pointing"]["best"]["small"].keys() == {"attention", "gradcam"}
    assert told["results"]["none"]["pointing"]["best"]["all"].keys() == {"gradcam"}
    assert len(told["results"]["none"]["pointing"]["views"]) == 5
    assert "+1.8" in told["anchors"] or "1.8 points" in told["anchors"]


def test_tables() -> None:
    """A whole evaluation written by hand, and what a reader sees of it."""
    cost = Cost(5_000_000, 399_900_000, Estimate(0.0155, 0.015, 0.016), None)
    none = Result(
        "everyday", "", "none", (), {}, cost, Estimate(0.55, 0.5, 0.6), Estimate(0.8, 0.75, 0.85),
        Estimate(0.1, 0.05, 0.12), None, {}, None, (),
    )  # fmt: skip
    lost = Difference(Estimate(0.025, -0.005, 0.055), 8, 3, 0.2265625)
    se = replace(
        none,
        attention="se",
        gammas={"block5": -0.5},
        cost=replace(cost, parameters=5_020_479, ratio=Estimate(1.15, 1.1, 1.21)),
        against=Difference(Estimate(-0.012, -0.03, 0.004), 2, 4, 0.6875),
        use={"uniform": lost},
        pointing=Pointing(
            {"all": Subset(200, 0.537, 0.92)},
            (
                View("block4", "volume", {"all": Estimate(0.8, 0.75, 0.85)}, 0),
                View("block5", "gradcam", {"all": Estimate(0.87, 0.82, 0.91)}, 1),
            ),
            {"all": {"attention": "block4", "gradcam": "block5"}},
            {"all": Estimate(-0.07, -0.1, -0.04)},
        ),
        spread=(Spread("block5", "channel", 0.00019, 1.0, 0.931, 0.0154),),
    )
    told = table(Evaluation("none", 200, 50, ("a.png",), 0, 10_000, 15, {"none": none, "se": se}))
    rows = {
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in told.splitlines()
        if line.startswith("|")
    }
    assert ("se", "55.0 [50.0, 60.0]", "80.0 [75.0, 85.0]", "10.0 [5.0, 12.0]",
            "−1.2 [−3.0, +0.4]", "0.69") in rows  # fmt: skip
    assert ("se", "5,020,479", "399.9 M", "15.5 [15.0, 16.0]", "1.15 [1.10, 1.21]") in rows
    assert ("se", "attention", "80.0 [75.0, 85.0] block4", "", "") in rows
    assert ("se", "Grad-CAM", "87.0 [82.0, 91.0] block5", "", "") in rows
    assert ("se", "attention − Grad-CAM", "−7.0 [−10.0, −4.0]", "", "") in rows
    assert ("", "chance: mean box area", "53.7", "", "") in rows
    assert ("se", "+2.5 [−0.5, +5.5]", "0.23") in rows
    assert ("se", "block5", "channel", "−0.500", "0.00019", "1.000", "0.931", "0.015") in rows
    assert "200 pictures of 50 classes, 1 more can't be read." in told
    assert "1.8 points" in told
    widths = {len(line) for line in told.split("\n\n")[0].splitlines()}
    assert len(widths) == 1
