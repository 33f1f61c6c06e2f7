"""What is kept is what a fresh pass would say, for the same content and question only."""

from __future__ import annotations

import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vggviz import Explainer, Explanation, ImageError
from vggviz.cache import ExplanationCache
from vggviz.images import Preprocess
from vggviz.networks import NetworkConfig, build_network
from vggviz.weights import Card, assets_folder

EXAMPLES = sorted((assets_folder() / "examples").glob("*.jpg"))


class Passes:
    """How often the first convolution ran."""

    def __init__(self, model: nn.Module) -> None:
        self.count = 0
        self._handle = model.get_submodule("features.0").register_forward_hook(self._see)

    def _see(self, *_: object) -> None:
        self.count += 1

    def stop(self) -> None:
        self._handle.remove()


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer.load("tiny50", "cbam")


@pytest.fixture
def passes(explainer: Explainer):  # type: ignore[no-untyped-def]
    counter = Passes(explainer.model)
    yield counter
    counter.stop()


def same(one: Explanation, other: Explanation) -> None:
    assert one.to_json() == other.to_json()
    assert torch.equal(one.prediction.logits, other.prediction.logits)
    mine, others = one.arrays(), other.arrays()
    assert mine.keys() == others.keys()
    for key, array in mine.items():
        np.testing.assert_array_equal(array, others[key])


def test_what_is_kept_is_what_a_fresh_pass_says(explainer: Explainer, passes: Passes) -> None:
    cache = ExplanationCache()
    asked = [
        {},
        {"stages": ("block4",)},
        {"methods": ("layercam", "gradcam")},
        {"target": "espresso"},
    ]
    for question in asked:
        fresh = explainer.explain(EXAMPLES[0], **question)  # type: ignore[arg-type]
        before = passes.count
        first = cache.explain(explainer, EXAMPLES[0], **question)  # type: ignore[arg-type]
        assert passes.count == before + 1  # another question is no answer to this one
        second = cache.explain(explainer, EXAMPLES[0], **question)  # type: ignore[arg-type]
        assert passes.count == before + 1
        assert second is first
        same(first, fresh)
    assert len(cache) == len(asked)


def test_content_counts_and_names_do_not(
    explainer: Explainer, passes: Passes, tmp_path: Path
) -> None:
    cache = ExplanationCache()
    file = tmp_path / "picture.jpg"
    shutil.copy(EXAMPLES[0], file)
    first = cache.explain(explainer, EXAMPLES[0])
    assert cache.explain(explainer, file) is first
    assert cache.explain(explainer, str(file)) is first
    assert cache.explain(explainer, file.read_bytes()) is first
    assert passes.count == 1
    with Image.open(EXAMPLES[0]) as picture:
        pixels = np.array(picture.convert("RGB"))
    drawn = cache.explain(explainer, pixels)
    assert cache.explain(explainer, Image.fromarray(pixels)) is drawn
    assert passes.count == 2
    pixels[0, 0] ^= 1  # the same array, another picture
    assert cache.explain(explainer, pixels) is not drawn
    turned = cache.explain(explainer, np.zeros((20, 40, 3), np.uint8))
    assert cache.explain(explainer, np.zeros((40, 20, 3), np.uint8)) is not turned
    shutil.copy(EXAMPLES[1], file)  # the same name, another picture
    same(cache.explain(explainer, file), explainer.explain(EXAMPLES[1]))


def test_a_class_is_the_same_by_any_name(explainer: Explainer, passes: Passes) -> None:
    cache, label = ExplanationCache(), explainer.labels[3]
    first = cache.explain(explainer, EXAMPLES[0], target=3)
    assert cache.explain(explainer, EXAMPLES[0], target=label.upper()) is first
    assert cache.explain(explainer, EXAMPLES[0], target="3") is first
    assert passes.count == 1


def test_only_what_is_missing_is_computed_in_one_pass(explainer: Explainer, passes: Passes) -> None:
    cache = ExplanationCache()
    first = cache.explain(explainer, EXAMPLES[0], target=7)
    found = cache.explain_each(explainer, EXAMPLES[0], (5, 7, 9, 5))
    assert passes.count == 2
    assert [explanation.target.index for explanation in found] == [5, 7, 9, 5]
    assert found[1] is first
    assert found[3] is found[0]
    fresh = explainer.explain_each(EXAMPLES[0], (5, 9))
    for one, other in zip((found[0], found[2]), fresh, strict=True):
        for key, map in one.heatmaps.items():
            torch.testing.assert_close(map.values, other.heatmaps[key].values)


def test_another_network_has_answers_of_its_own(explainer: Explainer) -> None:
    cache = ExplanationCache()
    first = cache.explain(explainer, EXAMPLES[0])
    for _ in range(3):  # a network that is gone leaves its id to the next
        other = Explainer.load("tiny50", "se")
        assert set(cache.explain(other, EXAMPLES[0]).attention["block4"][0].kind) == set("channel")
        del other
        third = Explainer.load("tiny50", "none")
        assert cache.explain(third, EXAMPLES[0]).attention == {}
        del third
    assert cache.explain(explainer, EXAMPLES[0]) is first


def test_memory_is_bounded_and_the_least_used_goes_first(
    explainer: Explainer, passes: Passes
) -> None:
    cache = ExplanationCache()
    cache.explain(explainer, EXAMPLES[0])
    one = cache.size
    cache = ExplanationCache(room=4 * one)
    passes.count = 0
    a, b, c, d, e = EXAMPLES[:5]
    for picture in (a, b, c, d, a, e):  # b was used least recently when e comes
        cache.explain(explainer, picture)
        assert cache.size <= 4 * one
    assert (passes.count, len(cache), cache.size) == (5, 4, 4 * one)
    cache.explain(explainer, a)
    assert passes.count == 5
    cache.explain(explainer, b)
    assert passes.count == 6
    nothing = ExplanationCache(room=4 * one - 1)  # one would be more than a quarter
    same(nothing.explain(explainer, a), explainer.explain(a))
    assert (len(nothing), nothing.size) == (0, 0)


def test_what_is_kept_takes_no_more_memory_than_is_counted() -> None:
    """Of a small network with many classes, where the arrays are the least of it."""
    config = NetworkConfig(attention="se", head="gap", width=0.125, num_classes=2000)
    labels = tuple(map(str, range(2000)))
    many = Explainer(build_network(config), Card("many", config, Preprocess(32, 32), labels))
    cache = ExplanationCache()
    cache.explain(many, EXAMPLES[0], methods=())
    tracemalloc.start()
    try:
        size, before = cache.size, tracemalloc.get_traced_memory()[0]
        for picture in EXAMPLES[1:9]:
            cache.explain(many, picture, methods=())
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(cache) == 9
    assert grown <= cache.size - size <= 1.5 * grown


def test_many_at_once_cost_one_pass_each(explainer: Explainer, passes: Passes) -> None:
    cache = ExplanationCache()
    jobs = EXAMPLES[:3] * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: cache.explain(explainer, job), jobs))
    assert passes.count == 3
    for job, explanation in zip(jobs, found, strict=True):
        assert explanation is cache.explain(explainer, job)
        with Image.open(job) as picture:
            assert (explanation.crop.width, explanation.crop.height) == picture.size


def test_errors_come_through_and_nothing_of_them_is_kept(
    explainer: Explainer, tmp_path: Path
) -> None:
    cache = ExplanationCache()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n no")
    with pytest.raises(ImageError, match=r"broken\.png"):
        cache.explain(explainer, broken)
    with pytest.raises(ImageError, match=r"absent\.png"):
        cache.explain(explainer, tmp_path / "absent.png")
    with pytest.raises(ValueError, match="no layer 'block6'"):
        cache.explain(explainer, EXAMPLES[0], "block6")
    with pytest.raises(ValueError, match="no class 'tabbi'"):
        cache.explain(explainer, EXAMPLES[0], target="tabbi")
    assert (len(cache), cache.size) == (0, 0)
    shutil.copy(EXAMPLES[0], broken)
    assert cache.explain(explainer, broken).prediction.top(1)
