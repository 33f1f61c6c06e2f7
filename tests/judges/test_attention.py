"""Every attention module against its slow twin, outside judges and hand-made answers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from reference import ATTENTION_TWINS
from timm.layers import SelectiveKernel as TimmSelectiveKernel
from timm.layers.coord_attn import CoordAttn
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation as TorchvisionSE

from vggviz.attention import ATTENTION
from vggviz.attention.coordinate import CoordinateAttention
from vggviz.attention.eca import EfficientChannelAttention
from vggviz.attention.gate import Gate
from vggviz.attention.se import SqueezeExcitation
from vggviz.attention.selective_kernel import SelectiveKernel
from vggviz.attention.self_attention import SelfAttention
from vggviz.hooks.capture import TapReading, capture
from vggviz.hooks.tap import Tap

C = 8
SIZES = [(5, 7), (6, 4), (1, 1), (1, 9), (16, 3), (17, 15)]  # to 14×14 keys: pooled or not
TAPS = {
    "gate": {"weights": "volume"},
    "se": {"channel": "channel"},
    "eca": {"channel": "channel"},
    "spatial": {"spatial": "spatial"},
    "cbam": {"channel.channel": "channel", "spatial.spatial": "spatial"},
    "self_attention": {"token": "token"},
    "softmax": {"pool": "pool"},
    "simam": {"weights": "volume"},
    "coordinate": {"rows": "axis", "columns": "axis"},
    "triplet": {"spatial": "spatial", "rows": "axis", "columns": "axis"},
    "bam": {"weights": "volume"},
    "selective_kernel": {"branches": "branch"},
}
KEYS_AND_TAPS = [(key, path) for key, taps in TAPS.items() for path in taps]


def draw(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def randomised(module: nn.Module) -> nn.Module:
    """In double precision, every parameter drawn anew: no zero bias or unit scale hides a slip."""
    module.double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.7, generator=generator)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.7, generator=generator)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2, generator=generator)
    return module


def read(module: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, TapReading]]:
    with capture(module) as trace:
        y: Tensor = module(x)
    return y, trace.taps


def test_every_key_has_a_twin() -> None:
    assert ATTENTION_TWINS.keys() == ATTENTION.keys() == TAPS.keys()


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("key", ATTENTION)
def test_equals_its_twin(key: str, height: int, width: int) -> None:
    module, x = randomised(ATTENTION[key](C)), draw(2, C, height, width)
    expected, expected_shown = ATTENTION_TWINS[key](module.state_dict(), x)
    y, shown = read(module, x)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(y, x, atol=1e-3)
    assert shown.keys() == expected_shown.keys() == TAPS[key].keys()
    for path, reading in shown.items():
        torch.testing.assert_close(reading.weights, expected_shown[path], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("key", ["se", "cbam", "softmax"])
def test_equals_its_twin_where_channels_are_reduced_by_16(key: str) -> None:
    module, x = randomised(ATTENTION[key](96)), draw(1, 96, 3, 2)
    assert {p.shape[0] for p in module.parameters()} & {6}  # 96 / 16 hidden units
    y, _ = read(module, x)
    torch.testing.assert_close(y, ATTENTION_TWINS[key](module.state_dict(), x)[0])


@pytest.mark.parametrize(("height", "width"), [*SIZES, (60, 33)])
@pytest.mark.parametrize("key", ATTENTION)
def test_taps_say_kind_and_grid(key: str, height: int, width: int) -> None:
    _, shown = read(ATTENTION[key](C), torch.rand(2, C, height, width))
    keys = (min(height, 14), min(width, 14))
    shapes = {
        "channel": (2, C),
        "spatial": (2, height, width),
        "volume": (2, C, height, width),
        "token": (2, 4, height * width, keys[0] * keys[1]),
        "pool": (2, height * width),
        "branch": (2, 2, C),
    }
    grids = {"rows": (height, 1), "columns": (1, width)}
    assert {path: reading.kind for path, reading in shown.items()} == TAPS[key]
    for path, reading in shown.items():
        assert reading.grid == grids.get(path, (height, width))
        assert reading.keys == (keys if reading.kind == "token" else None)
        axis = (2, C, reading.grid[0] * reading.grid[1])
        assert reading.weights.shape == shapes.get(reading.kind, axis)
        if reading.kind == "branch":
            torch.testing.assert_close(reading.weights.sum(1), torch.ones(2, C))
        if reading.kind in ("token", "pool"):
            torch.testing.assert_close(
                reading.weights.sum(-1), torch.ones(reading.weights.shape[:-1])
            )


@pytest.mark.parametrize("key", ATTENTION)
def test_nothing_is_kept(key: str) -> None:
    module = ATTENTION[key](C)
    module(torch.rand(2, C, 5, 7))
    for path in TAPS[key]:
        assert not [name for name in module.state_dict() if name.startswith(f"{path}.")]
        assert path not in module.state_dict()
    assert not [
        value
        for part in module.modules()
        for value in vars(part).values()
        if torch.is_tensor(value)
    ]


@pytest.mark.parametrize("key", ATTENTION)
def test_a_batch_equals_its_images(key: str) -> None:
    module, x = randomised(ATTENTION[key](C)), draw(3, C, 16, 5)
    y, shown = read(module, x)
    for index in range(len(x)):
        alone, shown_alone = read(module, x[index : index + 1])
        torch.testing.assert_close(y[index : index + 1], alone)
        for path, reading in shown_alone.items():
            torch.testing.assert_close(shown[path].weights[index : index + 1], reading.weights)


@pytest.mark.parametrize("key", ATTENTION)
def test_gradients_are_right(key: str) -> None:
    module, x = randomised(ATTENTION[key](4)), draw(2, 4, 2, 3).requires_grad_()
    names, parameters = zip(*module.named_parameters(), strict=True) if key != "simam" else ((), ())

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters))


@pytest.mark.parametrize(("key", "path"), KEYS_AND_TAPS)
def test_gradients_flow_through_taps(key: str, path: str) -> None:
    """The slope along a random shift of the weights, by autograd and by finite differences."""
    module, x = randomised(ATTENTION[key](C)), draw(2, C, 3, 4).requires_grad_()
    probe = draw(2, C, 3, 4, seed=2)  # a fixed linear reading of the output
    y, shown = read(module, x)
    weights = shown[path].weights
    (gradient,) = torch.autograd.grad((y * probe).sum(), weights)
    shift = draw(*weights.shape, seed=3)
    tap = module.get_submodule(path)
    assert isinstance(tap, Tap)

    def shifted(step: float) -> float:
        handle = tap.register_forward_hook(lambda _, __, output: output + step * shift)
        with torch.no_grad():
            value = float((module(x) * probe).sum())
        handle.remove()
        return value

    slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5
    assert abs(slope) > 1e-3
    assert float((gradient * shift).sum()) == pytest.approx(slope, rel=1e-6)


# Gate ----------------------------------------------------------------------------------------


class CirculatingGate(nn.Module):
    """The gate as it circulates: linear layers applied to the (B, C, H, W) tensor itself.

    `nn.Linear` acts on the last axis, so on the width instead of the channels: it raises as soon
    as W ≠ C, and where W = C by chance it mixes the positions of a row instead of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.out(self.hidden(x).relu()).sigmoid()


def test_the_circulating_gate_raises_where_ours_works() -> None:
    ours, theirs = randomised(Gate(C)), CirculatingGate(C).double()
    theirs.load_state_dict(
        {name: p.flatten(1) if p.ndim == 4 else p for name, p in ours.state_dict().items()}
    )
    x = draw(2, C, 5, 7)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        theirs(x)
    # The same layers on the channel axis, which is what was meant.
    torch.testing.assert_close(ours(x), theirs(x.movedim(1, -1)).movedim(-1, 1))
    square = draw(2, C, 5, C)
    assert not torch.allclose(ours(square), theirs(square))


# Channel attention ---------------------------------------------------------------------------


def test_se_equals_torchvision() -> None:
    ours, theirs = randomised(SqueezeExcitation(64)), TorchvisionSE(64, 4).double()
    for mine, layer in ((ours.squeeze, theirs.fc1), (ours.excite, theirs.fc2)):
        layer.load_state_dict({"weight": mine.weight[:, :, None, None], "bias": mine.bias})
    x = draw(2, 64, 5, 7)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("channels", "kernel"),
    [
        (8, 3),  # (3 + 1) / 2 = 2, even: 3
        (16, 3),  # (4 + 1) / 2 = 2.5, cut to 2, even: 3
        (32, 3),  # (5 + 1) / 2 = 3
        (64, 3),  # (6 + 1) / 2 = 3.5, cut to 3
        (128, 5),  # (7 + 1) / 2 = 4, even: 5
        (256, 5),  # (8 + 1) / 2 = 4.5, cut to 4, even: 5
        (512, 5),  # (9 + 1) / 2 = 5
    ],
)
def test_eca_kernel_sizes(channels: int, kernel: int) -> None:
    assert EfficientChannelAttention(channels).conv.weight.shape == (1, 1, kernel)


def test_coordinate_attention_equals_timm() -> None:
    ours, theirs = (
        randomised(CoordinateAttention(64)),
        CoordAttn(64, rd_channels=8, bias=True).double(),
    )
    names = {"reduce": "conv1", "norm": "bn1", "row": "conv_h", "column": "conv_w"}
    state = {key.partition("."): value for key, value in ours.state_dict().items()}
    theirs.load_state_dict({f"{names[part]}.{rest}": v for (part, _, rest), v in state.items()})
    x = draw(2, 64, 5, 7)
    torch.testing.assert_close(ours(x), theirs.eval()(x))


def test_selective_kernels_equal_timm() -> None:
    ours = randomised(SelectiveKernel(64))
    theirs = TimmSelectiveKernel(64, groups=32, rd_channels=32, split_input=False).double()
    names = {
        **{
            f"kernels.{m}.{at}.": f"paths.{m}.{name}."
            for m in (0, 1)
            for at, name in ((0, "conv"), (1, "bn"))
        },
        "reduce.": "attn.fc_reduce.",
        "norm.": "attn.bn.",
        "select.": "attn.fc_select.",
    }
    state = {
        name + key.removeprefix(mine): value[..., None, None] if value.ndim == 2 else value
        for key, value in ours.state_dict().items()
        for mine, name in names.items()
        if key.startswith(mine)
    }
    theirs.load_state_dict(state)
    x = draw(2, 64, 5, 7)
    torch.testing.assert_close(ours(x), theirs.eval()(x))


# Self-attention ------------------------------------------------------------------------------


def tokens_of(module: SelfAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised queries' tokens (B, N, C) and keys' tokens (B, M, C), keys on 14×14 at most."""
    size = (min(x.shape[2], 14), min(x.shape[3], 14))
    pooled = F.adaptive_avg_pool2d(x, size)
    return tuple(module.norm(each.flatten(2).transpose(1, 2)) for each in (x, pooled))  # type: ignore[return-value]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_self_attention_equals_scaled_dot_product_attention(height: int, width: int) -> None:
    module, x = randomised(SelfAttention(C)), draw(2, C, height, width)
    own, cells = tokens_of(module, x)
    key, value = module.key_value(cells).chunk(2, dim=-1)
    q, k, v = (
        t.unflatten(-1, (4, C // 4)).transpose(1, 2) for t in (module.query(own), key, value)
    )
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, N, C)
    torch.testing.assert_close(module(x), x + module.out(mixed).transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_self_attention_equals_multihead_attention(height: int, width: int) -> None:
    module, x = randomised(SelfAttention(C)), draw(2, C, height, width)
    judge = nn.MultiheadAttention(C, 4, batch_first=True).double()
    judge.load_state_dict(
        {
            "in_proj_weight": torch.cat((module.query.weight, module.key_value.weight)),
            "in_proj_bias": torch.cat((module.query.bias, module.key_value.bias)),
            "out_proj.weight": module.out.weight,
            "out_proj.bias": module.out.bias,
        }
    )
    own, cells = tokens_of(module, x)
    mixed, weights = judge(own, cells, cells, need_weights=True, average_attn_weights=False)
    y, shown = read(module, x)
    torch.testing.assert_close(shown["token"].weights, weights)
    torch.testing.assert_close(y, x + mixed.transpose(1, 2).reshape(x.shape))


def test_self_attention_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="4 heads do not divide 10 channels"):
        SelfAttention(10)


# SimAM ---------------------------------------------------------------------------------------


def test_simam_by_hand() -> None:
    # mean 2, d = 4 0 0 4, v = 8/3, 4 (v + λ) = 10.667: σ(0.375 + 0.5) at the ends, σ(0.5) inside
    y, shown = read(ATTENTION["simam"](1), torch.tensor([0.0, 2, 2, 4]).reshape(1, 1, 2, 2))
    ends, middle = 1 / (1 + torch.tensor(-0.5 - 4 / (4 * (8 / 3 + 1e-4))).exp()), 0.6224593
    torch.testing.assert_close(
        shown["weights"].weights.flatten(), torch.tensor([ends, middle, middle, ends])
    )
    torch.testing.assert_close(y.flatten(), torch.tensor([0, 2 * middle, 2 * middle, 4 * ends]))
