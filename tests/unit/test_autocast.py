"""Bfloat16: bounds that hold on any CPU, with bfloat16 hardware or without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import pytest
import torch
from torch import Tensor, nn

from vggviz import Explainer
from vggviz.cam import cams
from vggviz.networks import Network
from vggviz.platform import precision as fast
from vggviz.weights import assets_folder

pytest.importorskip("scipy", reason="needs the extra 'train'")
from scipy.stats import spearmanr

EXAMPLES = sorted((assets_folder() / "examples").glob("*.jpg"))


def rounding(pictures: Sequence[Path]) -> dict[str, list[float]]:
    """What bfloat16 changes on everyday with CBAM: for each picture the largest difference of a
    probability, and whether the likeliest class changed; by stage the rank correlation of each
    Grad-CAM with the exact one."""
    exact, half = (Explainer.load("everyday", "cbam", precision=p) for p in ("exact", "bf16"))
    found: dict[str, list[float]] = {"probability": [], "changed": []}
    for picture in pictures:
        one = exact.explain(picture)
        other = half.explain(picture, target=one.target.index)
        assert (one.provenance["precision"], other.provenance["precision"]) == ("exact", "bf16")
        pair = [e.prediction.logits.softmax(0) for e in (one, other)]
        found["probability"].append(float((pair[0] - pair[1]).abs().max()))
        found["changed"].append(float(pair[0].argmax() != pair[1].argmax()))
        for (stage, _), heatmap in one.heatmaps.items():
            if heatmap.flat:
                continue
            maps = heatmap.values.ravel(), other.heatmaps[stage, "gradcam"].values.ravel()
            found.setdefault(stage, []).append(float(spearmanr(*maps).statistic))
    return found


def assert_rough(found: Mapping[str, list[float]], pictures: int) -> None:
    assert max(found["probability"]) <= 0.05  # 0.02 was the most, on each of four kinds of CPU
    assert sum(found["changed"]) == 0
    for stage in ("block1", "block2", "block3", "block4", "block5"):
        assert len(found[stage]) >= 0.8 * pictures  # the others are flat
        assert median(found[stage]) >= 0.95, stage  # 0.98 was the least


@pytest.mark.slow
def test_bfloat16_changes_little_on_this_cpu() -> None:
    found = rounding(EXAMPLES)
    assert max(found["probability"]) > 0  # it did round
    assert_rough(found, len(EXAMPLES))


@pytest.mark.slow
def test_bfloat16_changes_little_without_bfloat16_hardware() -> None:
    """In a process of its own, since the libraries read the instruction set once."""
    cpu = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, **cpu, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert_rough(json.loads(done.stdout), 3)


def test_folding_changes_nothing_but_the_rounding(
    small_vgg: Callable[..., Network],
    pictures: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small_vgg(architecture="vgg19_bn", attention="cbam").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    monkeypatch.setattr(torch, "bfloat16", torch.float64)  # so that only folding is seen
    folded = fast.to_bfloat16(model)
    x = pictures(2, 64)
    wanted = cams(model.double(), x.double(), ["features.1", "attention.block5"])
    found = cams(folded, x.double(), ["features.1", "attention.block5"])
    torch.testing.assert_close(found.logits, wanted.logits, atol=1e-4, rtol=1e-4)
    assert found.taps.keys() == wanted.taps.keys()
    for key, raw in wanted.maps.items():
        torch.testing.assert_close(found.maps[key], raw, atol=1e-4, rtol=1e-3)
    norms = [m for m in folded.features if isinstance(m, nn.BatchNorm2d)]
    assert norms == []
    for name, value in model.float().state_dict().items():
        assert torch.equal(value, before[name])


def test_nothing_but_exact_is_chosen_by_itself() -> None:
    assert Explainer.load("everyday", "none").precision == "exact"


@pytest.mark.parametrize("precision", ["fp8", "gradients"])
def test_an_unknown_precision_is_refused(precision: str) -> None:
    with pytest.raises(ValueError, match=f"no precision '{precision}': choose from exact, bf16"):
        Explainer.load("nowhere.safetensors", precision=precision)  # before anything is loaded


if __name__ == "__main__":
    print(json.dumps(rounding(EXAMPLES[::6])))
