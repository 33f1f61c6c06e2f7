"""Agreement of maps against SciPy, torchmetrics, and numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from vggviz.metrics.agreement import MEASURES, agreement, agreements
from vggviz.metrics.baselines import centre
from vggviz.metrics.float64 import float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("side", [5, 14, 16])
@pytest.mark.parametrize("decimals", [1, 6])  # with many ties, and with hardly any
def test_ranks_are_scipys(side: int, decimals: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="needs the extra 'train'")
    a = drawn(6, side, side).round(decimals=decimals)
    b = (a + drawn(6, side, side, seed=1)).round(decimals=decimals)
    for first, second, found in zip(a, b, agreements(a, b), strict=True):
        pair = first.flatten().numpy(), second.flatten().numpy()
        assert found[0] == pytest.approx(stats.spearmanr(*pair).statistic, abs=1e-12)
        assert found[1] == pytest.approx(stats.kendalltau(*pair).statistic, abs=1e-12)


def test_ranks_by_hand() -> None:
    a = torch.tensor([[1.0, 2], [3, 4]])
    b = torch.tensor([[1.0, 3], [2, 4]])  # one of six pairs is the other way round
    found = agreement(a, b)
    assert found.kendall == pytest.approx((5 - 1) / 6)
    assert found.spearman == pytest.approx(1 - 6 * 2 / (4 * 15))  # 1 − 6 Σd² / n(n² − 1)
    tied = agreement(a, torch.tensor([[0.0, 0], [0, 7]]))
    assert tied.kendall == pytest.approx(3 / math.sqrt(6 * 3))
    assert agreement(a, -a)[:2] == pytest.approx((-1, -1))
    assert agreement(a, a.exp())[:3] == pytest.approx((1, 1, 1))  # only the order counts


def test_overlap_by_hand() -> None:
    a, b = torch.zeros(2, 5, 5)
    a[0] = torch.tensor([1.0, 2, 3, 4, 5])
    b[0, 1:] = torch.tensor([1.0, 2, 3, 4])
    b[1, 0] = 9
    assert agreement(a, b).iou == pytest.approx(4 / 6)  # 5 cells each, 4 in common
    one = torch.zeros(5, 5)
    one[0, 0] = 1  # the other 4 of its 5 are shared by the 24 zeros: 1/6 each
    # a's five: min(1, 1) + 4 · 1/6; all: a's 5 + 20 zeros outside of it · 1/6
    assert agreement(a, one).iou == pytest.approx((1 + 4 / 6) / (5 + 20 / 6))
    assert agreement(a, b, top=0.04).iou == 0  # one cell each
    assert agreement(one, one).iou == 1


def test_ssim_is_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.functional.image", reason="needs the extra 'train'")
    a = drawn(4, 32, 32)
    b = (a + 0.5 * drawn(4, 32, 32, seed=1)).clamp(max=1)
    a[:, 0, 0] = b[:, 0, 0] = 0
    a[:, 0, 1] = b[:, 0, 1] = 1  # so that both have the range 0 to 1 already
    # torchmetrics mirrors the border; only where the window lies inside are there 22 × 22 places.
    for first, second, found in zip(a, b, agreements(a, b)[:, 3], strict=True):
        _, judge = image.structural_similarity_index_measure(
            first[None, None].double(),
            second[None, None].double(),
            data_range=1.0,
            return_full_image=True,
        )
        assert found == pytest.approx(judge[..., 5:-5, 5:-5].mean().item(), abs=1e-6)


def test_the_coarser_grid_decides() -> None:
    coarse, fine = drawn(1, 5, 7), drawn(1, 20, 28, seed=1)
    mean = F.avg_pool2d(fine[:, None], 4)[:, 0]
    both = agreements(coarse, fine), agreements(fine, coarse)
    torch.testing.assert_close(both[0], both[1])
    torch.testing.assert_close(both[0][:, :3], agreements(coarse, mean)[:, :3])
    large = drawn(1, 64, 64)
    small = F.avg_pool2d(large[:, None], 4)[:, 0]
    same = agreements(large, drawn(1, 64, 64, seed=2))[:, :3]
    other = F.avg_pool2d(drawn(1, 64, 64, seed=2)[:, None], 4)[:, 0]
    torch.testing.assert_close(same, agreements(small, other)[:, :3])


def test_a_batch_is_its_maps_one_by_one() -> None:
    a, b = drawn(70, 15, 16), drawn(70, 15, 16, seed=1)
    rows = torch.tensor([agreement(*pair) for pair in zip(a, b, strict=True)])
    torch.testing.assert_close(agreements(a, b), rows.double(), rtol=0, atol=1e-6)
    assert agreements(a, b).mean(0)[:2].abs().max() < 0.03  # by chance there is none
    assert MEASURES == ("spearman", "kendall", "iou", "ssim")


@pytest.mark.parametrize("bad", [0.3, math.nan, math.inf])
def test_a_map_without_an_order_has_no_agreement(bad: float) -> None:
    broken = torch.full((4, 4), 0.3)
    broken[1, 1] = bad
    for pair in ((broken, drawn(4, 4)), (drawn(4, 4), broken), (broken, broken)):
        assert all(math.isnan(value) for value in agreement(*pair))
    mixed = agreements(torch.stack((broken, drawn(4, 4))), drawn(2, 4, 4, seed=1))
    assert mixed.isnan().all(1).tolist() == [True, False]


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"expected maps \(h, w\), not \(2, 4, 4\) and \(4, 4\)"):
        agreement(drawn(2, 4, 4), drawn(4, 4))
    with pytest.raises(ValueError, match="expected maps"):
        agreements(drawn(2, 4, 4), drawn(3, 4, 4))
    with pytest.raises(ValueError, match=r"a share in \(0, 1\), not 0"):
        agreement(drawn(4, 4), drawn(4, 4), top=0)


def test_the_centre_is_a_gaussian() -> None:
    middle = centre((4, 8))
    assert middle.shape == (4, 8)
    # The cell at row 1, column 6: y = −1/8 and x = 5/16 of the sides, σ = 1/4.
    assert middle[1, 6].item() == pytest.approx(math.exp(-(0.5**2 + 1.25**2) / 2))
    assert torch.equal(middle, middle.flip(0, 1))


def test_double_precision_is_on_a_device_that_has_it() -> None:
    """Of a tensor on MPS, which is imitated: this machine need not have one."""
    maps = torch.arange(6.0).reshape(1, 2, 3)
    assert float64(maps).dtype is torch.double
    assert float64(maps).device == maps.device
    with FakeTensorMode():
        there = float64(torch.empty(1, 2, 3, device="mps"))
    assert (there.dtype, there.device.type) == (torch.double, "cpu")
