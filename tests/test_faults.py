"""Real faults: a full disk, folders that can't be written, SIGKILL, no network, two at a time.

Disks and mounts are real where this runs as root on Linux; elsewhere those tests are skipped.
"""

from __future__ import annotations

import hashlib
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
from typing import Any

import pytest
import torch
from hub import Repo, standing_in
from safetensors.torch import load_file, save_file

from vggviz import zoo
from vggviz.explain import Explainer
from vggviz.images import Preprocess
from vggviz.vgg import VGG, VGGConfig

KOALA = zoo.assets() / "examples" / "koala.jpg"
CONFIG = VGGConfig(attention="se", head="gap", batch_norm=True, width=0.125, num_classes=3)
CARD = zoo.Card("mine", CONFIG, Preprocess(64, 64), ("cup", "ladder", "kiwi"))
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def saved(file: Path, seed: int = 0) -> Path:
    zoo.save(VGG(CONFIG, torch.Generator().manual_seed(seed)), CARD, file)
    return file


def vggviz(*words: object, before: tuple[str, ...] = (), **env: str) -> Any:
    """The command, as a person types it, in a process of its own."""
    command = [*before, sys.executable, "-m", "vggviz.cli", *map(str, words)]
    told = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env}
    return subprocess.run(command, env=told, capture_output=True, text=True, timeout=200)


def said(done: Any) -> str:
    """The one line on stderr of a command that stopped."""
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    return str(done.stderr)


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
        zoo.load(file)

    def test_the_command_names_each_picture_and_leaves_no_half_file(self, small_disk: Path) -> None:
        (small_disk / "filler").write_bytes(bytes(1_030_000))
        out = small_disk / "out"
        done = vggviz("explain", KOALA, "--out", out, "--formats", "json,png")
        assert "koala.jpg: [Errno 28] No space left on device" in said(done)
        assert "1 of 1 pictures could not be explained" in done.stderr
        assert not [file for file in out.glob("*") if file.name != "koala.json"]

    def test_computed_views_are_said_to_have_no_room(self, small_disk: Path) -> None:
        pytest.importorskip("accelerate", reason="needs the extra 'train'")
        from vggviz.train import TrainError
        from vggviz.train.views import _kept

        file = small_disk / "cache" / "view.safetensors"
        with pytest.raises(TrainError) as refused:
            _kept(file, lambda: torch.zeros(1, 1, 1024, 1024))
        assert str(refused.value) == (
            f"the cache {file.parent} can't keep computed views (No space left on device): give "
            "another folder, or none"
        )
        assert list(file.parent.iterdir()) == []
        small = _kept(file, lambda: torch.ones(1, 1, 8, 8))
        assert torch.equal(_kept(file, lambda: torch.zeros(1)), small)


class TestFoldersThatCanNotBeWritten:
    def test_to_someone_without_the_right(self, tmp_path: Path) -> None:
        if os.geteuid() or not shutil.which("setpriv"):
            pytest.skip("only root may be someone else")
        mine = tmp_path / "mine"
        mine.mkdir(mode=0o755)
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)  # pytest's own are closed to others
        done = vggviz("explain", KOALA, "--out", mine, before=NOBODY, HOME=str(tmp_path))
        assert "koala.jpg: [Errno 13] Permission denied" in said(done)
        assert list(mine.iterdir()) == []
        done = vggviz("data", "tiny-imagenet", "--out", mine, before=NOBODY, HOME=str(tmp_path))
        assert "this file cannot be written (Permission denied)" in said(done)
        assert done.stderr.count("\n") == 1

    def test_a_file_in_the_folders_place(self, tmp_path: Path, hub_env: dict[str, str]) -> None:
        (tmp_path / "home").write_text("no folder")
        taken = {"HF_HOME": str(tmp_path / "home"), "TORCH_HOME": str(tmp_path / "home")}
        done = vggviz("explain", KOALA, "--weights", "hf:user/own", **{**hub_env, **taken})
        assert "user/own could not be stored: " in said(done)
        done = vggviz("explain", KOALA, "--weights", "imagenet", **{**hub_env, **taken})
        assert "could not be downloaded (Not a directory); put a copy at" in said(done)
        assert (tmp_path / "home").read_text() == "no folder"

    def test_a_cache_that_became_read_only_still_gives_what_it_has(
        self, tmp_path: Path, mount: Callable[..., Path], hub_env: dict[str, str]
    ) -> None:
        home = tmp_path / "home"
        wanted = ("explain", KOALA, "--weights", "hf:user/own", "--sites", "block5", "--out")
        done = vggviz(*wanted, tmp_path / "one", **hub_env)
        assert done.returncode == 0, done.stderr
        mount("home", "--bind", "-o", "ro", str(home))
        with pytest.raises(OSError, match="Read-only"):
            (home / "x").touch()
        done = vggviz(*wanted, tmp_path / "two", **hub_env)
        assert done.returncode == 0, done.stderr
        one, two = (tmp_path / name / "koala.json" for name in ("one", "two"))
        assert one.read_text() == two.read_text()


@pytest.fixture
def hub_env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A stand-in for the Hub with user/own, for processes that are told of it."""
    with standing_in() as hub:
        content = saved(tmp_path / "own.safetensors").read_bytes()
        hub.repos["user/own"] = Repo(commits=[{"model.safetensors": content}])
        yield {
            **dict.fromkeys(("https_proxy", "http_proxy"), "http://127.0.0.1:9"),
            "no_proxy": "127.0.0.1",
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }


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
        told = {"vggviz": __import__("json").dumps(zoo.read_card(file).to_json())}
        wide = {k: v.float() if v.is_floating_point() else v for k, v in load_file(file).items()}
        save_file(wide, file, told)
        command = [sys.executable, "-c", self.USE, str(file), str(KOALA)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr

    def test_a_bundled_file_that_is_gone_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(zoo.assets() / "weights", tmp_path / "weights")
        monkeypatch.setattr("vggviz.zoo.bundle.assets", lambda: tmp_path)
        Explainer.load("tiny50", "se")
        (tmp_path / "weights" / "tiny50-eca.safetensors").unlink()
        with pytest.raises(zoo.WeightsError, match=r"for attention 'eca' yet: choose one of none"):
            Explainer.load("tiny50", "eca")
        (tmp_path / "weights" / "tiny50-none.safetensors").unlink()
        with pytest.raises(zoo.WeightsError, match="needs the backbone tiny50, which this copy"):
            Explainer.load("tiny50", "se")


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


@pytest.fixture
def slow() -> Iterator[tuple[list[str], Callable[[Path], Any]]]:
    """The Range headers that a slow server was sent, and what starts `vggviz data` on it."""
    asked: list[str] = []
    with _Server(("127.0.0.1", 0), type("Handler", (Slow,), {"asked": asked})) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url, md5 = f"http://127.0.0.1:{server.server_address[1]}/a", hashlib.md5(DATA).hexdigest()
        code = (
            "import sys\n"
            "from vggviz.fetch import ARCHIVES, Archive\n"
            "from vggviz.cli import app\n"
            f"ARCHIVES['tiny-imagenet'] = Archive('a.zip', {url!r}, {len(DATA)}, {md5!r})\n"
            "app(['data', 'tiny-imagenet', '--out', sys.argv[1]])\n"
        )

        def start(folder: Path) -> Any:
            command = [sys.executable, "-c", code, str(folder)]
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
    process = start(tmp_path)
    while arrived(tmp_path) < len(DATA) / 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = arrived(tmp_path)
    assert there < len(DATA)
    process = start(tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(str(tmp_path / "a.zip"))
    assert asked == ["", f"bytes={there}-"]
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


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
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    for folder in (whole, killed):
        assert (folder / "a.zip").read_bytes() == DATA
        assert [file.name for file in folder.iterdir()] == ["a.zip"]
    assert len(asked) <= 3  # one for the first folder, and at most two for the other


def test_two_that_write_one_file_leave_it_whole(tmp_path: Path) -> None:
    """As two trainings do that share a cache of views; a third reads all the while."""
    file = tmp_path / "view.safetensors"
    code = (
        "import sys, time, torch\n"
        "from pathlib import Path\n"
        "from vggviz.zoo import write_safetensors\n"
        "end = time.monotonic() + 1.5\n"
        "while time.monotonic() < end:\n"
        "    value = torch.full((200_000,), float(sys.argv[2]))\n"
        "    write_safetensors({'features': value}, {}, Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", code, str(file)]
    writers = [subprocess.Popen([*command, value]) for value in ("1", "2")]
    seen: set[float] = set()
    while any(writer.poll() is None for writer in writers):
        if file.exists():
            value = load_file(file)["features"]
            assert value.min() == value.max()
            seen.add(float(value[0]))
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen == {1.0, 2.0}
    assert [file.name for file in tmp_path.iterdir()] == ["view.safetensors"]


def test_without_any_network(tmp_path: Path) -> None:
    """In a network namespace of its own: not even a name can be looked up."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("may not leave the network")
    code = (
        "import sys\n"
        "from vggviz.cli import app\n"
        "for words in (\n"
        "    ['data', 'tiny-imagenet', '--out', 'data'],\n"
        "    ['explain', sys.argv[1], '--weights', 'hf:user/own'],\n"
        "    ['explain', sys.argv[1], '--weights', 'imagenet'],\n"
        "    ['explain', sys.argv[1], '--out', 'out', '--formats', 'json'],\n"
        "):\n"
        "    print(app(words, standalone_mode=False), file=sys.stderr)\n"
    )
    home = {"HF_HOME": str(tmp_path / "hf"), "TORCH_HOME": str(tmp_path / "torch")}
    proxies = {name for name in os.environ if name.lower().endswith("_proxy")}
    env = {**{k: v for k, v in os.environ.items() if k not in proxies}, **home}
    env["PYTHONPATH"] = str(Path(zoo.__file__).parents[2])
    command = ["unshare", "-n", sys.executable, "-c", code, str(KOALA)]
    done = subprocess.run(
        command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    data, first, hub, second, imagenet, third, fourth = done.stderr.splitlines()
    assert f"and put it at {tmp_path / 'data' / 'tiny-imagenet-200.zip'}" in data
    assert "hf:user/own is not on this machine, and the Hub could not be reached" in hub
    assert "put a copy at" in imagenet
    assert "or use weights 'tiny50', which needs no network" in imagenet
    assert [first, second, third, fourth] == ["2", "2", "2", "None"]
    assert (tmp_path / "out" / "koala.json").exists()
