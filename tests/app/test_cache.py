"""The cache gives what a fresh pass gives, for the same content and request only."""

from __future__ import annotations

import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vggviz import Explainer, Explanation, ImageError
from vggviz.cache import Cache, explain_cached
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
    return Explainer.load("everyday", "cbam")


@pytest.fixture
def passes(explainer: Explainer):  # type: ignore[no-untyped-def]
    counter = Passes(explainer.model)
    yield counter
    counter.stop()


def explain(
    cache: Cache, explainer: Explainer, image: Any, target: Any = None, **options: Any
) -> Explanation:
    return explain_cached(cache, explainer, image, (target,), **options)[0]


def same(one: Explanation, other: Explanation) -> None:
    assert one.to_json() == other.to_json()
    assert torch.equal(one.prediction.logits, other.prediction.logits)
    mine, others = one.arrays(), other.arrays()
    assert mine.keys() == others.keys()
    for key, array in mine.items():
        np.testing.assert_array_equal(array, others[key])


def test_the_cache_gives_what_a_fresh_pass_gives(explainer: Explainer, passes: Passes) -> None:
    cache = Cache()
    requests: list[dict[str, Any]] = [
        {},
        {"stages": ("block4",)},
        {"methods": ("layercam", "gradcam")},
        {"target": "espresso"},
    ]
    for request in requests:
        fresh = explainer.explain(EXAMPLES[0], **request)
        before = passes.count
        first = explain(cache, explainer, EXAMPLES[0], **request)
        assert passes.count == before + 1  # another request is no answer to this one
        second = explain(cache, explainer, EXAMPLES[0], **request)
        assert passes.count == before + 1
        same(first, fresh)
        same(second, fresh)
        assert [*second.heatmaps] == [*fresh.heatmaps]
    assert len(cache) == 3  # both methods of one class stand together


def test_only_missing_methods_are_computed(
    explainer: Explainer, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, methods = Cache(), ("gradcam", "layercam", "hirescam")
    for count, new in ((1, 1), (0, 0), (3, 1), (2, 0)):
        fresh = explainer.explain(EXAMPLES[0], methods=methods[:count])
        before = passes.count
        found = explain(cache, explainer, EXAMPLES[0], methods=methods[:count])
        assert passes.count - before == new
        assert [*found.heatmaps] == [*fresh.heatmaps]
        for key, array in fresh.arrays().items():
            np.testing.assert_allclose(found.arrays()[key], array, atol=1e-5)
    computed: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        Explainer, "explain_each", lambda *args, **_: computed.append(tuple(args[4])) or []
    )
    with pytest.raises(ValueError, match="zip"):
        explain(cache, explainer, EXAMPLES[0], methods=("gradcam", "eigencam"))
    assert computed == [("eigencam",)]


def test_content_counts_and_names_do_not(
    explainer: Explainer, passes: Passes, tmp_path: Path
) -> None:
    cache = Cache()
    file = tmp_path / "picture.jpg"
    shutil.copy(EXAMPLES[0], file)
    first = explain(cache, explainer, EXAMPLES[0])
    assert explain(cache, explainer, file) is first
    assert explain(cache, explainer, str(file)) is first
    assert explain(cache, explainer, file.read_bytes()) is first
    assert passes.count == 1
    with Image.open(EXAMPLES[0]) as picture:
        pixels = np.array(picture.convert("RGB"))
    drawn = explain(cache, explainer, pixels)
    assert explain(cache, explainer, Image.fromarray(pixels)) is drawn
    assert passes.count == 2
    pixels[0, 0] ^= 1  # the same array, another picture
    assert explain(cache, explainer, pixels) is not drawn
    turned = explain(cache, explainer, np.zeros((20, 40, 3), np.uint8))
    assert explain(cache, explainer, np.zeros((40, 20, 3), np.uint8)) is not turned
    shutil.copy(EXAMPLES[1], file)  # the same name, another picture
    same(explain(cache, explainer, file), explainer.explain(EXAMPLES[1]))


def test_a_class_is_the_same_by_any_name(explainer: Explainer, passes: Passes) -> None:
    cache, label = Cache(), explainer.labels[3]
    first = explain(cache, explainer, EXAMPLES[0], target=3)
    assert explain(cache, explainer, EXAMPLES[0], target=label.upper()) is first
    assert explain(cache, explainer, EXAMPLES[0], target="3") is first
    assert passes.count == 1


def test_only_what_is_missing_is_computed_in_one_pass(explainer: Explainer, passes: Passes) -> None:
    cache = Cache()
    first = explain(cache, explainer, EXAMPLES[0], target=7)
    found = explain_cached(cache, explainer, EXAMPLES[0], (5, 7, 9, 5))
    assert passes.count == 2
    assert [explanation.target.index for explanation in found] == [5, 7, 9, 5]
    assert found[1] is first
    assert found[3] is found[0]
    fresh = explainer.explain_each(EXAMPLES[0], (5, 9))
    for one, other in zip((found[0], found[2]), fresh, strict=True):
        for key, map in one.heatmaps.items():
            torch.testing.assert_close(map.values, other.heatmaps[key].values)


def test_another_network_has_answers_of_its_own(explainer: Explainer) -> None:
    cache = Cache()
    first = explain(cache, explainer, EXAMPLES[0])
    for _ in range(3):  # a network that is gone leaves its id to the next
        other = Explainer.load("everyday", "se")
        assert set(explain(cache, other, EXAMPLES[0]).attention["block4"][0].kind) == set("channel")
        del other
        third = Explainer.load("everyday", "none")
        assert explain(cache, third, EXAMPLES[0]).attention == {}
        del third
    assert explain(cache, explainer, EXAMPLES[0]) is first


def test_memory_is_bounded_and_the_least_used_goes_first(
    explainer: Explainer, passes: Passes
) -> None:
    cache = Cache()
    explain(cache, explainer, EXAMPLES[0])
    one = cache.nbytes
    cache = Cache(4 * one)
    passes.count = 0
    a, b, c, d, e = EXAMPLES[:5]
    for picture in (a, b, c, d, a, e):  # b was used least recently when e comes
        explain(cache, explainer, picture)
        assert cache.nbytes <= 4 * one
    assert (passes.count, len(cache), cache.nbytes) == (5, 4, 4 * one)
    explain(cache, explainer, a)
    assert passes.count == 5
    explain(cache, explainer, b)
    assert passes.count == 6
    nothing = Cache(4 * one - 1)  # one would be more than a quarter
    same(explain(nothing, explainer, a), explainer.explain(a))
    assert (len(nothing), nothing.nbytes) == (0, 0)


def test_what_is_kept_takes_no_more_memory_than_is_counted() -> None:
    """Of a small network with many classes, where the arrays are the least of it."""
    config = NetworkConfig(attention="se", head="gap", width=0.125, num_classes=2000)
    labels = tuple(map(str, range(2000)))
    many = Explainer(build_network(config), Card("many", config, Preprocess(32, 32), labels))
    cache = Cache()
    explain(cache, many, EXAMPLES[0], methods=())
    tracemalloc.start()
    try:
        size, before = cache.nbytes, tracemalloc.get_traced_memory()[0]
        for picture in EXAMPLES[1:9]:
            explain(cache, many, picture, methods=())
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(cache) == 9
    assert grown <= cache.nbytes - size <= 1.5 * grown


def test_many_at_once_cost_one_pass_each(explainer: Explainer, passes: Passes) -> None:
    cache = Cache()
    jobs = EXAMPLES[:3] * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: explain(cache, explainer, job), jobs))
    assert passes.count == 3
    for job, explanation in zip(jobs, found, strict=True):
        assert explanation is explain(cache, explainer, job)
        with Image.open(job) as picture:
            assert (explanation.crop.width, explanation.crop.height) == picture.size


def test_errors_come_through_and_nothing_of_them_is_kept(
    explainer: Explainer, tmp_path: Path
) -> None:
    cache = Cache()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n no")
    with pytest.raises(ImageError, match=r"broken\.png"):
        explain(cache, explainer, broken)
    with pytest.raises(ImageError, match=r"absent\.png"):
        explain(cache, explainer, tmp_path / "absent.png")
    with pytest.raises(ValueError, match="no layer 'block6'"):
        explain(cache, explainer, EXAMPLES[0], stages="block6")
    with pytest.raises(ValueError, match="no class 'tabbi'"):
        explain(cache, explainer, EXAMPLES[0], target="tabbi")
    assert (len(cache), cache.nbytes) == (0, 0)
    shutil.copy(EXAMPLES[0], broken)
    assert explain(cache, explainer, broken).prediction.top(1)
