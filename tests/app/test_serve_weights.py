"""`vggviz serve --weights FILE`: a file of any size, by its path, which no visitor learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import torch
from gradio_client import Client, handle_file
from served import OFFLINE, SERVE, served

from vggviz.app.own import SIZE, OwnNetwork
from vggviz.images import Preprocess
from vggviz.networks import NetworkConfig, build_network
from vggviz.server.preload import load_networks
from vggviz.server.settings import SettingsError
from vggviz.weights import Card, WeightsError, assets_folder, fingerprint, save_network

KOALA = assets_folder() / "examples" / "koala.jpg"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is too large to be uploaded."""
    config = NetworkConfig(attention="se", stages=("block5",), head="gap", num_classes=3)
    model = build_network(config, torch.Generator().manual_seed(0))
    file = tmp_path / "secret-folder" / "large.safetensors"
    save_network(model, Card("large", config, Preprocess(64, 64), ("cup", "ladder", "kiwi")), file)
    assert file.stat().st_size > SIZE
    with pytest.raises(WeightsError, match="`vggviz serve --weights FILE` opens a file of an"):
        OwnNetwork.admit(file)
    return file


def test_a_large_file_is_served(large: Path, tmp_path: Path) -> None:
    with served(tmp_path, (*SERVE, "--weights", str(large))) as server:
        with urllib.request.urlopen(f"{server.address}/config") as answer:
            config = answer.read().decode()
        assert json.dumps("large.safetensors") in config
        assert "secret-folder" not in config
        client = Client(server.address, verbose=False)
        asked = {"image": handle_file(str(KOALA)), "api_name": "/explain"}
        told = client.predict(weights="large.safetensors", attention="se", **asked)
        assert told["target"]["label"] in ("cup", "ladder", "kiwi")
        assert told["provenance"]["fingerprint"] == fingerprint(large)
        assert "secret-folder" not in json.dumps(told)
        told = client.predict(weights="everyday", attention="cbam", **asked)
        assert told["target"]["label"] == "koala"


def test_the_bundled_networks_stand_behind_it(large: Path) -> None:
    networks, notice = load_networks(str(large))
    assert list(networks.choices) == ["large.safetensors", *load_networks("")[0].choices]
    assert notice == ""
    same_name = large.rename(large.with_name("everyday.safetensors"))
    assert list(load_networks(str(same_name))[0].choices)[:2] == [
        "everyday.safetensors",
        "everyday",
    ]


def test_what_can_not_be_served_is_one_sentence(tmp_path: Path) -> None:
    broken, pickled = tmp_path / "broken.safetensors", tmp_path / "model.pth"
    broken.write_bytes(b"abc")
    torch.save({}, pickled)
    for path, message in (
        (broken, "broken.safetensors is not a whole safetensors file"),
        (pickled, r"model\.pth is a PyTorch checkpoint .*; it is not opened"),
        (tmp_path / "absent.safetensors", "no weights file absent.safetensors"),
        (
            "tiny51",
            r"VGGVIZ_PRELOAD must be one of everyday, .*, or a \.safetensors file, not",
        ),
        (tmp_path, "is a folder: give the .safetensors file that is in it"),
    ):
        with pytest.raises(SettingsError, match=message):
            load_networks(str(path))
    done = subprocess.run(
        [sys.executable, *SERVE, "--weights", str(broken)],
        env={**os.environ, **OFFLINE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "vggviz: broken.safetensors is not a whole safetensors file\n"
