"""The Hugging Face Hub: push, load, offline, refusals; against a stand-in on this machine."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hub import TOKEN, Hub, Repo
from huggingface_hub import ModelCard, constants
from safetensors.torch import save
from strangers import pickles
from typer.testing import CliRunner

from vggviz import Explainer
from vggviz.cli import app
from vggviz.images import Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.weights import (
    Card,
    WeightsError,
    assets_folder,
    load_network,
    push_to_hub,
    read_backbone,
    save_network,
)
from vggviz.weights.hub import parse
from vggviz.weights.publish import model_card

CONFIG = NetworkConfig(
    attention="eca", head="gap", architecture="vgg19_bn", width=0.125, num_classes=3
)
FACTS = {  # as `run_training` writes them
    "data": "my pictures",
    "train_pictures": 12,
    "validation_pictures": 4,
    "validation": {"top1": 0.75, "top5": 1.0},
    "recipe": {"epochs": 2},
    "licence": "Apache-2.0",
    "history": [{"loss": 1.0}],
}
CARD = Card("own", CONFIG, Preprocess(64, 64), ("cat", "dog", "eel"), facts=FACTS)
EXAMPLES = assets_folder() / "examples"
# huggingface_hub uses a name of its HTTP library that is going away.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "own.safetensors"
    save_network(build_network(CONFIG, torch.Generator().manual_seed(0)), CARD, file)
    return file


def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "another"))


def assert_same(one: Network, other: Network) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_push_then_load(hub: Hub, file: Path) -> None:
    assert push_to_hub("user/own", file) == f"{hub.url}/user/own"
    repo = hub.repos["user/own"]
    assert not repo.private
    assert len(repo.commits) == 1
    assert set(repo.commits[0]) == {"model.safetensors", "config.json", "README.md"}
    assert repo.commits[0]["model.safetensors"] == file.read_bytes()
    assert Card.from_json(json.loads(repo.commits[0]["config.json"])).facts == FACTS
    assert not any(server == "store" and token for server, *_, token in hub.asked)
    hub.asked.clear()
    model, card = load_network("hf:user/own")
    whole, local = load_network(file)
    assert_same(model, whole)
    assert card == replace(local, weights="hf:user/own")
    asked = {path.rpartition("/")[2] for server, _, path, _ in hub.asked if server == "hub"}
    assert asked == {"model.safetensors"}  # no other file, pickled or not
    assert not any(server == "store" and token for server, *_, token in hub.asked)


def test_an_explainer_takes_the_attention_from_the_hub(hub: Hub, file: Path) -> None:
    push_to_hub("user/own", file)
    explainer = Explainer.load(weights="hf:user/own")
    assert explainer.card.config.attention == "eca"
    found = explainer.explain(EXAMPLES / "koala.jpg", "block5")
    assert found.provenance["weights"] == "hf:user/own"
    assert found.provenance["fingerprint"] == load_network(file)[1].fingerprint
    with pytest.raises(ValueError, match="hf:user/own holds 'eca', not 'cbam'"):
        Explainer.load("hf:user/own", "cbam")


def test_a_second_push_is_one_more_commit_and_revisions_stay(hub: Hub, file: Path) -> None:
    push_to_hub("user/own", file)
    first = load_network(file)[0]
    sha = hub.repos["user/own"].sha(0)
    assert_same(load_network("hf:user/own")[0], first)
    second = build_network(CONFIG, torch.Generator().manual_seed(7))
    save_network(second, CARD, file)
    hub.repos["user/own"].commit({"pytorch_model.bin": b"someone else's"})
    push_to_hub("hf:user/own", file)
    assert len(hub.repos["user/own"].commits) == 3
    assert "pytorch_model.bin" in hub.repos["user/own"].commits[-1]
    assert_same(load_network("hf:user/own")[0], load_network(file)[0])
    assert_same(load_network(f"hf:user/own@{sha}")[0], first)
    assert load_network(f"hf:user/own@{sha}")[1].weights == f"hf:user/own@{sha}"
    with pytest.raises(WeightsError, match="user/own has no revision 'v2'"):
        load_network("hf:user/own@v2")


def test_offline_the_cached_copy_is_loaded(
    hub: Hub, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to_hub("user/own", file)
    load_network("hf:user/own")
    hub.stop()
    model, card = load_network("hf:user/own")
    assert_same(model, load_network(file)[0])
    assert card.fingerprint == load_network(file)[1].fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        load_network("hf:user/own")
    fresh_cache(tmp_path, monkeypatch)
    with pytest.raises(WeightsError) as caught:
        load_network("hf:user/own")
    assert str(caught.value) == (
        "hf:user/own is not on this machine, and the Hub could not be reached; weights 'everyday' "
        "need no network"
    )
    with pytest.raises(WeightsError, match="not pushed: the Hub could not be reached"):
        push_to_hub("user/own", file)


def test_a_hub_in_trouble_is_as_good_as_none(
    hub: Hub, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to_hub("user/own", file)
    load_network("hf:user/own")
    hub.status = 501
    load_network("hf:user/own")
    fresh_cache(tmp_path, monkeypatch)
    with pytest.raises(WeightsError, match="and the Hub answered with status 501; weights"):
        load_network("hf:user/own")
    with pytest.raises(WeightsError, match="not pushed: the Hub answered with status 501"):
        push_to_hub("user/own", file)


def test_a_repository_with_a_pickle_alone_is_refused(hub: Hub) -> None:
    evil = {"pytorch_model.bin": pickle.dumps({"a": 1}), "model.pkl": b"", "config.json": b"{}"}
    hub.repos["user/evil"] = Repo(commits=[evil])
    with pytest.raises(WeightsError, match=r"user/evil holds no model\.safetensors, and noth"):
        load_network("hf:user/evil")
    assert not any(path.endswith((".bin", ".pkl")) for _, _, path, _ in hub.asked)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"a": 1}), r"^hf:user/odd: model\.safetensors is not a whole safetens"),
        (b"", r"^hf:user/odd: model\.safetensors is not a whole safetens"),
        (save({"a": torch.zeros(1)}), "not written by vggviz"),
        (save({"a": torch.zeros(1)}, {"vggviz": "{"}), "description in .* can't be read"),
        (save({"a": torch.zeros(1)}, {"vggviz": json.dumps(CARD.to_json())}), "does not fit its"),
    ],
    ids=["pickle", "empty", "foreign", "no card", "misfit"],
)
def test_what_is_not_ours_is_refused(hub: Hub, content: bytes, message: str) -> None:
    hub.repos["user/odd"] = Repo(commits=[{"model.safetensors": content}])
    with pytest.raises(WeightsError, match=message):
        load_network("hf:user/odd")


def test_a_repository_that_may_not_be_seen(
    hub: Hub, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to_hub("user/own", file, private=True)
    assert hub.repos["user/own"].private
    assert load_network("hf:user/own")[1].labels == ("cat", "dog", "eel")
    with pytest.raises(WeightsError, match="there is no repository user/none on the Hub, or"):
        load_network("hf:user/none")
    hub.repos["user/gated"] = Repo(gated=True, commits=hub.repos["user/own"].commits)
    with pytest.raises(WeightsError, match="user/gated is gated: ask for access on its page"):
        load_network("hf:user/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(WeightsError, match="there is no repository user/own on the Hub, or th"):
        load_network("hf:user/own")
    before = len(hub.repos["user/own"].commits)
    with pytest.raises(WeightsError, match=r"not pushed: .* token"):
        push_to_hub("user/own", file)
    push_to_hub("user/own", file, token=TOKEN)
    assert len(hub.repos["user/own"].commits) == before + 1
    with pytest.raises(WeightsError, match=r"not pushed: .* token is not allowed"):
        push_to_hub("others/own", file, token=TOKEN)


def test_what_should_be_private_is_not_pushed_to_a_public_repository(hub: Hub, file: Path) -> None:
    hub.repos["user/own"] = Repo()
    with pytest.raises(WeightsError, match="exists and is public: nothing was uploaded"):
        push_to_hub("user/own", file, private=True)
    assert hub.repos["user/own"].commits == []
    assert hub.store == {}


def test_the_command_says_where_it_is_or_why_not(hub: Hub, file: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["push", "user/own", str(file), "--private"])
    assert (done.exit_code, done.stdout) == (0, f"{hub.url}/user/own\n")
    assert hub.repos["user/own"].private
    hub.repos["user/own"].private = False
    done = runner.invoke(app, ["push", "user/own", str(file), "--private"])
    assert done.exit_code == 2
    assert done.stderr == "vggviz: user/own exists and is public: nothing was uploaded\n"


def test_a_broken_copy_in_the_cache_is_named(hub: Hub, file: Path) -> None:
    push_to_hub("user/own", file)
    load_network("hf:user/own")
    (copy,) = Path(constants.HF_HUB_CACHE).rglob("model.safetensors")
    blob = copy.resolve()
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(WeightsError) as caught:
        load_network("hf:user/own")
    assert str(caught.value) == (
        f"hf:user/own: model.safetensors is not a whole safetensors file (the copy here is {copy})"
    )


def test_a_download_that_breaks_off_leaves_nothing(
    hub: Hub, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to_hub("user/own", file)
    monkeypatch.setattr("time.sleep", lambda _: None)  # it waits before it tries again
    hub.cut = True
    with pytest.raises(WeightsError, match="not on this machine, and the Hub could not be rea"):
        load_network("hf:user/own")
    hub.cut = False
    assert_same(load_network("hf:user/own")[0], load_network(file)[0])


def test_a_full_disk_is_said(hub: Hub, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push_to_hub("user/own", file)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(WeightsError, match="user/own could not be stored: No space left on dev"):
        load_network("hf:user/own")


def test_only_what_loads_is_pushed(hub: Hub, file: Path) -> None:
    for content, message in (
        (file.read_bytes()[:-4], "not a whole safetensors file"),
        (pickle.dumps({}), "not a whole safetensors file"),
        (save({"a": torch.zeros(1)}, {"vggviz": json.dumps(CARD.to_json())}), "does not fit its"),
    ):
        bad = file.with_name("bad.safetensors")
        bad.write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            push_to_hub("user/own", bad)
    with pytest.raises(WeightsError, match=r"no weights file absent\.safetensors"):
        push_to_hub("user/own", file.with_name("absent.safetensors"))
    with pytest.raises(WeightsError, match="pushed to the branch main, not to 'v1'"):
        push_to_hub("user/own@v1", file)
    assert hub.asked == []


def test_adapters_travel_where_their_backbone_is_known_by_name(
    hub: Hub, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_network(file)[0]
    on_a_file = file.with_name("adapter.safetensors")
    save_network(model, replace(CARD, backbone=read_backbone(file)), on_a_file)
    with pytest.raises(WeightsError) as caught:
        push_to_hub("user/own", on_a_file)
    assert str(caught.value).startswith(
        "adapter.safetensors is an adapter on the file own.safetensors, which would not travel"
    )
    assert hub.asked == []
    hub.repos["user/own"] = Repo(commits=[{"model.safetensors": on_a_file.read_bytes()}])
    with pytest.raises(WeightsError, match=r"a file beside it, and on the Hub there is none"):
        load_network("hf:user/own")

    bundled = tmp_path / "assets" / "weights" / "everyday-eca.safetensors"
    bundled.parent.mkdir(parents=True)
    bundled.write_bytes(file.read_bytes())
    monkeypatch.setattr("vggviz.weights.bundle.assets_folder", lambda: tmp_path / "assets")
    save_network(model, replace(CARD, backbone=read_backbone("everyday", "eca")), on_a_file)
    push_to_hub("user/small", on_a_file)
    assert_same(load_network("hf:user/small")[0], model)
    readme = hub.repos["user/small"].commits[0]["README.md"].decode()
    assert "adapter: it holds what differs from the weights `everyday (eca)`" in readme


@pytest.mark.parametrize(
    "name",
    [
        "", "user", "/repo", "user/", "a/b/c", "../repo", "user/..", "./repo", "user/re po",
        "user/repo/../../x", "http://x/y", "user/a--b", "user/-repo", "user/repo.git", "user/r\0o",
        "user/repo\n", "user\\repo", "user/" + "a" * 97, "user/répo", "%2e%2e/repo", "user/repo?x",
    ],
)  # fmt: skip
def test_hostile_names_are_refused_before_anything_is_asked(
    hub: Hub, file: Path, name: str
) -> None:
    for call in (lambda: load_network(f"hf:{name}"), lambda: push_to_hub(name, file)):
        with pytest.raises(WeightsError, match=r"no repository .*: one on the Hub is called u"):
            call()
    assert hub.asked == []


@pytest.mark.parametrize(
    "revision", ["", "..", "../x", "a/../b", "a//b", "-x", "a b", "x\n", "a@b"]
)
def test_hostile_revisions_are_refused(hub: Hub, revision: str) -> None:
    with pytest.raises(WeightsError, match="no revision"):
        load_network(f"hf:user/repo@{revision}")
    assert hub.asked == []


def test_names_that_the_hub_has() -> None:
    assert parse("hf:user/repo") == ("user/repo", "main")
    assert parse("hf:A-b/c.d_e-1@refs/pr/3") == ("A-b/c.d_e-1", "refs/pr/3")
    assert parse("hf:u/r@v1.0") == ("u/r", "v1.0")


def test_the_page_says_what_the_card_knows() -> None:
    text = str(model_card("user/own", CARD))
    front = ModelCard(text).data.to_dict()
    assert front["license"] == "apache-2.0"
    assert (front["library_name"], front["pipeline_tag"]) == ("vggviz", "image-classification")
    assert {"vgg19", "attention", "grad-cam"} <= set(front["tags"])
    assert 'Explainer.load(weights="hf:user/own")' in text
    _, accuracy, told, _ = re.split("^## (?:Accuracy|Data and recipe|Limits)$", text, flags=re.M)
    assert accuracy.strip().split("\n") == [
        "- `validation_pictures`: `4`", '- `validation`: `{"top1": 0.75, "top5": 1.0}`',
    ]  # fmt: skip
    assert "validation" not in told
    assert '- `recipe`: `{"epochs": 2}`' in told
    assert "history" not in text
    assert "`eca` attention at block1, block2" in text
    assert "Classes: `cat`, `dog`, `eel`" in text


def test_the_page_takes_no_text_for_markup() -> None:
    facts = {"licence": 'mine: "all"\n---\nlicense: mit', "data": "`x`\n---\n# Title", "a\n`b": 1}
    text = str(model_card("user/own", replace(CARD, facts=facts, labels=("a\n\n# b", "`c`", "d"))))
    front = ModelCard(text).data.to_dict()
    assert (front["license"], front["license_name"]) == ("other", facts["licence"])
    assert text.count("\n# ") == 1
    assert text.count("\n---\n") == 1
    assert "- `data`: `'x' --- # Title`" in text
    assert "Classes: `a # b`, `'c'`, `d`" in text
    bare = str(model_card("user/own", replace(CARD, facts={}, trained="backbone")))
    assert "license: unknown" in bare
    assert "Not measured." in bare
    assert "The attention is untrained: it is blended in with γ = 0. It knows its 3" in bare


def test_the_hub_library_is_loaded_only_where_it_is_needed() -> None:
    code = (
        "import sys; from vggviz.weights import list_weights; list_weights()\n"
        "print('huggingface_hub' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_push_and_explain_as_a_person_types_it(hub: Hub, file: Path, tmp_path: Path) -> None:
    """In processes of their own, with nothing but the environment to lead them to the stand-in."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }

    def vggviz(*words: object) -> str:
        command = [sys.executable, "-m", "vggviz.cli", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert vggviz("push", "user/own", file).strip() == f"{hub.url}/user/own"
    explain = ["explain", EXAMPLES / "koala.jpg", "--weights", "hf:user/own", "--stages", "block5"]
    vggviz(*explain, "--out", tmp_path / "out")
    hub.stop()
    vggviz(*explain, "--out", tmp_path / "again")
    for name in ("out", "again"):
        told = json.loads((tmp_path / name / "koala.json").read_text())
        assert (told["weights"], told["attention"]) == ("hf:user/own", "eca")


def test_code_in_a_repository_is_never_run(hub: Hub, tmp_path: Path) -> None:
    canary = tmp_path / "dead"
    for number, content in enumerate(pickles(canary).values()):
        repo = f"user/evil{number}"
        hub.repos[repo] = Repo(commits=[{"model.safetensors": content, "model.pt": content}])
        with pytest.raises(WeightsError, match="is not a whole safetensors file"):
            load_network(f"hf:{repo}")
    assert not canary.exists()


def test_a_file_that_is_too_large_is_not_fetched(
    hub: Hub, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to_hub("user/own", file)
    monkeypatch.setattr("vggviz.weights.hub.MOST", file.stat().st_size)
    load_network("hf:user/own")
    monkeypatch.setattr("vggviz.weights.hub.MOST", file.stat().st_size - 1)
    hub.asked.clear()
    with pytest.raises(WeightsError, match=r"^the model\.safetensors of user/own has 0\.0 GB"):
        load_network("hf:user/own")
    assert not any(server == "store" for server, *_ in hub.asked)
