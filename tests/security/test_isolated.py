"""Pictures decoded in children of a clean process: the same pixels, bounds, and nothing shared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pictures import encode, noise
from PIL import Image
from test_containers import jpeg_tiff

from vggviz.images import ImageError, isolated, open_image
from vggviz.images.isolated import IsolatedDecoder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


@pytest.fixture(scope="module")
def decoder() -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder()
    yield decoder
    decoder.close()


def template(decoder: IsolatedDecoder) -> int:
    """The id of the process that forks the children."""
    started = decoder._template
    assert started is not None
    return started[0].pid


def test_it_gives_what_open_image_gives(decoder: IsolatedDecoder, tmp_path: Path) -> None:
    picture = Image.fromarray(noise(90, 61))
    deep = Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64))
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"):
        data = encode(picture, kind)
        (tmp_path / "a").write_bytes(data)
        for source in (data, tmp_path / "a"):
            assert decoder.open_image(source).tobytes() == open_image(data).tobytes()
    data = encode(deep, "PNG")
    for full_range in (False, True):
        found = decoder.open_image(data, full_range=full_range)
        wanted = open_image(data, full_range=full_range)
        assert (found.tobytes(), found.info) == (wanted.tobytes(), wanted.info)
    assert decoder.open_image(picture).tobytes() == picture.tobytes()  # decoded already


def test_it_says_what_open_image_says(decoder: IsolatedDecoder, tmp_path: Path) -> None:
    whole = encode(Image.fromarray(noise(64, 48)), "PNG")
    for content in (b"", b"%PDF-1.7", whole[:99], encode(Image.new("RGB", (9, 9)), "PNG")):
        (tmp_path / "猫.png").write_bytes(content)
        with pytest.raises(ImageError) as ours:
            open_image(tmp_path / "猫.png")
        with pytest.raises(ImageError) as theirs:
            decoder.open_image(tmp_path / "猫.png")
        assert str(ours.value) == str(theirs.value)
        assert ours.value.message("zh") == theirs.value.message("zh") != str(ours.value)


def test_one_visitors_picture_is_never_in_anothers(decoder: IsolatedDecoder) -> None:
    """Rows that a file leaves out would show what the same memory held before."""
    early = jpeg_tiff(16, False)
    secret = encode(Image.new("RGB", (256, 256), (171, 205, 239)), "TIFF", compression="tiff_lzw")
    with ThreadPoolExecutor(2) as pool:
        victims = [pool.submit(decoder.open_image, secret) for _ in range(20)]
        spies = [pool.submit(decoder.open_image, early) for _ in range(20)]
    assert {victim.result().getpixel((9, 9)) for victim in victims} == {(171, 205, 239)}
    assert all("truncated or damaged" in str(spy.exception()) for spy in spies)


def test_a_template_that_died_is_replaced(decoder: IsolatedDecoder) -> None:
    data = encode(Image.fromarray(noise(64, 48)), "PNG")
    wanted = open_image(data).tobytes()
    decoder.open_image(data)
    for _ in range(2):
        first = template(decoder)
        os.kill(first, signal.SIGKILL)
        assert decoder.open_image(data).tobytes() == wanted
        assert template(decoder) != first


def test_many_at_once(decoder: IsolatedDecoder) -> None:
    files = [encode(Image.fromarray(noise(64, 48, seed=seed)), "PNG") for seed in range(30)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(decoder.open_image, files))
    assert [one.tobytes() for one in found] == [open_image(one).tobytes() for one in files]


LIMITED = """
import resource, sys, time
from vggviz.images import worker
real = worker.take_apart
def hostile(data, name):
    if name == "memory":
        return bytearray(2 << 30)
    if name == "processor":
        while True: pass
    if name == "file":
        open(sys.argv[2], "wb", buffering=0).write(b"x")
    if name == "stall":
        import signal
        signal.alarm(0)
        time.sleep(6)
    if name == "crash":
        import os; os.abort()
    return real(data, name)
worker.take_apart = hostile
worker.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
@pytest.mark.parametrize("what", ["memory", "processor", "file", "stall", "crash"])
def test_a_decoder_that_goes_wild_is_ended(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a worker whose decoder is what no known file makes of it: limits of the system hold."""
    (tmp_path / "wild.py").write_text(LIMITED)
    start = f"import json, sys; sys.argv.append({str(tmp_path / 'x')!r}); "
    start += "sys.path[:] = json.loads(sys.argv[1]); "
    start += f"exec(open({str(tmp_path / 'wild.py')!r}).read())"
    monkeypatch.setattr(isolated, "_START", start)
    if what == "stall":
        monkeypatch.setattr(isolated, "_TIMEOUT", 4)
    decoder = IsolatedDecoder()
    data = encode(Image.fromarray(noise(64, 48)), "PNG")
    (tmp_path / what).write_bytes(data)
    (tmp_path / "good.png").write_bytes(data)
    before = resource_of_children()
    with pytest.raises(ImageError, match=r"too long or too much memory|truncated or damaged"):
        decoder.open_image(tmp_path / what)
    assert resource_of_children() - before < 4
    assert not (tmp_path / "x").exists() or not (tmp_path / "x").read_bytes()
    assert decoder.open_image(tmp_path / "good.png").size == (64, 48)  # others are served
    decoder.close()


def resource_of_children() -> float:
    """Seconds of processor time of this process's children that ended."""
    times = os.times()
    return times.children_user + times.children_system


def test_others_are_served_while_one_works(decoder: IsolatedDecoder) -> None:
    """This process's own threads run on: no decoder holds the interpreter's lock."""
    large = encode(Image.effect_noise((3000, 3000), 60), "PNG", compress_level=1)
    ticks, done = [0], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    with pytest.raises(ImageError):
        decoder.open_image(large[:-100])
    done.set()
    thread.join()
    assert ticks[0] > 10


def test_the_template_ends_with_its_owner() -> None:
    code = (
        "import os, sys\n"
        "from vggviz.images.isolated import IsolatedDecoder\n"
        "decoder = IsolatedDecoder()\n"
        "decoder.open_image(sys.argv[1])\n"
        "print(decoder._template[0].pid, flush=True)\n"
        "os._exit(0)\n"  # without any clean-up
    )
    file = Path(__file__).parents[2] / "assets" / "examples"
    picture = next(file.glob("*.jpg"))
    run = subprocess.run([sys.executable, "-c", code, picture], capture_output=True, text=True)
    pid = int(run.stdout)
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and ") Z" in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the template outlived its owner")


def test_the_template_knows_no_secrets(
    decoder: IsolatedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs Linux's /proc")
    monkeypatch.setenv("VGGVIZ_PASSWORD", "chalk")
    monkeypatch.setenv("HF_TOKEN", "chalk")
    other = IsolatedDecoder()
    other.open_image(encode(Image.fromarray(noise(64, 48)), "PNG"))
    known = Path(f"/proc/{template(other)}/environ").read_bytes()
    loaded = Path(f"/proc/{template(other)}/maps").read_text()
    other.close()
    assert b"chalk" not in known
    assert "libtorch" not in loaded
