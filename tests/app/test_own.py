"""A weights file of one's own on the page: what is accepted, who sees it, what a liar can't do."""

from __future__ import annotations

import json
import pickle
import re
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from gradio.data_classes import FileData
from PIL import Image
from safetensors.torch import load_file, save_file

from vggviz.app import own as border
from vggviz.app import upload_check
from vggviz.app.choices import first_stage, network_choices
from vggviz.app.handlers import choose_network, explain, open_own
from vggviz.app.inputs import UploadedPicture
from vggviz.app.networks import Networks
from vggviz.app.own import MOST_NETWORKS, OwnNetwork, Upload
from vggviz.app.session import Session
from vggviz.app.tabs import all_stages, faithful, what_if
from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.weights import (
    Card,
    WeightsError,
    fingerprint,
    load_network,
    read_backbone,
    read_card,
    save_network,
)

LABELS = ("<img src=x onerror=alert(1)>", "cup & saucer", "ladder")
OPENS = ("block3",)


@pytest.fixture
def write(small_vgg: Callable[..., Network], tmp_path: Path) -> Callable[..., Path]:
    """Write a small network to a weights file of this name, in a folder of its own as uploads."""

    def write(name: str = "mine.safetensors", *, trained: str = "all", **config: Any) -> Path:
        full = {
            "attention": "se",
            "stages": ("block4", "block5"),
            "architecture": "vgg19_bn",
            **config,
        }
        model = small_vgg(num_classes=3, **full)
        card = Card("", model.config, Preprocess(64, 64), LABELS, trained=trained)
        file = tmp_path / f"upload{len(list(tmp_path.iterdir()))}" / name
        save_network(model, card, file)
        return file

    return write


def photo() -> UploadedPicture:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return UploadedPicture(Image.fromarray(coarse).resize((120, 90)), "a.png")


def describe(file: Path, **changes: Any) -> None:
    """Change what the file says about itself, and none of its tensors."""
    state = load_file(file)
    card = {**read_card(file).to_json(), **changes}
    save_file(state, file, {"vggviz": json.dumps(card)})


def test_a_file_becomes_a_choice_and_explains_the_picture(
    networks: Networks, write: Callable[..., Path]
) -> None:
    file = write()
    own, weights, attention, target, _, details, result, _, answer, *_, stage = open_own(
        Session(networks), file, photo(), *OPENS
    )
    key = fingerprint(file)
    assert own.keys() == {key}
    assert weights["value"] == key
    assert weights["choices"][-1] == ("mine: 3 classes", key)
    assert attention["choices"] == [("Squeeze-and-excitation", "se")]
    assert attention["value"] == "se"
    assert sorted(name for name, _ in target["choices"][1:]) == sorted(LABELS)
    assert target["value"] == ""
    assert stage["value"] == "block4"  # block 3 has no attention in this network
    assert details == Explainer.load(file).explain(photo().image).to_json()
    assert "<img src=x" not in answer
    assert "&lt;img src=x onerror=alert(1)&gt;" in answer

    session = Session(networks, result, own)
    details = explain(session, photo(), key, "se", "ladder", "", "block5")[0]
    assert details["target"]["label"] == "ladder"
    attention, target, _ = choose_network(session, "small", "se", "2", "")
    assert [key for _, key in attention["choices"]] == ["cbam", "se"]
    assert (attention["value"], target["value"], len(target["choices"])) == ("se", "", 11)
    attention, target, _ = choose_network(session, key, "cbam", "2", "")
    assert attention["value"] == "se"
    assert target["value"] == "2"  # these are the weights that are shown: the class stays


def test_it_opens_without_a_picture_too(networks: Networks, write: Callable[..., Path]) -> None:
    own, weights, *_, details, result = open_own(Session(networks), write(), None, *OPENS)[:7]
    assert weights["value"] in own
    assert details == result == gr.skip()


def test_it_is_asked_about_a_picture_that_was_taken_away(
    networks: Networks, write: Callable[..., Path], tmp_path: Path
) -> None:
    file, weights = tmp_path / "a.png", write()
    photo().image.save(file)
    session = Session(networks)
    result = open_own(session, weights, UploadedPicture(file, str(file)), *OPENS)[6]
    again = open_own(Session(networks, result), weights, None, *OPENS)[6]
    assert again.request == result.request


def test_an_adapter_stands_on_the_bundled_network(networks: Networks, tmp_path: Path) -> None:
    base, card = load_network("everyday", "none")
    config = replace(card.config, attention="eca", stages=("block5",), num_classes=3)
    model = build_network(config, torch.Generator().manual_seed(0))
    mine = model.state_dict()
    same = {k: v for k, v in base.state_dict().items() if k in mine and v.shape == mine[k].shape}
    model.load_state_dict(same, strict=False)
    file = tmp_path / "mine.safetensors"
    under = read_backbone("everyday", "none")
    save_network(model, replace(card, config=config, labels=LABELS, wnids=(), backbone=under), file)
    assert file.stat().st_size < 100_000
    own, *_, details, _, _, _, _, _, _, _, _, stage = open_own(
        Session(networks), file, photo(), *OPENS
    )
    assert stage["value"] == "block5"
    assert details["provenance"]["config"]["attention"] == "eca"

    describe(file, backbone={**read_card(file).to_json()["backbone"], "fingerprint": "0" * 64})
    with pytest.raises(gr.Error, match=r"^'mine\.safetensors was trained on another copy of every"):
        open_own(Session(networks, own=own), file, photo(), *OPENS)


def test_what_was_not_learned_is_said(networks: Networks, write: Callable[..., Path]) -> None:
    file = write(trained="nothing", attention="cbam")
    _, weights, *_, answer, _, _, maps, _, _, _ = open_own(Session(networks), file, photo(), *OPENS)
    assert weights["choices"][-1][0] == "mine: untrained, 3 classes"
    assert 'class="badge">untrained' in answer
    assert 'class="badge">untrained' in maps
    maps = open_own(Session(networks), write(attention="cbam"), photo(), *OPENS)[11]
    assert "γ = 0.60" in maps


class TestSessions:
    def test_no_other_session_has_it(self, networks: Networks, write: Callable[..., Path]) -> None:
        """Not even one that knows the fingerprint, while the network is loaded."""
        file = write()
        own = open_own(Session(networks), file, photo(), *OPENS)[0]
        (key,) = own
        assert networks.get(key, "se", own) is networks.get(key, "se", dict(own))
        for others in ({}, open_own(Session(networks), write(seed=1), photo(), *OPENS)[0]):
            with pytest.raises(WeightsError, match=r"there is no network '[0-9a-f]{64}' here"):
                networks.get(key, "se", others)
            with pytest.raises(gr.Error, match="There is no network"):
                choose_network(Session(networks, own=others), key, "se", "", "")
            assert key not in dict(map(reversed, network_choices(Session(networks, own=others))))
        with pytest.raises(WeightsError, match="with attention 'cbam'"):
            networks.get(key, "cbam", own)
        assert key not in networks.choices

    def test_an_evicted_one_is_loaded_again_while_its_file_is_there(
        self, networks: Networks, write: Callable[..., Path]
    ) -> None:
        file = write()
        own = open_own(Session(networks), file, photo(), *OPENS)[0]
        (key,) = own
        networks._max_parameters = 0
        first = networks.get(key, "se", own)
        networks.get("small", "se")
        again = networks.get(key, "se", own)
        assert again is not first
        assert again.card.fingerprint == key

        networks.get("small", "se")
        file.write_bytes(write(seed=1).read_bytes())  # another network under this name
        with pytest.raises(gr.Error, match=r"upload it again\."):
            explain(Session(networks, own=own), photo(), key, "se", "", "")
        file.unlink()
        with pytest.raises(
            gr.Error, match=r"^'The file mine\.safetensors is no longer here, since"
        ) as gone:
            explain(Session(networks, own=own), photo(), key, "se", "", "")
        assert str(file.parent) not in gone.value.message
        assert explain(Session(networks, own=own), photo(), "small", "se", "", "")[0]

    def test_names_are_told_apart(self, networks: Networks, write: Callable[..., Path]) -> None:
        own: Any = {}
        for seed in (0, 1, 0):
            own = open_own(Session(networks, own=own), write(seed=seed), photo(), *OPENS)[0]
        assert [name for name, _ in network_choices(Session(networks, own=own))] == [
            "small",
            "mine: 3 classes",
            "mine (2): 3 classes",
        ]

    def test_the_latest_are_kept(self, networks: Networks, write: Callable[..., Path]) -> None:
        own: Any = {}
        for seed in range(MOST_NETWORKS + 2):
            session = Session(networks, own=own)
            before, own = own, open_own(session, write(seed=seed), None, *OPENS)[0]
        assert len(own) == MOST_NETWORKS
        assert [*own][:-1] == [*before][1:]


class TestRefusals:
    """Each is one sentence, without a path of the server, and nothing is logged."""

    @pytest.fixture
    def refused(
        self, networks: Networks, caplog: pytest.LogCaptureFixture
    ) -> Callable[[Path], str]:
        def refused(file: Path, lang: str = "en") -> str:
            with pytest.raises(gr.Error) as error:
                open_own(Session(networks, lang=lang), file, photo(), *OPENS)
            assert not error.value.print_exception
            assert not caplog.records
            message: str = error.value.message
            assert str(file.parent) not in message
            assert message.endswith((".", "。"))
            assert explain(Session(networks), photo(), "small", "se", "", "")[0]
            return message

        return refused

    def test_what_is_no_such_file(
        self, refused: Callable[[Path], str], write: Callable[..., Path]
    ) -> None:
        file = write("mine <b>.safetensors")
        whole = file.read_bytes()
        for content in (b"", b"abc", whole[:200], whole[:-9], whole[:8], pickle.dumps([1] * 99)):
            file.write_bytes(content)
            assert refused(file) == "mine &lt;b&gt;.safetensors is not a whole safetensors file."
        save_file({"a": torch.zeros(1)}, file)
        assert "was not written by vggviz" in refused(file)
        for name in ("model.h5", "model", "model.SAFETENSORS", "model.safetensors.zip"):
            file.with_name(name).write_bytes(whole)
            assert refused(file.with_name(name)).startswith(f"{name} is no .safetensors file")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"preprocess": {"size": 1000, "resize": 1000}}, "wants pictures of 1000 pixels"),
            ({"preprocess": {"size": 64, "resize": 999}}, "64 pixels, resized to 999"),
            ({"preprocess": {"size": 16, "resize": 16}}, "wants pictures of 16 pixels"),
            ({"preprocess": {"size": 64.0, "resize": 64}}, "description .* can't be read"),
            ({"preprocess": {"mean": ["a", "b", "c"]}}, "description .* can't be read"),
            ({"labels": ["a", "b"]}, "2 labels for 3 classes"),
            ({"labels": ["a", "b", "\ud800"]}, "description .* can't be read"),
            ({"facts": [[]]}, "description .* can't be read"),
            ({"config": {"num_classes": 3.0, "head": "gap"}}, "description .* can't be read"),
            ({"config": {"num_classes": 3, "attention": "magic"}}, "no attention 'magic'"),
            ({"config": {"num_classes": 3, "head": "gap"}}, "does not fit its own description"),
        ],
    )
    def test_what_lies(
        self,
        refused: Callable[[Path], str],
        write: Callable[..., Path],
        changes: dict[str, Any],
        message: str,
    ) -> None:
        file = write()
        describe(file, **changes)
        assert re.search(message, refused(file))

    def test_a_description_that_is_nested_too_deep(
        self, refused: Callable[[Path], str], write: Callable[..., Path]
    ) -> None:
        file = write()
        save_file({"a": torch.zeros(1)}, file, {"vggviz": "[" * 200_000})
        assert "can't be read" in refused(file)

    @pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
    def test_a_forged_configuration_allocates_nothing(
        self, refused: Callable[[Path], str], write: Callable[..., Path]
    ) -> None:
        """VGG19 at four times its width takes 3 GB and there are 0.5: the file holds 3 numbers."""
        file = write()
        config = NetworkConfig(attention="gate", head="fc", width=4, num_classes=3)
        card = replace(read_card(file), config=config).to_json()
        save_file({"classifier.6.bias": torch.zeros(3)}, file, {"vggviz": json.dumps(card)})
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(
            resource.RLIMIT_AS, (pages * resource.getpagesize() + (500 << 20), before[1])
        )
        try:
            assert "does not fit its own description" in refused(file)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    def test_what_is_too_large(
        self,
        refused: Callable[..., str],
        write: Callable[..., Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        file = write()
        describe(file, facts={"story": "x" * border.HEADER})
        assert "description in mine.safetensors is too long" in refused(file)
        config = {**read_card(file).config.to_json(), "num_classes": 3000}
        describe(file, facts={}, labels=["a"] * 3000, config=config)
        assert "has 3000 classes, 2000 at most" in refused(file)
        monkeypatch.setattr(border, "SIZE", 1 << 20)
        with file.open("ab") as opened:
            opened.truncate(2 << 20)
        told = refused(file)
        assert told.startswith("mine.safetensors is too large: at most 1 MB can be uploaded; on yo")
        assert "最多可上传 1 MB" in refused(file, "zh")

    def test_a_backbone_that_is_not_here(
        self,
        refused: Callable[..., str],
        write: Callable[..., Path],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        file = write()
        under = {"attention": "none", "fingerprint": "0" * 64}
        describe(file, backbone={**under, "weights": "base.safetensors"})
        told = refused(file)
        assert "mine.safetensors needs the file base.safetensors" in told
        assert "--out in another folder for a whole file" in told
        assert "--out 写到另一个文件夹" in refused(file, "zh")
        monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
        monkeypatch.setattr(torch.hub, "urlopen", None)  # nothing is downloaded for a stranger
        describe(file, backbone={**under, "weights": "imagenet"})
        assert "needs the backbone imagenet, which is not here" in refused(file)

    def test_numbers_that_are_none(
        self, refused: Callable[[Path], str], write: Callable[..., Path]
    ) -> None:
        file = write()
        state = load_file(file)
        told = {"vggviz": json.dumps(read_card(file).to_json())}
        for value, sentence in (
            (torch.nan, "holds values that are no numbers: see classifier.0.bias"),
            (torch.inf, "holds values that are no numbers: see classifier.0.bias"),
            (-3e38, "says is no number: its weights are broken"),  # times itself it is infinite
        ):
            state["classifier.0.bias"] = torch.full((3,), value)
            state["classifier.0.weight"] = torch.full((3, 64), value)
            save_file(state, file, told)
            assert sentence in refused(file)

    def test_nothing_arrived(self, networks: Networks) -> None:
        with pytest.raises(gr.Error, match="did not arrive"):
            open_own(Session(networks), None, photo(), *OPENS)


def test_the_upload_button_hands_over_a_path() -> None:
    button = Upload(render=False)
    assert button.preprocess(None) is None
    assert button.preprocess(FileData(path="/x/mine.safetensors")) == Path("/x/mine.safetensors")
    assert not list(Path(border.__file__).parent.glob("*.pyi"))


@pytest.mark.parametrize(
    ("stages", "stage", "first"),
    [
        (("block3", "block4", "block5"), "block4", "block4"),
        (("block2", "block3"), "block4", "block3"),
        (("block4", "block5"), "block2", "block4"),
        (("block5",), "block2", "block5"),
        (("block2", "block5"), "block2", "block2"),
        ((), "block2", "block2"),
    ],
)
def test_the_first_stage_has_attention(
    small_vgg: Callable[..., Network], stages: tuple[str, ...], stage: str, first: str
) -> None:
    model = small_vgg(attention="se", stages=stages, num_classes=3)
    explainer = Explainer(model, Card("", model.config, Preprocess(64, 64), LABELS))
    assert first_stage(explainer, stage) == first


def test_admitting_reads_no_tensor(write: Callable[..., Path]) -> None:
    file = write(attention="none")
    assert OwnNetwork.admit(file) == OwnNetwork(
        file, fingerprint(file), "mine", "all", "none", LABELS
    )


class TestNamedNetworks:
    """A network that the server's owner named, and uploads of plain weights for it."""

    @pytest.fixture
    def networks(self, tmp_path: Path) -> Networks:
        """A gated network of a Python file, with weights of its own."""
        code = tmp_path / "mynet.py"
        code.write_text(MYNET, "utf-8")
        return Networks({"random": ("none",)}, named={f"{code}:build": {"size": 64}})

    def test_it_is_offered_first_and_explained(self, networks: Networks) -> None:
        (key, kinds), *_ = [(key, types) for key, types in networks.choices.items()]
        assert (key, kinds) == ("mynet.py:build", ("channel",))
        session = Session(networks)
        assert network_choices(session)[0] == ("mynet.py:build", key)
        details, result, _, answer, *_, channels, channel, stage = explain(
            session, photo(), key, "channel", "", ""
        )
        assert "without names for its classes" in answer
        explainer = networks.get(key, "channel")
        expected = explainer.explain(photo().image)
        assert details == expected.to_json()
        assert result.names == explainer.model.stages
        assert [name for _, name in stage["choices"]] == list(result.names)
        assert stage["value"] == "conv"
        assert "<svg" in channels
        assert 'class="product"' in channel
        (record,) = expected.attention["conv"]
        np.testing.assert_array_equal(result.stages["conv"].channels, record.weights)
        # Switched off is the network with gates of 1.
        model = explainer.model
        features = model._network.conv(explainer.preprocess(photo().image))
        with torch.no_grad():
            logits = model._network.head(features.relu().mean((2, 3)))[0]
        assert result.off is not None
        assert result.off[0].index == int(logits.argmax())
        assert result.off[0].probability == pytest.approx(float(logits.softmax(0).max()), abs=1e-5)

    def test_the_strip_has_eight_stages_and_lists_have_all(self, tmp_path: Path) -> None:
        code = tmp_path / "deep.py"
        code.write_text(DEEP, "utf-8")
        networks = Networks({}, named={f"{code}:build": {"size": 64}})
        session = Session(networks)
        _, result, *_, stage = explain(session, photo(), "deep.py:build", "channel", "", "")
        session = Session(networks, result)
        every = tuple(f"gates.{n}" for n in range(11))
        assert set(every) < set(result.names)
        assert len(stage["choices"]) == len(result.row) == 8
        assert set(result.row) < set(result.names)
        grid = all_stages.grid(session, ("gradcam",))
        assert grid.count('<th scope="col">') == len(result.names)
        for tab in (what_if, faithful):
            arguments = ("uniform", 0) if tab is what_if else ()
            update = tab.update_tab(session, *arguments, "gates.0")[0]
            assert [name for _, name in update["choices"]] == list(result.names)
            assert update["value"] == "gates.0"
        assert "<section" in what_if.compare(session, "uniform", 0, "gates.1")

    def test_plain_weights_with_another_head_fit_it(
        self, networks: Networks, tmp_path: Path
    ) -> None:
        space: dict[str, Any] = {}
        exec(MYNET, space)  # the test's own code
        torch.manual_seed(1)
        network = space["build"](num_classes=3).eval()
        file = tmp_path / "theirs.safetensors"
        save_file(network.state_dict(), file)
        session = Session(networks)
        own, _, attention, _, _, details, *_ = open_own(session, file, photo(), "gate")
        (one,) = own.values()
        assert (one.network, one.labels) == ("mynet.py:build", ("class 0", "class 1", "class 2"))
        assert attention["value"] == "channel"
        explainer = networks.get(one.fingerprint, "channel", own)
        pixels = explainer.preprocess(photo().image)
        with torch.no_grad():
            torch.testing.assert_close(explainer.model(pixels), network(pixels))
        assert details["provenance"]["config"]["network"] == "mynet.py:build"

    @pytest.mark.parametrize("name", ["last.pth", "last.pt", "last.ckpt", "last.pth.tar"])
    def test_a_pickle_is_answered_with_the_line_that_converts_it(
        self, networks: Networks, tmp_path: Path, name: str
    ) -> None:
        file = tmp_path / name
        torch.save({"state_dict": {"conv.weight": torch.zeros(4, 3, 3, 3)}}, file)
        with pytest.raises(gr.Error, match=f"`vggviz convert {name} last"):
            open_own(Session(networks), file, photo(), "gate")

    def test_the_file_is_read_under_limits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "plain.safetensors"
        save_file({"a": torch.zeros(2, 3), "b": torch.zeros((), dtype=torch.bfloat16)}, file)
        assert upload_check.read_shapes(file) == {"a": [2, 3], "b": []}
        quick = upload_check._CODE.replace("CPU, (5, 5)", "CPU, (1, 1)")
        for code in (
            "bytes(3 << 30)",
            "while True: pass",
            "with open(sys.argv[1] + '.out', 'w') as out: out.write('x')",
        ):
            monkeypatch.setattr(upload_check, "_CODE", f"{quick}\n{code}\n")
            with pytest.raises(WeightsError, match="is not a whole safetensors file"):
                upload_check.read_shapes(file)

    def test_what_fits_nothing_is_refused(self, networks: Networks, tmp_path: Path) -> None:
        file = tmp_path / "a.safetensors"
        space: dict[str, Any] = {}
        exec(MYNET, space)
        state = space["build"]().state_dict()
        for odd in (
            {**state, "conv.weight": torch.zeros(5, 3, 3, 3)},
            {**state, "more": torch.zeros(1)},
            {key: x for key, x in state.items() if key != "conv.bias"},
        ):
            save_file(odd, file)
            with pytest.raises(gr.Error, match="tensors are those of no network on this page"):
                open_own(Session(networks), file, photo(), "gate")
        save_file({**state, "head.bias": torch.full((10,), torch.nan)}, file)
        with pytest.raises(gr.Error, match=r"no numbers: see head\.bias"):
            open_own(Session(networks), file, photo(), "gate")


MYNET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        x = self.conv(x).relu()
        x = x * self.gate(x)
        return self.head(x.mean((2, 3)))

def build(num_classes=10):
    return Net(num_classes)
"""

DEEP = """
from torch import nn

class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return x * self.fc(x.mean((2, 3))).sigmoid()[:, :, None, None]

class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.gates = nn.Sequential(*(Gate() for _ in range(11)))
        self.conv = nn.Conv2d(4, 4, 3, 2, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.conv(self.gates(self.stem(x)).relu()).mean((2, 3)))

def build():
    return Deep()
"""
