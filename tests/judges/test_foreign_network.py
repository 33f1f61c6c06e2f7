"""Networks that were not made for vggviz: CAMs by outside judges, attention by plain hooks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import listings
import numpy as np
import pytest
import pytorch_grad_cam as jacobgil
import seed_listing
import torch
import torchvision
from captum.attr import LayerActivation, LayerGradientXActivation
from matplotlib.text import Text
from peers import captum, distance, torchcam_judge
from torch import Tensor, nn

from vggviz.cam import cams
from vggviz.explainer import Explainer
from vggviz.hooks.capture import evaluating
from vggviz.metrics.faithfulness import perturb
from vggviz.networks import ForeignNetwork, NetworkError

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
TARGETS = torch.tensor([[0, 1], [3, 4]])


def build(name: str, **options: Any) -> nn.Module:
    """torchvision's network with weights that leave nothing at its neutral value."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = torchvision.models.get_model(name, weights=None, num_classes=5, **options)
        with torch.no_grad():
            for value in model.parameters():
                if value.ndim == 1:
                    value.add_(torch.randn_like(value) * 0.2)
            last = [one for one in model.modules() if isinstance(one, nn.Linear)][-1]
            last.weight.normal_(0, 0.3)
    return model.eval()


def pixels(size: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def picture() -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).integers(0, 256, (80, 100, 3), np.uint8)


# CAMs ------------------------------------------------------------------------------------------

MAPS = {
    "resnet18": (96, ["layer1", "layer2", "layer3", "layer4"]),
    "resnet50": (64, ["layer2", "layer4"]),
    "densenet121": (64, ["features.transition2.conv", "features.denseblock4"]),
    "efficientnet_b0": (64, ["features.4.0.block.2", "features"]),
}


@pytest.mark.parametrize("name", MAPS)
def test_cams_of_convolutional_networks(name: str, untouched: Untouched) -> None:
    size, layers = MAPS[name]
    model = build(name)
    network, x = ForeignNetwork(copy.deepcopy(model), size), pixels(size)
    with untouched(network):
        ours = cams(network, x, layers, ("gradcam", "hirescam", "layercam"), TARGETS)
    assert torch.equal(ours.logits, model(x).detach())
    for layer in layers:
        judges = [
            ("gradcam", captum, 1e-5),
            ("gradcam", torchcam_judge("GradCAM"), 1e-4),
            ("layercam", torchcam_judge("LayerCAM"), 1e-4),
            ("hirescam", grad_cam_judge("HiResCAM"), 1e-4),
        ]
        for method, judge, tolerance in judges:
            theirs = torch.stack([judge(model, x, layer, target) for target in TARGETS])
            assert distance(ours.maps[layer, method], theirs) <= tolerance, (layer, method)


def grad_cam_judge(name: str, to_map: Callable[[Tensor], Tensor] | None = None) -> Any:
    """pytorch-grad-cam's map before it is resized, with its `reshape_transform`."""

    def judge(model: nn.Module, x: Tensor, path: str, target: Tensor) -> Tensor:
        model = copy.deepcopy(model)
        layer = model.get_submodule(path)
        wanted = [
            jacobgil.utils.model_targets.ClassifierOutputTarget(int(index)) for index in target
        ]
        with getattr(jacobgil, name)(model, [layer], reshape_transform=to_map) as extractor:
            extractor(x, wanted)
            seen = extractor.activations_and_grads
            found = [np.asarray(tensor[0]) for tensor in (seen.activations, seen.gradients)]
            raw = extractor.get_cam_image(x, layer, wanted, *found, False)
            return torch.from_numpy(np.maximum(raw, 0))

    return judge


def without_class_token(tokens: Tensor) -> Tensor:
    batch, count, channels = tokens.shape
    side = round((count - 1) ** 0.5)
    return tokens[:, 1:].reshape(batch, side, side, channels).permute(0, 3, 1, 2)


def channels_first(features: Tensor) -> Tensor:
    return features.permute(0, 3, 1, 2)


TRANSFORMERS: dict[str, tuple[dict[str, Any], int, Callable[[Tensor], Tensor], list[str]]] = {
    "vit_b_32": (
        {"image_size": 96},
        96,
        without_class_token,
        ["encoder.layers.encoder_layer_6.ln_2", "encoder.layers.encoder_layer_11.ln_1"],
    ),
    "swin_t": ({}, 64, channels_first, ["features.3.1.norm2", "features.7.1.norm1"]),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_cams_of_transformers(name: str, untouched: Untouched) -> None:
    options, size, to_map, layers = TRANSFORMERS[name]
    model = build(name, **options)
    network, x = ForeignNetwork(copy.deepcopy(model), size), pixels(size)
    with untouched(network):
        ours = cams(network, x, layers, ("gradcam", "layercam"), TARGETS)
    torch.testing.assert_close(ours.logits, model(x).detach(), rtol=1e-5, atol=1e-5)
    for layer in layers:
        module = model.get_submodule(layer)
        activation = to_map(LayerActivation(model, module).attribute(x)).detach()
        by_gradient = LayerGradientXActivation(model, module, multiply_by_inputs=False)
        for row, target in enumerate(TARGETS):
            gradient = to_map(by_gradient.attribute(x, target)).detach()
            weights = gradient.mean((2, 3), keepdim=True)
            captums = (weights * activation).sum(1).relu()
            assert distance(ours.maps[layer, "gradcam"][row], captums) <= 1e-5
        for method, judge in (("gradcam", "GradCAM"), ("layercam", "LayerCAM")):
            theirs = grad_cam_judge(judge, to_map)(model, x, layer, TARGETS[0])
            assert distance(ours.maps[layer, method][0], theirs) <= 1e-4, (layer, method)


def test_attention_gradient_is_that_of_the_weights_by_autograd() -> None:
    """At the last layer of a ViT only the class token's row counts: Chefer's rule by hand."""
    model = build("vit_b_32", image_size=96)
    network, x = ForeignNetwork(copy.deepcopy(model), 96), pixels(96, 1)
    layer = "encoder.layers.encoder_layer_11.ln_1"
    ours = cams(network, x, [layer], ("attention*gradient",), [2]).maps[layer, "attention*gradient"]
    attention = model.encoder.layers.encoder_layer_11.self_attention
    kept: list[Tensor] = []

    def with_weights(_: nn.Module, args: tuple[Tensor, ...], __: Any) -> Any:
        query, heads = args[0], attention.num_heads
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        q, k, v = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in (query @ weight.T + bias).chunk(3, -1)
        )
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        kept.append(weights)
        return attention.out_proj((weights @ v).transpose(1, 2).flatten(2)), None

    attention.register_forward_hook(with_weights)
    (gradient,) = torch.autograd.grad(model(x)[0, 2], kept)
    received = (kept[0] * gradient).relu().mean((1, 2))[0, 1:].reshape(3, 3)
    assert distance(ours[0], received[None].detach()) <= 1e-4


@pytest.fixture
def tokens() -> ForeignNetwork:
    """A small transformer with a class token, of 4 × 4 patches."""
    options = {"image_size": 64, "patch_size": 16, "num_layers": 2, "num_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.VisionTransformer(
            **options, hidden_dim=16, mlp_dim=32, num_classes=5
        )
        nn.init.normal_(model.heads.head.weight, 0, 0.5)
    return ForeignNetwork(model.double(), 64)


def test_ablation_takes_a_channel_of_the_positions_and_leaves_the_class_token(
    tokens: ForeignNetwork, untouched: Untouched
) -> None:
    path, x = "encoder.layers.encoder_layer_0", pixels(64).double()
    with untouched(tokens):
        found = cams(tokens, x, [path], ("ablationcam",), TARGETS).maps[path, "ablationcam"]
    module, seen = tokens.get_submodule(path), list[Tensor]()

    def logits(channel: int | None) -> Tensor:
        def ablated(_: nn.Module, __: object, output: Tensor) -> Tensor:
            seen.append(output)
            changed = output.clone()
            if channel is not None:
                changed[:, 1:, channel] = 0
            return changed

        handle = module.register_forward_hook(ablated)
        with torch.no_grad():
            result: Tensor = tokens(x)
        handle.remove()
        return result

    lost = torch.stack([logits(None) - logits(c) for c in range(16)])  # (C, B, K)
    weights = lost.gather(2, TARGETS.T.expand(16, 2, 2))  # (C, B, T)
    activation = seen[0][:, 1:].mT.unflatten(2, (4, 4))  # (B, C, h, w)
    slow = torch.einsum("cbt,bchw->tbhw", weights, activation).relu()
    torch.testing.assert_close(found, slow)
    assert found.max() > 0


def test_second_derivatives_and_products_of_layers_need_no_convolutions(
    tokens: ForeignNetwork, untouched: Untouched
) -> None:
    path, x = "encoder.layers.encoder_layer_0", pixels(64).double()
    with untouched(tokens):
        found = cams(tokens, x, [path], ("gradcam", "shapleycam", "refinecam"), TARGETS).maps
    assert all(one.shape == (2, 2, 4, 4) and one.isfinite().all() for one in found.values())
    assert not torch.allclose(found[path, "shapleycam"], found[path, "gradcam"])
    assert found[path, "refinecam"].max() > 0


# Attention -------------------------------------------------------------------------------------


@pytest.fixture(params=["vgg16", "vgg19"])
def own(request: pytest.FixtureRequest) -> Iterator[nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield getattr(seed_listing, request.param)()


def test_attention_is_what_hooks_on_the_modules_see(
    own: nn.Module, picture: Any, untouched: Untouched
) -> None:
    """Bit for bit, beside CAMs from the same passes, in a model that stays in training mode."""
    own.train()
    with untouched(own):
        explainer = Explainer.of(own, size=64)
    explanation = explainer.explain(picture, stages=explainer.model.all_stages)
    judge = copy.deepcopy(own).eval()
    seen: dict[str, Tensor] = {}
    for path, module in judge.named_modules():
        if isinstance(module, nn.Sigmoid):
            module.register_forward_hook(lambda _, __, out, path=path: seen.update({path: out}))
    judge.self_attention.attention.register_forward_hook(
        lambda _, __, out: seen.update({"self_attention.attention": out[1]})
    )
    with torch.no_grad():
        logits = judge(explainer.preprocess.normalise(explanation.image)[None])
    torch.testing.assert_close(explanation.prediction.logits, logits[0], rtol=1e-5, atol=1e-6)
    records = [one for several in explanation.attention.values() for one in several]
    assert [one.kind for one in records] == [
        *["channel"] * 5,
        "volume",
        "channel",
        "spatial",
        "token",
    ]
    assert {one.path for one in records} == set(seen)
    for one in records:
        wanted = seen[one.path][0]
        if one.kind == "token":
            assert torch.equal(one.weights.mean(0), wanted)
        elif one.kind == "volume":
            assert torch.equal(one.weights, wanted.permute(2, 0, 1))
        else:
            assert torch.equal(one.weights, wanted.reshape(one.weights.shape))
    arrays = explanation.arrays()
    assert {f"{one.path}/attention/{one.kind}" for one in records} <= set(arrays)
    assert ("gate", "gradcam") in explanation.heatmaps


def test_an_explanation_tells_the_true_network(own: nn.Module, picture: Any) -> None:
    explanation = Explainer.of(own, size=64, labels=list("abcdefg")).explain(picture)
    told = explanation.to_json()
    assert told["provenance"]["config"] == {
        "network": "VGG",
        "attention": "channel, spatial, token, volume",
        "num_classes": 7,
        "multi_label": False,
    }
    assert told["stages"]["gate"]["attention"][0]["path"] == "gate.sigmoid"
    assert explanation.target.label in "abcdefg"
    assert explanation.network == "VGG"
    assert "VGG19" not in explanation.report()
    assert "VGG · own · channel, spatial" in explanation._repr_html_()


def test_a_batch_is_its_pictures_one_by_one(own: nn.Module, picture: Any) -> None:
    explainer = Explainer.of(own, size=64)
    methods = ("gradcam", "attention*gradient")
    pictures = [picture, picture[::-1].copy()]
    stages = ("gate", "cbam", "self_attention")
    together = explainer.explain_batch(pictures, [1, 2], stages, methods)
    for one, image, target in zip(together, pictures, (1, 2), strict=True):
        alone = explainer.explain(image, stages, methods, target)
        assert list(one.arrays()) == list(alone.arrays())
        for key, values in alone.arrays().items():
            np.testing.assert_allclose(one.arrays()[key], values, rtol=1e-3, atol=1e-6, err_msg=key)


def test_what_if_on_a_foreign_network(own: nn.Module) -> None:
    """Weights replaced where they are found, and the module without which the network is bypassed,
    against the network changed by hand."""
    from vggviz.hooks import finding
    from vggviz.hooks.capture import bypass

    network, x = ForeignNetwork(copy.deepcopy(own), 64), pixels(64)
    own.eval()

    def ones(path: str, kind: str, weights: Tensor) -> Tensor:
        return torch.ones_like(weights) if path == "gate.sigmoid" else weights

    with torch.no_grad():
        with finding(network, network.places, change=ones):
            replaced = network(x)
        with bypass(network, ["gate"]):
            bypassed = network(x)
        own.gate = nn.Identity()
        torch.testing.assert_close(replaced, own(x))
        torch.testing.assert_close(bypassed, own(x))


@pytest.mark.parametrize("name", ["coordinate", "selective kernels", "SGE", "pool", "external"])
def test_attention_of_every_kind_is_drawn(name: str, picture: Any) -> None:
    """Bands of rows and columns, a chart for each branch; what has no known axes, in files only."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = listings.FOUND["global context" if name == "pool" else name][0]()
        network = nn.Sequential(listings.Around(module), nn.Flatten(), nn.LazyLinear(3))
        network(torch.zeros(1, 3, 32, 32))
    explanation = Explainer.of(network, size=32).explain(picture)
    records = [one for several in explanation.attention.values() for one in several]
    kinds = {one.kind for one in records}
    shown = sum(len(one.views) for one in records)
    wanted = {"coordinate": 2, "selective kernels": len(records[0].weights), "pool": 1}
    assert shown == wanted.get(name, 0)
    assert {"coordinate": {"axis"}, "selective kernels": {"branch"}, "pool": {"pool"}}.get(
        name, {"other"}
    ) == kinds
    labels = [text.get_text() for text in explanation.figure().findobj(match=Text)]
    assert sum(f"{kind} attention" in label for kind in kinds for label in labels) == shown
    assert explanation.report().count("<section") == 3 + shown  # crop, CAMs, how to read it
    assert all(one._repr_html_() for one in records)
    assert len(explanation.arrays()) == 1 + len(records) + len(explanation.heatmaps)
    if name == "coordinate":
        rows = records[1]
        assert rows.spatial is not None
        torch.testing.assert_close(rows.spatial[:, 0], rows.weights.mean(0))


def test_the_strip_is_short_and_keeps_the_last_stage() -> None:
    network = ForeignNetwork(build("efficientnet_b0"), 64)
    assert len(network.attention) == 16
    assert len(network.stages) == 8
    assert network.stages[-1] == "features"
    assert set(network.attention) | set(network.stages) <= set(network.all_stages)
    assert list(network.stages) == sorted(network.stages, key=[*network.maps].index)


# Kinds of networks -----------------------------------------------------------------------------


class Small(nn.Module):
    """Names of children that an adapter could have, too; `form` is what it returns."""

    def __init__(self, channels: int = 3, classes: int = 4, form: Any = lambda y: y) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 6, 3, 2, 1), nn.ReLU(inplace=True))
        self.stages = nn.Conv2d(6, 6, 3, 2, 1)
        self.head = nn.Linear(6, classes)
        self.form = form

    def forward(self, x: Tensor) -> Any:
        return self.form(self.head(self.stages(self.layers(x)).mean((2, 3))))


def small(**options: Any) -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small(**options)


def test_one_channel_gets_the_luma(picture: Any) -> None:
    model = small(channels=1)
    explainer = Explainer.of(model, size=32, mean=0.3, std=[0.5])
    found = explainer.explain(picture)
    grey = torch.from_numpy(found.image / 255) @ torch.tensor([0.299, 0.587, 0.114]).double()
    wanted = model(((grey - 0.3) / 0.5).float()[None, None])[0]
    torch.testing.assert_close(found.prediction.logits, wanted.detach(), rtol=1e-4, atol=1e-5)
    assert [stage for stage, _ in found.heatmaps] == ["layers", "stages"]


@pytest.mark.parametrize(
    ("form", "output"),
    [
        (lambda y: (y, y * 2), None),
        (lambda y: {"features": y[:, :, None], "out": y}, None),
        (lambda y: {"aux": y * 2, "logits": y}, None),
        (lambda y: (y * 2, y), 1),
        (lambda y: {"aux": y * 2, "main": y}, "main"),
        (lambda y: y[:, :, None, None], None),
    ],
)
def test_logits_among_several_outputs(form: Any, output: Any, picture: Any) -> None:
    plain = Explainer.of(small(), size=32).explain(picture)
    several = Explainer.of(small(form=form), size=32, output=output).explain(picture)
    assert torch.equal(plain.prediction.logits, several.prediction.logits)


class Branched(nn.Module):
    """A main path to the logits, and a branch of the same resolution that ends in a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.main = nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 8, 3, padding=1)
        self.side, self.head = nn.Conv2d(8, 1, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        y = self.main(x).relu()
        return {"logits": self.head(y.mean((2, 3))), "mask": self.side(y)}


def test_a_branch_that_the_logits_do_not_use_is_no_stage(picture: Any) -> None:
    explanation = Explainer.of(Branched(), size=32).explain(picture)
    assert [stage for stage, _ in explanation.heatmaps] == ["main"]


def test_dropout_in_the_networks_own_forward_is_off_while_it_is_explained(picture: Any) -> None:
    class Dropping(Small):
        def forward(self, x: Tensor) -> Any:
            return super().forward(nn.functional.dropout(x, 0.5, self.training))

    network = ForeignNetwork(Dropping(), 32).train()
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with evaluating(network), torch.no_grad():
        assert torch.equal(network(x), network(x))
    assert network.training
    with torch.no_grad():
        assert not torch.equal(network(x), network(x))


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`")
def test_a_network_that_can_not_be_copied_is_a_sentence() -> None:
    network = small()
    norm = nn.utils.weight_norm  # the old one, which leaves a tensor that was computed
    norm(next(one for one in network.modules() if isinstance(one, nn.Conv2d)))
    network(torch.zeros(1, 3, 32, 32))
    with pytest.raises(NetworkError, match=r"can't be copied: .*parametrizations$"):
        Explainer.of(network, size=32)


def test_several_labels_have_sigmoids(picture: Any) -> None:
    found = Explainer.of(small(), size=32, multi_label=True).explain(picture).prediction
    for one in found:
        wanted = float(found.logits[one.index].double().sigmoid())
        assert one.probability == pytest.approx(wanted, abs=1e-12)
    (single,) = Explainer.of(small(classes=1), size=32).explain(picture).prediction
    assert 0 < single.probability < 1


@pytest.mark.parametrize(("classes", "multi_label"), [(1, False), (4, True)])
def test_curves_begin_at_the_probability_that_is_shown(
    classes: int, multi_label: bool, picture: Any
) -> None:
    explainer = Explainer.of(small(classes=classes), size=32, multi_label=multi_label)
    shown = explainer.explain(picture)
    pixels, target = explainer.preprocess.normalise(shown.image), shown.target.index
    heatmap = next(iter(shown.heatmaps.values())).raw
    several = explainer.card.multi_label
    points = perturb(explainer.model, pixels, heatmap, target, multi_label=several)
    assert next(points)[1] == pytest.approx(shown.target.probability, abs=1e-6)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (lambda: small(channels=5), {}, "can't take a picture .1, 3, 32, 32., nor one with"),
        (lambda: small(form=lambda y: y[:, :, None, None].expand(-1, -1, 8, 8)), {}, "classif"),
        (lambda: small(form=lambda y: {"a": 1}), {}, "returns a dict, where logits"),
        (lambda: small(), {"output": "main"}, "no output 'main'"),
        (lambda: small(), {"labels": ["a", "b"]}, "2 labels for the 4 classes"),
        (lambda: small(), {"mean": [0.5, 0.5]}, "1 or 3 numbers"),
        (lambda: torch.jit.script(nn.Conv2d(3, 4, 3)), {}, "scripted"),
        (lambda: torch.compile(small()), {}, "compiled"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_what_cannot_be_explained_is_said(
    model: Callable[[], nn.Module], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(NetworkError, match=words) as caught:
        Explainer.of(model(), size=32, **options)
    assert "\n" not in str(caught.value)


def test_an_unknown_layer_is_said(picture: Any) -> None:
    explainer = Explainer.of(small(), size=32)
    with pytest.raises(ValueError, match="no layer 'stage': the nearest are stages"):
        explainer.explain(picture, stages="stage")
    with pytest.raises(ValueError, match="'head' has no map"):
        explainer.explain(picture, stages="head")


class Gated(nn.Module):
    """A convolution whose channels are weighed by a sigmoid, then pooled and classified."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]
        return self.head(x.mean((2, 3)))


def test_cams_of_changed_attention() -> None:
    """Grad-CAM inside `intervene` is that of the network with the gates written out; `bypass` is
    the network without the product."""
    torch.manual_seed(0)
    plain = Gated().eval()
    network = ForeignNetwork(plain, 16)
    x = pixels(16, 1)
    with network.intervene(lambda path, kind, weights: torch.full_like(weights, 0.25)):
        found = cams(network, x, ["conv"], ["gradcam"], [2])
        with network.intervene(lambda path, kind, weights: weights * 2):
            twice = network(x)
    features = plain.conv(x).detach().requires_grad_()
    logits = plain.head((features * 0.25).mean((2, 3)))
    (gradient,) = torch.autograd.grad(logits[0, 2], features)
    expected = (gradient.mean((2, 3), keepdim=True) * features).sum(1).relu()
    torch.testing.assert_close(found.logits, logits.detach())
    torch.testing.assert_close(found.maps["conv", "gradcam"][0], expected.detach())
    torch.testing.assert_close(twice, plain.head((features * 0.5).mean((2, 3))))
    with network.bypass():
        torch.testing.assert_close(network(x), plain.head(features.mean((2, 3))))
    torch.testing.assert_close(network(x), plain(x))


def test_parameters_go_from_the_top_down_and_back_to_untrained() -> None:
    torch.manual_seed(0)
    network = ForeignNetwork(Gated().eval(), 16)
    assert network.parameter_groups() == {name: (name,) for name in ("head", "gate", "conv")}
    trained = {key: x.clone() for key, x in network.state_dict().items()}
    other = network.untrained(["head", "gate"], torch.Generator().manual_seed(1))
    again = network.untrained(["head", "gate"], torch.Generator().manual_seed(1))
    for key, x in other.state_dict().items():
        assert torch.equal(x, trained[key]) == key.startswith("conv")
        assert torch.equal(x, again.state_dict()[key])
        assert torch.equal(network.state_dict()[key], trained[key])
