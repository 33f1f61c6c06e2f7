"""Fewer bits: what must stay as it was stays to the bit, and the maps stay in rank."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from vggviz import Explainer
from vggviz.attention import ATTENTION
from vggviz.cam import cams
from vggviz.networks import Network
from vggviz.platform import precision as fast
from vggviz.platform.precision import Bfloat16Gradients
from vggviz.weights import assets_folder

pytest.importorskip("scipy", reason="needs the extra 'train'")
from scipy.stats import pearsonr, spearmanr

EXAMPLES = sorted((assets_folder() / "examples").glob("*.jpg"))
GRADIENT_METHODS = ("gradcam", "gradcam++", "hirescam", "layercam", "xgradcam")
CPU = torch.device("cpu")


def test_a_gradient_is_that_of_rounded_factors() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 6, 5, generator=generator, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    bias = torch.randn(4, generator=generator)
    seen = torch.randn(2, 4, 3, 3, generator=generator)
    with Bfloat16Gradients():
        y = torch.nn.functional.conv2d(x, weight, bias, 2, 1, 1, 1)
    (found,) = torch.autograd.grad(y, x, seen)
    exact = torch.nn.functional.conv2d(x, weight, bias, 2, 1)
    assert torch.equal(y, exact)
    # The same in float64: factors rounded, sums not, the result rounded once.
    wide = x.detach().double().requires_grad_(True)
    y = torch.nn.functional.conv2d(wide, weight.bfloat16().double(), None, 2, 1)
    (expected,) = torch.autograd.grad(y, wide, seen.bfloat16().double())
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=2**-8)
    (full,) = torch.autograd.grad(exact, x, seen)
    assert found.dtype is torch.float32
    assert not torch.equal(found, full)  # it did round


@pytest.mark.parametrize("trained", ["weight", "bias"])
def test_whoever_trains_gets_exact_gradients(trained: str) -> None:
    conv = nn.Conv2d(3, 4, 3)
    conv.requires_grad_(False).get_parameter(trained).requires_grad_(True)
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    with Bfloat16Gradients():
        y = conv(x)
    assert "ConvolutionBackward" in type(y.grad_fn).__name__
    found = torch.autograd.grad(y.sum(), (x, conv.get_parameter(trained)))
    expected = torch.autograd.grad(conv(x).sum(), (x, conv.get_parameter(trained)))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_other_threads_are_left_alone(small_vgg: Callable[..., Network]) -> None:
    model, x = small_vgg().eval().requires_grad_(False), torch.randn(1, 3, 32, 32)
    exact = cams(model, x, ["features.3"]).maps["features.3", "gradcam"]
    with Bfloat16Gradients(), ThreadPoolExecutor(1) as pool:
        beside = pool.submit(cams, model, x, ["features.3"]).result()
        inside = cams(model, x, ["features.3"]).maps["features.3", "gradcam"]
    assert torch.equal(beside.maps["features.3", "gradcam"], exact)
    assert not torch.equal(inside, exact)
    assert torch.equal(cams(model, x, ["features.3"]).maps["features.3", "gradcam"], exact)


def test_several_targets_in_one_backward(small_vgg: Callable[..., Network]) -> None:
    model, x = small_vgg().eval().requires_grad_(False), torch.randn(2, 3, 32, 32)
    with Bfloat16Gradients():
        both = cams(model, x, ["features.3"], targets=torch.tensor([1, 4]))
        each = [cams(model, x, ["features.3"], targets=torch.tensor([t])) for t in (1, 4)]
    for row, one in enumerate(each):
        alone = one.maps["features.3", "gradcam"][0]
        together = both.maps["features.3", "gradcam"][row]
        torch.testing.assert_close(together, alone, atol=1e-2 * float(alone.max()), rtol=0)


@pytest.mark.parametrize("attention", ["none", *ATTENTION])
def test_maps_of_trained_networks_keep_their_ranks(attention: str) -> None:
    """The reason why 'gradients' may be chosen by itself."""
    explainer = Explainer.load("tiny50", attention, precision="gradients")
    maps = 0
    for picture in EXAMPLES[::2]:
        exact = explainer.explain(picture, methods=GRADIENT_METHODS, exact=True)
        found = explainer.explain(picture, methods=GRADIENT_METHODS)
        assert torch.equal(found.prediction.logits, exact.prediction.logits)
        assert found.attention.keys() == exact.attention.keys()
        for stage, records in exact.attention.items():
            for one, other in zip(found.attention[stage], records, strict=True):
                assert torch.equal(one.weights, other.weights)
        for key, heatmap in exact.heatmaps.items():
            if not heatmap.flat:
                pair = found.heatmaps[key].values.ravel(), heatmap.values.ravel()
                assert pearsonr(*pair).statistic >= 0.9995, (picture.name, key)
                # Where a map is zero nearly everywhere, ranks hang on next to nothing.
                if (heatmap.values > 0).double().mean() > 1 / 3:
                    maps += 1
                    assert spearmanr(*pair).statistic >= 0.99, (picture.name, key)
        assert (found.provenance["precision"], exact.provenance["precision"]) == (
            "gradients",
            "exact",
        )
    assert maps > 0.6 * len(EXAMPLES[::2]) * len(exact.heatmaps)


def test_all_in_bfloat16_the_last_block_keeps_its_ranks() -> None:
    exact, half = (Explainer.load("tiny50", "cbam", precision=p) for p in ("exact", "bf16"))
    for picture in EXAMPLES:
        one = exact.explain(picture, "block5")
        other = half.explain(picture, "block5", target=one.target.index)
        pair = [e.heatmaps["block5", "gradcam"].values.ravel() for e in (one, other)]
        assert spearmanr(*pair).statistic >= 0.99
        assert float((one.prediction.logits - other.prediction.logits).abs().max()) < 0.2
    assert other.provenance["precision"] == "bf16"
    with pytest.raises(ValueError, match="load them with precision='exact'"):
        half.explain(EXAMPLES[0], exact=True)


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
    assert Explainer.load("tiny50", "none").precision == "exact"


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="no precision 'fp8': choose from exact"):
        Explainer.load("nowhere.safetensors", precision="fp8")  # said before anything is loaded
