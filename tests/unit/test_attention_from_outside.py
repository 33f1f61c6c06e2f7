"""Attention types that come from outside: initialised by themselves, tapped, and on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils import deterministic

from vggviz.app.choices import attention_choices
from vggviz.app.handlers import explain
from vggviz.app.inputs import UploadedPicture
from vggviz.app.networks import Networks
from vggviz.app.session import Session
from vggviz.app.tabs.all_types import row, table
from vggviz.attention import ATTENTION, AttentionType
from vggviz.explainer import Explainer
from vggviz.hooks.tap import Tap
from vggviz.images import Preprocess
from vggviz.networks import NetworkConfig, build_network
from vggviz.weights import Card, WeightsError, load_network, save_network


class Outside(nn.Module):
    """Gates with state of every kind: what PyTorch's modules hold, and what is set by hand."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 1, 3)]  # impossible on `meta`
        self.scale = nn.Parameter(torch.full((channels,), 3.0))
        self.drawn = nn.Parameter(torch.empty(channels).normal_())
        self.group = nn.GroupNorm(2, channels)
        self.norm = nn.BatchNorm1d(channels)
        self.mixing = nn.MultiheadAttention(channels, 2, batch_first=True)
        self.gate = nn.Linear(channels, channels)
        nn.init.constant_(self.gate.bias, 2.0)
        self.register_buffer("mask", torch.eye(channels, dtype=torch.bool))
        self.register_buffer("bias", torch.zeros(channels, channels).fill_diagonal_(-torch.inf))
        self.register_buffer("offset", torch.full((channels,), 0.25), persistent=False)
        self.constant = torch.full((), 0.5)  # no buffer at all
        self.channel = Tap("channel")

    def forward(self, x: Tensor) -> Tensor:
        mean = self.norm(self.group(x).mean((2, 3)))
        mean = mean + self.mixing(mean[:, None], mean[:, None], mean[:, None])[0][:, 0]
        mixed = mean @ self.bias.softmax(-1) * self.scale + self.offset * self.mask.diagonal()
        gate = (self.gate(mixed) + self.drawn * self.constant + self.rates[2]).sigmoid()
        return x * self.channel(gate, (x.shape[2], x.shape[3]))[:, :, None, None]


def outside_type(module: Callable[[int], nn.Module] = Outside) -> AttentionType:
    return AttentionType(module, "From outside", "Gates with state of every kind.")


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> NetworkConfig:
    monkeypatch.setitem(ATTENTION, "outside", outside_type())
    return NetworkConfig("outside", ("block4", "block5"), head="gap", width=0.125, num_classes=3)


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Memory that PyTorch allocates and nobody writes is NaN: its own switch for finding that."""
    torch.use_deterministic_algorithms(True)
    before, deterministic.fill_uninitialized_memory = (
        deterministic.fill_uninitialized_memory,
        True,
    )
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
    deterministic.fill_uninitialized_memory = before


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.usefixtures("outside", "poisoned")
@pytest.mark.parametrize("attention", ["none", *ATTENTION, "outside"])
def test_nothing_of_a_new_network_is_left_to_chance(attention: str) -> None:
    for head, architecture in (("gap", "vgg19_bn"), ("fc", "vgg19")):
        config = NetworkConfig(
            attention, ("block5",), head=head, architecture=architecture, width=0.125
        )  # type: ignore[arg-type]
        network = build_network(config, seeded())
        for name, value in (*network.named_parameters(), *network.named_buffers()):
            assert not value.isnan().any(), name


def test_a_module_starts_as_its_own_constructor_sets_it(outside: NetworkConfig) -> None:
    before = torch.get_rng_state()
    first, again, other = (build_network(outside, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    module = first.attention["block4"].module
    fresh = Outside(64)
    for name, value in fresh.state_dict().items():
        if value.ndim < 2 and name != "drawn":  # the others are drawn
            assert torch.equal(module.state_dict()[name], value), name
    assert 0.5 < float(module.drawn.detach().std()) < 1.5
    assert torch.equal(module.drawn, again.attention["block4"].module.drawn)
    assert not torch.equal(module.drawn, other.attention["block4"].module.drawn)
    assert not torch.equal(module.drawn, first.attention["block5"].module.drawn)
    plain = build_network(NetworkConfig(head="gap", width=0.125, num_classes=3), seeded(5))
    for name, value in plain.state_dict().items():  # attention changes nothing beside it
        assert torch.equal(first.state_dict()[name], value), name
    assert all(gamma == 0 for gamma in first.gammas().values())


def test_what_was_saved_comes_back_whole(outside: NetworkConfig, tmp_path: Path) -> None:
    model, file = build_network(outside, seeded()).eval(), tmp_path / "mine.safetensors"
    for stage in model.attention.values():
        nn.init.constant_(stage.gamma, 0.5)
    save_network(model, Card("mine", outside, Preprocess(32, 32), ("a", "b", "c")), file)
    loaded, _ = load_network(file)
    x = torch.randn(2, 3, 32, 32, generator=seeded(1))
    model.load_state_dict(loaded.state_dict())  # rounded to half precision, as the file is
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    state = loaded.state_dict()
    state["attention.block4.module.scale"][0] = torch.inf
    loaded.load_state_dict(state)
    save_network(loaded, Card("mine", outside, Preprocess(32, 32), ("a", "b", "c")), file)
    with pytest.raises(WeightsError, match=r"no numbers: see attention\.block4\.module\.scale"):
        load_network(file)


@pytest.mark.parametrize(
    "allocate",
    [
        lambda c: torch.empty(c),
        lambda c: torch.Tensor(c),
        lambda c: torch.FloatTensor(c),
        lambda c: torch.empty_like(torch.zeros(c)),
        lambda c: torch.zeros(1).new_empty(c),
        lambda c: torch.zeros(1).new(c),
        lambda c: torch.empty_strided((c,), (1,)),
        lambda c: torch.empty(c, dtype=torch.float16),
    ],
)
@pytest.mark.parametrize("buffer", [False, True])
def test_what_is_left_uninitialised_is_refused(
    outside: NetworkConfig,
    monkeypatch: pytest.MonkeyPatch,
    allocate: Callable[[int], Tensor],
    buffer: bool,
) -> None:
    class Forgetful(Outside):
        def __init__(self, channels: int) -> None:
            super().__init__(channels)
            if buffer:
                self.register_buffer("forgotten", allocate(channels))
            else:
                self.forgotten = nn.Parameter(allocate(channels))

    monkeypatch.setitem(ATTENTION, "outside", outside_type(Forgetful))
    with pytest.raises(ValueError, match="attention 'outside' leaves forgotten uninitialised"):
        build_network(outside, seeded())


def test_lazy_modules_are_refused(outside: NetworkConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy(Outside):
        def __init__(self, channels: int) -> None:
            super().__init__(channels)
            self.late = nn.LazyLinear(3)

    monkeypatch.setitem(ATTENTION, "outside", outside_type(Lazy))
    with pytest.raises(ValueError, match=r"leaves late\.weight uninitialised"):
        build_network(outside, seeded())


def test_a_type_without_attention_is_refused(
    outside: NetworkConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = outside_type(lambda channels: nn.Conv2d(channels, channels, 1))
    monkeypatch.setitem(ATTENTION, "outside", plain)
    with pytest.raises(ValueError, match="no attention was found in 'outside': weights of a sigm"):
        build_network(outside, seeded())


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_shows_a_type_that_has_no_translation(outside: NetworkConfig, lang: str) -> None:
    def load(weights: str, attention: str) -> Explainer:
        card = Card(weights, outside, Preprocess(64, 64), ("a", "b", "c"))
        return Explainer(build_network(outside, seeded()), card)

    networks = Networks({"small": ("outside",)}, load)
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    picture = UploadedPicture(Image.fromarray(noise), "a.png")
    session = Session(networks, lang=lang)
    assert attention_choices(session, "small") == [("From outside", "outside")]
    request = ("small", "outside", "", "", "block4")
    _, result, _, _, about, _, maps, channels, *_ = explain(session, picture, *request)
    assert "Gates with state of every kind." in about
    assert maps
    assert channels
    session = Session(networks, result, lang=lang)
    told = table(session, [row(session, "outside", "block4")], ("outside",))
    assert '<th scope="row">From outside</th>' in told
