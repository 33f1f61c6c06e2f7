"""The facade: a picture in, an explanation out, and its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vggviz import METHODS, Explainer, NetworkConfig
from vggviz import plotting as render
from vggviz.app.errors import boundary
from vggviz.app.networks import Networks
from vggviz.app.session import Session
from vggviz.attention import ATTENTION
from vggviz.batch import Worker
from vggviz.cam import MapError, cams
from vggviz.images import ImageError, Preprocess, open_image
from vggviz.networks import Network, build_network
from vggviz.networks.vgg import VGG
from vggviz.weights import Card, WeightsError, assets_folder, save_network

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
EXAMPLES = assets_folder() / "examples"
LABELS = ("tabby", "golden retriever", "espresso")
WNIDS = ("n02123045", "n02099601", "n07920052")


def build(attention: str = "cbam", **changes: object) -> Explainer:
    """A narrow network whose attention counts: it replaces the features."""
    config = NetworkConfig(
        **{
            **{
                "attention": attention,
                "blend": "replace",
                "head": "gap",
                "architecture": "vgg19_bn",
            },
            **{"width": 0.125, "num_classes": 3},
            **changes,
        }  # type: ignore[arg-type]
    )
    model = build_network(config, torch.Generator().manual_seed(0))
    return Explainer(model, Card("small", config, Preprocess(64, 64), LABELS, WNIDS))


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return build()


@pytest.fixture(scope="module")
def photograph() -> Path:
    return EXAMPLES / "tabby-cat.jpg"


def test_a_deep_picture_says_how_it_was_shown(tmp_path: Path) -> None:
    """Twelve bits in sixteen, as from a detector; and what a picture of one colour can't show."""
    deep = Image.fromarray(np.linspace(0, 4095, 80 * 80).reshape(80, 80).astype(np.uint16))
    deep.save(tmp_path / "scan.png")
    explainer = Explainer.load("everyday")
    found = explainer.explain(tmp_path / "scan.png", "block5")
    assert found.provenance["picture"] == {"stretched": [0.0, 4095.0], "one_colour": False}
    assert found.picture_note().startswith("values 0 to 4095 of the picture file")
    assert "Values 0 to 4095 of the picture file" in found.report()
    assert "文件中 0 到 4095" in found.report(lang="zh")
    (batched,) = explainer.explain_batch([tmp_path / "scan.png"], [None], "block5")
    assert batched.provenance == found.provenance
    whole = explainer.explain(open_image(tmp_path / "scan.png", full_range=True), "block5")
    assert whole.provenance["picture"]["stretched"] is None
    assert whole.image.max() <= 15
    flat = explainer.explain(Image.new("RGB", (80, 80), "teal"), "block5")
    assert flat.provenance["picture"] == {"stretched": None, "one_colour": True}
    assert "one colour" in flat.picture_note()
    assert "one colour" in flat.report()


def test_everything_is_what_the_network_and_the_formulas_say(
    explainer: Explainer, photograph: Path
) -> None:
    found = explainer.explain(photograph, methods=("gradcam", "layercam"), target="espresso")
    x = explainer.preprocess(photograph)
    assert x.shape == (1, 3, 64, 64)
    logits = explainer.model(x)[0]
    torch.testing.assert_close(found.prediction.logits, logits, atol=1e-6, rtol=0)
    assert [r.index for r in found.prediction.ranked] == logits.argsort(descending=True).tolist()
    for index, label, probability in found.prediction.top(5):
        assert label == LABELS[index]
        assert probability == pytest.approx(float(logits.softmax(0)[index]), abs=1e-6)
    assert found.target == next(r for r in found.prediction if r.label == "espresso")

    paths = [explainer.model.path(stage) for stage in VGG.stages]
    raw = cams(explainer.model, x, paths, ("gradcam", "layercam"), torch.tensor([2])).maps
    assert set(found.heatmaps) == {(s, m) for s in VGG.stages for m in ("gradcam", "layercam")}
    for (stage, method), heatmap in found.heatmaps.items():
        expected = raw[explainer.model.path(stage), method][0, 0]
        assert heatmap.low == pytest.approx(float(expected.min()))
        assert heatmap.high == pytest.approx(float(expected.max()))
        assert heatmap.target == 2
        assert float(heatmap.values.min()) == 0
        assert float(heatmap.values.max()) == 1
        torch.testing.assert_close(heatmap.raw, expected, atol=1e-6, rtol=1e-4)
    sizes = zip(VGG.stages, (64, 32, 16, 8, 4), (8, 16, 32, 64, 64), strict=True)
    for stage, side, channels in sizes:
        kinds = {record.kind: record for record in found.attention[stage]}
        assert set(kinds) == {"channel", "spatial"}
        assert kinds["spatial"].weights.shape == (side, side)
        assert len(kinds["channel"].weights) == channels
        assert not kinds["spatial"].weights.requires_grad


def test_the_attention_shown_is_what_weighs_the_features(photograph: Path) -> None:
    """Spatial attention at one stage: output ÷ input of the stage is the map itself."""
    explainer = build("spatial", stages=("block3",))
    seen: dict[str, torch.Tensor] = {}
    stage = explainer.model.get_submodule("attention.block3")
    with torch.no_grad():
        handle = stage.register_forward_hook(
            lambda _, args, out: seen.update(before=args[0][0], after=out[0])
        )
        explainer.model(explainer.preprocess(photograph))
        handle.remove()
    (record,) = explainer.explain(photograph, "block3").attention["block3"]
    torch.testing.assert_close(seen["before"] * record.weights, seen["after"])


@pytest.mark.parametrize("attention", ["none", *ATTENTION])
def test_every_attention_type_explains(attention: str, photograph: Path) -> None:
    explainer = build(attention)
    methods = ["gradcam", "eigencam"]
    if attention not in ("none", "se", "eca", "coordinate", "selective_kernel"):
        methods.append("attention*gradient")
    found = explainer.explain(photograph, methods=methods)
    assert len(found.heatmaps) == 5 * len(methods)
    assert found.heatmaps["block5", "eigencam"].target is None
    assert set(found.attention) == (set() if attention == "none" else set(VGG.stages))


def test_several_classes_share_one_pass_and_equal_one_by_one(
    explainer: Explainer, photograph: Path
) -> None:
    together = explainer.explain_each(photograph, ("tabby", None, "n07920052"))
    alone = [explainer.explain(photograph, target=t) for t in ("tabby", None, "espresso")]
    assert together[0].attention["block1"] is together[2].attention["block1"]
    for one, other in zip(together, alone, strict=True):
        assert one.target == other.target
        for key, heatmap in one.heatmaps.items():
            torch.testing.assert_close(heatmap.values, other.heatmaps[key].values)


def test_letters_case_counts_where_it_tells_labels_apart(explainer: Explainer) -> None:
    labels = ("Cardigan", "cardigan", "cardigan")
    dogs = Explainer(explainer.model, replace(explainer.card, labels=labels))
    asked = ("Cardigan", "cardigan", "CARDIGAN", 2)
    assert [dogs.index(target) for target in asked] == [0, 1, 0, 2]


def test_an_answer_of_a_batch_holds_nothing_of_the_others() -> None:
    explainer = build("self_attention")
    files = [EXAMPLES / "koala.jpg", EXAMPLES / "tabby-cat.jpg"]
    for found in explainer.explain_batch(files, [2, 1], watch=["conv5_4"]):
        (record,) = found.attention["block5"]
        for tensor in (record.weights, found.prediction.logits, found.features["conv5_4"]):
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_a_batch_has_a_class_for_each_of_its_pictures_or_for_none(explainer: Explainer) -> None:
    files = [EXAMPLES / "koala.jpg", EXAMPLES / "tabby-cat.jpg"]
    one, other = explainer.explain_batch(files, [2, 1])
    assert (one.target.index, other.target.index) == (2, 1)
    for file, found in zip(files, (one, other), strict=True):
        logits = explainer.explain(file).prediction.logits
        torch.testing.assert_close(found.prediction.logits, logits, atol=1e-5, rtol=0)
    for targets in ([None, 1, 2], [1], [None], [None, 1], [1, 2, 0]):
        with pytest.raises(ValueError, match="for each of its pictures, or for none"):
            explainer.explain_batch(files, targets)


def test_layers_can_be_asked_for_by_name(explainer: Explainer, photograph: Path) -> None:
    found = explainer.explain(photograph, stages=("conv5_4", "pool5", "features.0"))
    assert {stage for stage, _ in found.heatmaps} == {"conv5_4", "pool5", "features.0"}
    assert found.heatmaps["pool5", "gradcam"].values.shape == (2, 2)
    assert found.attention == {}
    only = explainer.explain(photograph, stages="block4,block5")
    assert {stage for stage, _ in only.heatmaps} == {"block4", "block5"}


def test_a_class_is_found_by_index_label_and_wordnet_id(explainer: Explainer) -> None:
    assert explainer.index(1) == explainer.index("1") == 1
    assert explainer.index("Golden Retriever") == explainer.index("n02099601") == 1
    for wrong, message in (
        (3, "no class 3: there are 0 to 2"),
        (-1, "no class -1"),
        ("tabbi", "no class 'tabbi': did you mean 'tabby'"),
        ("", "no class ''"),
    ):
        with pytest.raises(ValueError, match=message):
            explainer.index(wrong)  # type: ignore[arg-type]


def test_a_label_of_digits_is_that_label_and_a_number_an_index(explainer: Explainer) -> None:
    card = replace(explainer.card, labels=("2019", "2020", "1"), wnids=())
    years = Explainer(explainer.model, card)
    assert [years.index(target) for target in ("2019", "1", 1, "2")] == [0, 2, 1, 2]
    assert Session(Networks({})).class_index(years, "1") == 1  # a dropdown's value
    with pytest.raises(ValueError, match="no class 2021: there are 0 to 2"):
        years.index("2021")


def test_what_is_wrong_is_said_and_the_next_picture_works(
    explainer: Explainer, photograph: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no layer 'block6': stages are block1"):
        explainer.explain(photograph, "block6")
    with pytest.raises(ValueError, match="no method 'cam': choose from gradcam"):
        explainer.explain(photograph, methods=("cam",))
    with pytest.raises(ImageError, match=r"absent\.png"):
        explainer.explain(tmp_path / "absent.png")
    with pytest.raises(ValueError, match="attention over positions"):
        build("se").explain(photograph, methods=("attention*gradient",))
    assert explainer.explain(photograph).prediction.top(1)
    assert all(not module._forward_hooks for module in explainer.model.modules())


def test_weights_whose_numbers_overflow_are_refused_and_not_written(
    photograph: Path, tmp_path: Path
) -> None:
    """First in the answer; then only in a map, of which the weights are not guilty."""
    broken, steep = build(), build("none")
    with torch.no_grad():
        for parameter in broken.model.parameters():
            parameter.fill_(3e38)
        # Features of 1e-10 at block1, and gradients that are steeper than the logits by as much.
        for index, scale in ((1, 1e-5), (4, 1e-5), (8, 1e5), (11, 1e5)):
            steep.model.features[index].weight.mul_(scale)
        logits = steep.model(steep.preprocess(photograph))
        steep.model.classifier[0].weight.mul_(1e34 / logits.abs().max())
        assert steep.model(steep.preprocess(photograph)).isfinite().all()
    overflow = "layercam at block1 overflows: what it multiplies is beyond torch.float32, though "
    for explainer, kind, words, chinese in (
        (
            broken,
            WeightsError,
            "what the network says is no number: its weights are broken",
            "网络的输出不是数字：它的权重已损坏。",
        ),
        (
            steep,
            MapError,
            overflow + "the prediction is not",
            "block1 处的 layercam 溢出：其乘积超出了数值范围，而预测本身没有溢出。",
        ),
    ):
        with pytest.raises(kind, match=words) as caught:
            explainer.explain(photograph, methods=("layercam",))
        assert caught.value.message("zh") == chinese
        with pytest.raises(gr.Error) as shown, boundary("zh"):
            explainer.explain(photograph, methods=("layercam",))
        assert shown.value.message == chinese
        file = tmp_path / "odd.safetensors"
        save_network(explainer.model, explainer.card, file)
        done = Worker({"out": str(tmp_path), "weights": str(file), "methods": ("layercam",)})(
            {"file": str(photograph), "stem": "cat"}
        )
        assert (done["failed"], done["message"]) == (True, words)
        assert list(tmp_path.iterdir()) == [file]


def test_gradcam_plus_plus_does_not_overflow_with_its_cubes(photograph: Path) -> None:
    """Its map does not depend on the scale of gradients that are large (α → 1 / g Σ A)."""
    explainer = build()
    found = []
    for scale in (1e12, 1e18):
        with torch.no_grad():
            explainer.model.classifier[0].weight.mul_(scale)
        found.append(explainer.explain(photograph, "block5", ("gradcam++",)))
    one, other = (explained.heatmaps["block5", "gradcam++"] for explained in found)
    assert not one.flat
    torch.testing.assert_close(other.values, one.values, atol=1e-3, rtol=0)


def test_two_users_at_once_get_what_they_asked_for(explainer: Explainer) -> None:
    pictures = sorted(EXAMPLES.glob("*.jpg"))[:6]
    jobs = [(picture, target) for picture in pictures for target in range(3)] * 2
    alone = [explainer.explain(picture, target=target).arrays() for picture, target in jobs]
    with ThreadPoolExecutor(6) as pool:
        together = list(
            pool.map(lambda job: explainer.explain(job[0], target=job[1]).arrays(), jobs)
        )
    for one, other in zip(alone, together, strict=True):
        assert set(one) == set(other)
        for key in one:
            np.testing.assert_allclose(one[key], other[key], atol=1e-5, err_msg=key)


def test_each_format_and_no_other(explainer: Explainer, photograph: Path, tmp_path: Path) -> None:
    found = explainer.explain(photograph, "block5")
    page, drawing = found.save(tmp_path, "cat", ("html", "svg"))
    assert page.read_text(encoding="utf-8") == found.report("cat")
    assert drawing.read_bytes() == render.svg(found.figure("cat"))
    with pytest.raises(ValueError, match="no format 'pdf': choose from json, npz"):
        found.save(tmp_path, "cat", ("json", "pdf"))
    assert sorted(file.name for file in tmp_path.glob("cat.*")) == ["cat.html", "cat.svg"]


def test_files(explainer: Explainer, photograph: Path, tmp_path: Path) -> None:
    found = explainer.explain(photograph, methods=("gradcam", "hirescam"))
    written = found.save(tmp_path / "new", "cat")
    assert [file.name for file in written] == ["cat.json", "cat.npz", "cat.png"]
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == [
        "cat.json",
        "cat.npz",
        "cat.png",
    ]
    told = json.loads(written[0].read_text(encoding="utf-8"))
    assert {"weights", "attention", "target", "top", "provenance"} <= set(told)
    assert told["weights"] == "small"
    assert told["attention"] == "cbam"
    assert told["target"] == told["top"][0]
    assert set(told["top"][0]) == {"index", "label", "probability"}
    with Image.open(photograph) as original:
        assert told["provenance"]["crop"]["width"] == original.width
    assert told["provenance"]["versions"]["torch"] == torch.__version__
    with np.load(written[1], allow_pickle=False) as arrays:
        assert arrays["crop"].dtype == np.uint8
        np.testing.assert_array_equal(arrays["crop"], found.image)
        np.testing.assert_array_equal(
            arrays["block4/attention/spatial"], found.attention["block4"][1].weights
        )
        np.testing.assert_array_equal(
            arrays["block2/hirescam"], found.heatmaps["block2", "hirescam"].raw
        )
        assert len(arrays) == 1 + 5 * 2 + 5 * 2
    with Image.open(written[2]) as picture:
        assert picture.format == "PNG"


def test_what_is_untrained_is_said_wherever_results_show(photograph: Path) -> None:
    explainer = Explainer.load("random", "se", stages=("block5",))
    assert explainer.preprocess.size == 224
    found = explainer.explain(photograph, "block5")
    assert "untrained" in found.note()
    assert "untrained" in found.to_json()["note"]
    assert any("untrained" in text.get_text() for text in found.figure().texts)


@pytest.mark.parametrize(
    ("blend", "said"), [("residual", "the network ignores it"), ("replace", "are random")]
)
def test_fresh_attention_is_ignored_only_where_it_is_blended_in(
    photograph: Path, blend: str, said: str
) -> None:
    explainer = build(blend=blend)
    explainer.card = replace(explainer.card, trained="backbone")
    found = explainer.explain(photograph, "block5")
    assert said in found.note()
    assert said in found.report()


def test_a_file_brings_its_own_attention(tmp_path: Path) -> None:
    explainer = build("eca")
    file = tmp_path / "own.safetensors"
    save_network(explainer.model, explainer.card, file)
    assert Explainer.load(file).card.config.attention == "eca"
    assert Explainer.load(str(file), "eca").card.weights == "own"
    with pytest.raises(ValueError, match="holds 'eca', not 'cbam'"):
        Explainer.load(file, "cbam")


def test_what_is_watched_is_what_the_network_computed(photograph: Path) -> None:
    """Features in the same passes, and not one value of anything else changes."""
    explainer = build("se")
    plain = explainer.explain(photograph)
    wanted = ("conv5_4", explainer.model.input_path("block4"))
    (watched,) = explainer.explain_each(photograph, (None,), watch=wanted)
    with torch.no_grad():
        arriving = explainer.model.features_before(explainer.preprocess(photograph), "block4")[0]
    torch.testing.assert_close(watched.features[wanted[1]], arriving, atol=1e-6, rtol=1e-5)
    assert watched.features["conv5_4"].shape == (64, 4, 4)
    assert watched.to_json() == plain.to_json()
    assert not plain.features
    with pytest.raises(ValueError, match="no layer 'conv9'"):
        explainer.explain_each(photograph, (None,), watch=("conv9",))
    with pytest.raises(ValueError, match="took no part"):
        explainer.explain_each(photograph, (None,), watch=("features",))


# The caller's network and modes --------------------------------------------------------------


@pytest.mark.parametrize("precision", ["exact", "bf16"])
def test_the_callers_network_stays_as_it_was(
    precision: str, small_vgg: Callable[..., Network], untouched: Untouched, photograph: Path
) -> None:
    model = small_vgg(attention="cbam", architecture="vgg19_bn", num_classes=3)  # in training mode
    model.features[1].eval()
    model.features[0].requires_grad_(False)
    card = Card("small", model.config, Preprocess(64, 64), LABELS)
    facts = [(p.data_ptr(), p.stride(), p.dtype, p.device) for p in model.parameters()]
    with untouched(model):
        explainer = Explainer(model, card, precision=precision)
        explainer.explain(photograph, methods=("gradcam", "scorecam"))
    assert [(p.data_ptr(), p.stride(), p.dtype, p.device) for p in model.parameters()] == facts
    before = explainer.explain(photograph).prediction.logits
    with torch.no_grad():
        model.classifier[0].weight.zero_()  # training goes on
    assert torch.equal(explainer.explain(photograph).prediction.logits, before)
    assert not any(p.requires_grad for p in explainer.model.parameters())


def test_a_network_that_is_handed_over_is_not_copied(small_vgg: Callable[..., Network]) -> None:
    model = small_vgg(num_classes=3)
    card = Card("small", model.config, Preprocess(64, 64), LABELS)
    assert Explainer(model, card, copy=False).model is model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_network_in_another_precision_is_explained_in_float32(
    dtype: torch.dtype, small_vgg: Callable[..., Network], photograph: Path
) -> None:
    model = small_vgg(num_classes=3).to(dtype)
    explainer = Explainer(model, Card("small", model.config, Preprocess(64, 64), LABELS))
    with torch.no_grad():
        logits = model.float().eval()(explainer.preprocess(photograph))[0]
    torch.testing.assert_close(explainer.explain(photograph).prediction.logits, logits)
    assert {p.dtype for p in explainer.model.parameters()} == {torch.float32}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class WithoutFloat64(TorchDispatchMode):
    """Like Apple's MPS: whatever makes a float64 tensor raises."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        for one in output if isinstance(output, tuple | list) else (output,):
            if isinstance(one, torch.Tensor) and one.dtype is torch.float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return output


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "another device by default": lambda: torch.device("meta"),
    "no float64": WithoutFloat64,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("inside", ["explained", "made", "loaded"])
def test_modes_of_the_caller_change_nothing(mode: str, inside: str, photograph: Path) -> None:
    methods = tuple(METHODS)
    plain = Explainer.load() if inside == "loaded" else build()
    quick = tuple(name for name, method in METHODS.items() if not method.slow)
    expected = plain.explain(photograph, "block5", quick)
    with MODES[mode]():
        if inside == "loaded":
            explainer = Explainer.load()
        else:
            explainer = Explainer(plain.model, plain.card) if inside == "made" else plain
        if inside == "explained":
            found = explainer.explain(photograph, "block5", methods)
    if inside != "explained":
        found = explainer.explain(photograph, "block5", quick)
    arrays = found.arrays()
    for key, array in expected.arrays().items():
        np.testing.assert_array_equal(arrays[key], array, err_msg=key)
    assert found.prediction.ranked == expected.prediction.ranked
    (record, *_) = found.attention["block5"]
    assert not record.weights.is_inference()


def test_a_contrast_with_the_likeliest_class_costs_no_pass(
    explainer: Explainer, photograph: Path
) -> None:
    passes: list[int] = []
    handle = explainer.model.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        for targets in ((None, "espresso"), (None, None), (1, None, 0), (None,)):
            explainer.explain_each(photograph, targets)
            assert len(passes) == 1
            passes.clear()
    finally:
        handle.remove()


def test_two_records_of_one_kind_at_one_stage_have_an_array_each(
    explainer: Explainer, photograph: Path
) -> None:
    found = explainer.explain(photograph, "block4,block5")
    channel, spatial = found.attention["block5"]
    more = (channel, replace(channel, weights=channel.weights * 2), spatial)
    several = replace(found, attention={**found.attention, "block5": more})
    arrays = several.arrays()
    assert len(arrays) == len(found.arrays()) + 1
    np.testing.assert_array_equal(arrays["block5/attention/channel"], channel.weights)
    np.testing.assert_array_equal(arrays["block5/attention/channel_2"], channel.weights * 2)
    np.testing.assert_array_equal(arrays["block5/attention/spatial"], spatial.weights)
    assert len(several.to_json()["stages"]["block5"]["attention"]) == 3


def test_stages_stand_in_the_networks_order(explainer: Explainer, photograph: Path) -> None:
    names = "pool5, conv5_4, block1, conv1_2, relu3_1, block5"
    found = explainer.explain(photograph, names, ("gradcam", "layercam"))
    assert found.stages == ("conv1_2", "block1", "relu3_1", "conv5_4", "block5", "pool5")
