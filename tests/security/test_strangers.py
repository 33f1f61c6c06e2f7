"""Weights of strangers: one sentence each, nothing loaded, no code run, little memory and time."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import strangers
import torch

from vggviz.app.handlers import open_own
from vggviz.app.networks import Networks
from vggviz.app.session import Session
from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.weights import Card, WeightsError, load_network, save_network
from vggviz.weights.tensors import SENTENCE

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as some  # noqa: E402

CONFIG = NetworkConfig(
    attention="se", head="gap", architecture="vgg19_bn", width=0.125, num_classes=3
)
CARD = Card("mine", CONFIG, Preprocess(64, 64), ("cup", "ladder", "<b>kiwi</b>"))
SECONDS = 5.0  # of computing for one file; the slowest takes 0.3
MEMORY = 250  # MB beyond what a good file takes; the worst description may have 4 MB of JSON


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("good") / "mine.safetensors"
    save_network(build_network(CONFIG, torch.Generator().manual_seed(0)), CARD, file)
    return file.read_bytes()


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is there once somebody has unpickled."""
    return tmp_path_factory.mktemp("canary") / "dead"


@pytest.fixture(scope="module")
def corpus(whole: bytes, canary: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every bad file, in a folder of its own as uploads are, by what is wrong with it."""
    header, data = strangers.opened(whole)
    contents = {**strangers.pickles(canary), **strangers.containers(whole)}
    for wrong, text in strangers.lies(CARD.to_json()).items():
        told = {**header, "__metadata__": {"vggviz": text}}
        contents[f"description: {wrong}"] = strangers.closed(told, data)
    folder, files = tmp_path_factory.mktemp("corpus"), {}
    for number, (wrong, content) in enumerate(contents.items()):
        file = folder / f"{number}" / "mine.safetensors"
        file.parent.mkdir()
        file.write_bytes(content)
        files[wrong] = file
    sparse = folder / "sparse" / "mine.safetensors"
    sparse.parent.mkdir()
    with sparse.open("wb") as opened:
        opened.write((1 << 30).to_bytes(8, "little") + b"{")
        opened.truncate(2 << 30)
    files["a header of 1 GB that is there"] = sparse
    return files


def one_sentence(text: str) -> bool:
    return text.isprintable() and 10 < len(text) < SENTENCE + 150


@pytest.mark.slow
def test_each_is_refused_in_one_sentence(corpus: dict[str, Path], canary: Path) -> None:
    assert len(corpus) > 140
    wrong: dict[str, object] = {}
    good = 0
    for name, file in corpus.items():
        start = time.process_time()
        try:
            load_network(file)
            # A changed byte may fall on a name in the description: then it is another network's.
            wrong[name] = "loaded" if not name.startswith("seed ") else None
            good += 1
        except WeightsError as error:
            wrong[name] = None if one_sentence(str(error)) else str(error)[:300]
        except Exception as error:
            wrong[name] = repr(error)[:300]
        if time.process_time() - start > SECONDS:
            wrong[name] = f"{time.process_time() - start:.1f} s"
    assert {name: told for name, told in wrong.items() if told} == {}
    assert good <= 4
    assert not canary.exists()


def test_a_pickle_is_no_weights_file_under_any_name(tmp_path: Path, canary: Path) -> None:
    for suffix in (".pt", ".pth", ".bin", ".pkl", ".pt.safetensors", ".safetensors.pt", ""):
        for content in strangers.pickles(canary).values():
            file = tmp_path / f"model{suffix}"
            file.write_bytes(content)
            with pytest.raises(WeightsError) as refused:
                load_network(file)
            known = "safetensors file$|; it is not opened, since unpickling"
            assert re.search(known, str(refused.value))
    assert not canary.exists()
    biting = strangers.pickles(tmp_path / "bitten")["torch zip"]
    torch.load(io.BytesIO(biting), weights_only=False)
    assert (tmp_path / "bitten").exists()


@pytest.mark.slow
def test_the_page_refuses_each_and_goes_on(
    corpus: dict[str, Path],
    canary: Path,
    small_vgg: Callable[..., Network],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In both languages, without a path of the server, and nothing is logged as a failure."""

    def load(weights: str, attention: str) -> Explainer:
        model = small_vgg(attention=attention, architecture="vgg19_bn")
        return Explainer(model, Card(weights, model.config, Preprocess(64, 64), ("x",) * 10))

    networks = Networks({"small": ("se",)}, load)
    wrong: dict[str, object] = {}
    for name, file in corpus.items():
        for lang in ("en", "zh"):
            try:
                open_own(Session(networks, lang=lang), file, None, "block4")
                wrong[name] = None if name.startswith("seed ") else "opened"
            except gr.Error as error:
                said = error.message
                chinese = any("\u4e00" <= letter <= "\u9fff" for letter in said)
                fine = one_sentence(said) and str(file.parent) not in said and "<" not in said
                if not fine or error.print_exception or chinese != (lang == "zh"):
                    wrong[f"{name} ({lang})"] = said[:300]
        if caplog.records:
            wrong[name] = caplog.records[0].exc_text
            caplog.clear()
    assert {name: told for name, told in wrong.items() if told} == {}
    assert not canary.exists()


MEASURED = """
import resource, sys
from pathlib import Path
from vggviz.weights import Card, WeightsError, load_network, save_network
good, *bad = map(Path, sys.argv[1:])
load_network(good)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in bad:
    try:
        load_network(file)
    except WeightsError:
        pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_none_takes_much_memory(corpus: dict[str, Path], whole: bytes, tmp_path: Path) -> None:
    """The peak of a process of its own over all of them, in MB."""
    good = tmp_path / "mine.safetensors"
    good.write_bytes(whole)
    command = [sys.executable, "-c", MEASURED, str(good), *map(str, corpus.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    assert int(done.stdout) < MEMORY


JSON = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.sampled_from([0, -1, 2**31, 2**63, 10**30, 0.5, 1e308, "NaN", "none", "block4"])
    | some.floats()
    | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=8), inner),
    max_leaves=6,
)


@some.composite
def described(draw: Any) -> Any:
    """A description with up to three of its values, wherever they stand, put in others' place."""
    card: Any = json.loads(json.dumps(CARD.to_json()))
    for _ in range(draw(some.integers(1, 3))):
        where = card
        while True:
            keys = list(where) if isinstance(where, dict) else list(range(len(where)))
            if not keys:
                break
            key = draw(some.sampled_from(keys))
            if isinstance(where[key], dict | list) and where[key] and draw(some.booleans()):
                where = where[key]
                continue
            if isinstance(where, dict) and draw(some.integers(0, 4)) == 0:
                del where[key]
            else:
                where[key] = draw(JSON)
            break
    return card


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed") / "mine.safetensors"


@hypothesis.settings(max_examples=100, deadline=None, database=None, derandomize=True)
@hypothesis.given(described() | JSON)
def test_whatever_a_description_says(whole: bytes, place: Path, told: Any) -> None:
    """It is that of the network in the file, or it is refused in one sentence."""
    header, data = strangers.opened(whole)
    described = {**header, "__metadata__": {"vggviz": json.dumps(told)}}
    place.write_bytes(strangers.closed(described, data))
    try:
        model, card = load_network(place)
    except WeightsError as error:
        said = str(error)
    else:
        check(model, card)
        return
    assert one_sentence(said), said


def check(model: Network, card: Card) -> None:
    """What was loaded is what its card says."""
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in build_network(card.config).state_dict().items()
    }
    assert len(card.labels) == model.classifier[-1].out_features
    pixels = card.preprocess(torch.zeros(40, 40, 3, dtype=torch.uint8).numpy())
    assert pixels.isfinite().all()
    if card.preprocess.size >= 32:
        assert model(pixels).shape == (1, 3)
