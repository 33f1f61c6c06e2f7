"""Real faults: a full disk, folders that can't be written, SIGKILL, no network, two at a time.

Disks and mounts are real where this runs as root on Linux; elsewhere those tests are skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
import torch
from gradio_client import Client, handle_file
from hub import Hub, Repo
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from served import PATIENT, ROOT, served
from typer.testing import CliRunner

from vggviz.cli import app
from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.networks import NetworkConfig, build_network
from vggviz.weights import Card, WeightsError, assets_folder, load_network, read_card, save_network

KOALA = assets_folder() / "examples" / "koala.jpg"
CONFIG = NetworkConfig(
    attention="se", head="gap", architecture="vgg19_bn", width=0.125, num_classes=3
)
CARD = Card("mine", CONFIG, Preprocess(64, 64), ("cup", "ladder", "kiwi"))
# huggingface_hub uses a name of its HTTP library that is going away.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.slow,
]
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def saved(file: Path, seed: int = 0) -> Path:
    save_network(build_network(CONFIG, torch.Generator().manual_seed(seed)), CARD, file)
    return file


def commands(*lines: list[str], before: tuple[str, ...], cwd: Path) -> list[tuple[str, Any]]:
    """What each of these commands said on stderr, and its exit code; they run one after the other
    in one process, which `before` starts."""
    code = (
        "import contextlib, io, json, sys\n"
        "from vggviz.cli import app\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as told:\n"
        "        code = app(words, standalone_mode=False)\n"
        "    print(json.dumps({'said': told.getvalue(), 'code': code}))\n"
    )
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    env |= {"HF_HOME": f"{cwd}/hf", "TORCH_HOME": f"{cwd}/torch", "PYTHONPATH": str(ROOT)}
    env |= {"HOME": str(cwd), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*before, sys.executable, "-c", code, json.dumps(lines)]
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [(one["said"], one["code"]) for one in found]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount something at a folder of this name; unmounted at the end."""
    mounted: list[Path] = []

    def mount(name: str, *how: str) -> Path:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        if not shutil.which("mount") or os.geteuid():
            pytest.skip("only root on Linux may mount")
        done = subprocess.run(["mount", *how, str(place)], capture_output=True)
        if done.returncode:
            pytest.skip(f"may not mount: {done.stderr.decode().strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in reversed(mounted):
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def small_disk(mount: Callable[..., Path]) -> Path:
    """A disk of 1 MB."""
    return mount("disk", "-t", "tmpfs", "-o", "size=1m", "none")


class TestAFullDisk:
    def test_weights_stay_as_they_were(self, small_disk: Path) -> None:
        file = saved(small_disk / "mine.safetensors")
        before = file.read_bytes()
        assert len(before) > 500_000  # so a second one does not fit
        with pytest.raises(OSError, match="No space left on device"):
            saved(file, seed=1)
        assert file.read_bytes() == before
        assert list(small_disk.iterdir()) == [file]
        load_network(file)

    def test_the_command_names_each_picture_and_leaves_no_half_file(self, small_disk: Path) -> None:
        (small_disk / "filler").write_bytes(bytes(1_030_000))
        out = small_disk / "out"
        done = CliRunner().invoke(app, ["explain", str(KOALA), "--out", str(out)])
        assert done.exit_code == 1
        assert "koala.jpg: [Errno 28] No space left on device" in done.stderr
        assert "1 of 1 pictures could not be explained" in done.stderr
        assert not [file for file in out.glob("*") if file.name != "koala.json"]

    def test_an_upload_is_refused_and_the_page_goes_on(
        self, small_disk: Path, tmp_path: Path
    ) -> None:
        with served(tmp_path, env={"GRADIO_TEMP_DIR": str(small_disk)}) as server:
            large = {"files": ("my-sister.png", bytes(2_000_000))}
            upload = f"{server.address}/gradio_api/upload"
            refused = httpx.post(upload, files=large, **PATIENT)
            assert refused.status_code == 507
            assert refused.text.startswith("The server has no room for uploads now")
            client = Client(server.address, verbose=False, httpx_kwargs={**PATIENT})
            for part in small_disk.glob("tmp*"):  # a minute later, when more is refused
                os.utime(part, (0, 0))
            assert httpx.post(upload, files=large, **PATIENT).status_code == 507
            assert len(list(small_disk.glob("tmp*"))) <= 1
            for part in small_disk.glob("tmp*"):
                part.unlink()
            told = client.predict(image=handle_file(str(KOALA)), api_name="/explain")
            assert told["target"]["label"] == "koala"
            assert "Traceback" not in server.printed()
            assert "sister" not in server.printed()

    def test_computed_views_are_said_to_have_no_room(self, small_disk: Path) -> None:
        pytest.importorskip("accelerate", reason="needs the extra 'train'")
        from vggviz.training import TrainError
        from vggviz.training.inputs import _on_disk

        file = small_disk / "cache" / "view.npy"
        with pytest.raises(TrainError) as refused:
            _on_disk(file, iter(torch.zeros(4, 1, 1, 1024, 1024)), 4)
        assert str(refused.value) == (
            f"the folder {file.parent} can't keep computed views (No space left on device): give "
            "another one (--cache), or compute none (--views 0)"
        )
        assert list(file.parent.iterdir()) == []
        small = torch.rand(3, 2, 4, 4)
        for dtype in (torch.float32, torch.bfloat16):
            wanted = small.to(dtype)
            file = file.with_name(f"{dtype}.npy")
            assert torch.equal(_on_disk(file, wanted.split(2), 3), wanted)
            found = _on_disk(file, iter(()), 3)  # from the file
            assert found.dtype == dtype
            assert torch.equal(found, wanted)
            del found  # its map would keep the disk busy


class TestFoldersThatCanNotBeWritten:
    def test_to_someone_without_the_right(self) -> None:
        if os.geteuid() or not shutil.which("setpriv"):
            pytest.skip("only root may be someone else")
        probe = [*NOBODY, sys.executable, "-c", "import vggviz.cli"]
        if subprocess.run(probe, cwd=ROOT, capture_output=True).returncode:
            pytest.skip("someone else may not run this Python, whose folder is closed to others")
        explain, data = ["explain", str(KOALA), "--out", "."], ["data", "tiny-imagenet"]
        with TemporaryDirectory() as folder:  # pytest's own are closed to others
            mine = Path(folder)
            mine.chmod(0o755)
            (first, code), (second, other) = commands(explain, data, before=NOBODY, cwd=mine)
            assert list(mine.iterdir()) == []
        assert f"koala.jpg: [Errno 13] Permission denied: '{mine}" in first
        assert "1 of 1 pictures could not be explained" in first
        assert second.startswith(f"vggviz: {mine}/tiny-imagenet-200.zip.part: this file cannot be")
        assert second.endswith("written (Permission denied)\n")
        assert [code, other] == [1, 2]

    def test_a_file_in_the_folders_place(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken = tmp_path / "home"
        taken.write_text("no folder")
        hub.repos["user/own"] = Repo(commits=[{"model.safetensors": b"never asked for"}])
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(taken / "hub"))
        monkeypatch.setenv("TORCH_HOME", str(taken))
        monkeypatch.setattr(torch.hub, "_hub_dir", None)
        with pytest.raises(WeightsError, match=r"^user/own could not be stored: "):
            load_network("hf:user/own")
        with pytest.raises(WeightsError, match=r"downloaded \(Not a directory\); put a copy at"):
            load_network("imagenet")
        assert taken.read_text() == "no folder"

    def test_a_cache_that_became_read_only_still_gives_what_it_has(
        self, hub: Hub, tmp_path: Path, mount: Callable[..., Path]
    ) -> None:
        content = saved(tmp_path / "own.safetensors").read_bytes()
        hub.repos["user/own"] = Repo(commits=[{"model.safetensors": content}])
        before = load_network("hf:user/own")[1]
        cache = mount("cache", "--bind", "-o", "ro", constants.HF_HUB_CACHE)
        with pytest.raises(OSError, match="Read-only"):
            (cache / "x").touch()
        assert load_network("hf:user/own")[1] == before
        hub.repos["user/own"].commit({"model.safetensors": content + b"new"})
        with pytest.raises(WeightsError, match=r"could not be stored: Read-only file system$"):
            load_network("hf:user/own")
        hub.stop()
        assert load_network("hf:user/own")[1] == before


class TestWeightsThatGo:
    USE = (
        "import sys\n"
        "from pathlib import Path\n"
        "from vggviz import Explainer\n"
        "file = Path(sys.argv[1])\n"
        "explainer = Explainer.load(file)\n"
        "before = explainer.explain(sys.argv[2]).to_json()\n"
        "explainer = Explainer.load(file)\n"
        "file.write_bytes(b'')\n"
        "file.unlink()\n"
        "print(explainer.explain(sys.argv[2]).to_json() == before)\n"
    )

    def test_a_network_that_is_loaded_needs_its_file_no_more(self, tmp_path: Path) -> None:
        """One in float32, which could be used where it lies: cut off, and then removed."""
        file = saved(tmp_path / "mine.safetensors")
        told = {"vggviz": json.dumps(read_card(file).to_json())}
        wide = {k: v.float() if v.is_floating_point() else v for k, v in load_file(file).items()}
        save_file(wide, file, told)
        command = [sys.executable, "-c", self.USE, str(file), str(KOALA)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr

    def test_a_bundled_file_that_is_gone_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(assets_folder() / "weights", tmp_path / "weights")
        monkeypatch.setattr("vggviz.weights.bundle.assets_folder", lambda: tmp_path)
        Explainer.load("everyday", "se")
        (tmp_path / "weights" / "everyday-eca.safetensors").unlink()
        with pytest.raises(WeightsError, match=r"for attention 'eca' yet: choose one of none"):
            Explainer.load("everyday", "eca")
        (tmp_path / "weights" / "everyday-none.safetensors").unlink()
        with pytest.raises(WeightsError, match="needs the backbone everyday, which this copy"):
            Explainer.load("everyday", "se")


DATA = bytes(range(256)) * 8000


class Slow(BaseHTTPRequestHandler):
    """Gives DATA, from where it is asked to, in 20 pieces over two seconds."""

    asked: list[str]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted or "")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        for place in range(start, len(DATA), len(DATA) // 20):
            self.wfile.write(DATA[place : place + len(DATA) // 20])
            time.sleep(0.1)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that was killed is no news."""


COMMAND = "from vggviz.cli.data import data; data('tiny-imagenet', Path(sys.argv[1]))"
FETCH = (
    "from vggviz.data.download import fetch; fetch(ARCHIVES['tiny-imagenet'], Path(sys.argv[1]))"
)


@pytest.fixture
def slow() -> Iterator[tuple[list[str], Callable[..., Any]]]:
    """The Range headers that a slow server was sent, and what starts a process that fetches from
    it into a folder: by the command, or by the function alone, which is there sooner."""
    asked: list[str] = []
    with _Server(("127.0.0.1", 0), type("Handler", (Slow,), {"asked": asked})) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url, md5 = f"http://127.0.0.1:{server.server_address[1]}/a", hashlib.md5(DATA).hexdigest()
        archive = f"Archive('a.zip', {url!r}, {len(DATA)}, {md5!r})"
        code = (
            "import sys\nfrom pathlib import Path\n"
            "from vggviz.data.download import ARCHIVES, Archive\n"
            f"ARCHIVES['tiny-imagenet'] = {archive}\n"
        )

        def start(folder: Path, how: str = FETCH) -> Any:
            command = [sys.executable, "-c", code + how, str(folder)]
            env = {**os.environ, "no_proxy": "127.0.0.1"}
            pipe = subprocess.PIPE
            return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)

        yield asked, start
        server.shutdown()
        thread.join()


def arrived(folder: Path) -> int:
    """Bytes of what is being fetched."""
    part = folder / "a.zip.part"
    return part.stat().st_size if part.exists() else 0


def test_a_download_that_was_killed_goes_on(slow: Any, tmp_path: Path) -> None:
    asked, start = slow
    process = start(tmp_path, COMMAND)
    while arrived(tmp_path) < len(DATA) / 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = arrived(tmp_path)
    assert there < len(DATA)
    process = start(tmp_path, COMMAND)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(str(tmp_path / "a.zip"))
    assert asked == ["", f"bytes={there}-"]
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_weights_whose_download_was_killed_are_whole_the_next_time(
    hub: Hub, tmp_path: Path
) -> None:
    content = saved(tmp_path / "own.safetensors").read_bytes()
    hub.repos["user/own"] = Repo(commits=[{"model.safetensors": content}])
    cache = Path(constants.HF_HUB_CACHE)
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache)}
    env |= {"HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1"}
    hub.stuck = True
    command = [
        sys.executable,
        "-c",
        "from vggviz.weights import load_network; load_network('hf:user/own')",
    ]
    process = subprocess.Popen(command, env=env)
    while not (hub.ranges and list(cache.rglob("*.incomplete"))):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    hub.stuck = False
    card = load_network("hf:user/own")[1]
    assert card.fingerprint == hashlib.sha256(content).hexdigest()
    assert len(hub.ranges) == 2


def test_two_that_fetch_into_one_folder_do_it_once(slow: Any, tmp_path: Path) -> None:
    """Even where the first is killed half way: the second goes on from there."""
    asked, start = slow
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    pairs = [(start(folder), start(folder)) for folder in (whole, killed)]
    while not (arrived(killed) > len(DATA) / 4):
        time.sleep(0.01)
    pairs[1][0].send_signal(signal.SIGSTOP)
    pairs[1][1].send_signal(signal.SIGSTOP)
    held = arrived(killed)
    time.sleep(0.3)
    assert arrived(killed) == held
    victim, other = pairs[1]
    victim.send_signal(signal.SIGKILL)
    other.send_signal(signal.SIGCONT)
    victim.communicate()
    for process in (*pairs[0], other):
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
    for folder in (whole, killed):
        assert (folder / "a.zip").read_bytes() == DATA
        assert [file.name for file in folder.iterdir()] == ["a.zip"]
    assert len(asked) <= 3  # one for the first folder, and at most two for the other


def test_two_that_write_one_file_leave_it_whole(tmp_path: Path) -> None:
    """As two trainings do that share a cache of views."""
    pytest.importorskip("accelerate", reason="needs the extra 'train'")
    from vggviz.training.inputs import _mapped, _write

    file = tmp_path / "view.npy"
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from vggviz.training.inputs import _write\n"
        "value = torch.full((100, 2, 10, 100), 2.0)\n"
        "file = Path(sys.argv[1])\n"
        "for _ in range(100):\n"
        "    _write(file, value.split(7), 100)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(file)])
    seen: set[float] = set()
    while other.poll() is None:
        _write(file, torch.full((100, 2, 10, 100), 1.0).split(7), 100)
        for _ in range(3):
            value = _mapped(file, 100)
            assert value.min() == value.max()
            seen.add(float(value[0, 0, 0, 0]))
    assert other.returncode == 0
    assert seen == {1.0, 2.0}
    assert [file.name for file in tmp_path.iterdir()] == ["view.npy"]


def test_without_any_network(tmp_path: Path) -> None:
    """In a network namespace of its own: not even a name can be looked up."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("may not leave the network")
    explain = ["explain", str(KOALA)]
    (data, *_), (hub, *_), (imagenet, *_), (bundled, code) = commands(
        ["data", "tiny-imagenet", "--out", "data"],
        [*explain, "--weights", "hf:user/own"],
        [*explain, "--weights", "imagenet"],
        [*explain, "--out", "out", "--formats", "json"],
        before=("unshare", "-n"),
        cwd=tmp_path,
    )
    assert f"and put it at {tmp_path / 'data' / 'tiny-imagenet-200.zip'}" in data
    assert hub.startswith("vggviz: hf:user/own is not on this machine, and the Hub could not be re")
    assert "could not be downloaded ([Errno -3] Temporary failure in name resolution); " in imagenet
    assert f"put a copy at {tmp_path}/torch" in imagenet
    assert imagenet.endswith("or use weights 'everyday', which needs no network\n")
    assert all(one.count("vggviz: ") == 1 for one in (data, hub, imagenet))
    assert (bundled, code) == ("", None)
    assert (tmp_path / "out" / "koala.json").exists()
