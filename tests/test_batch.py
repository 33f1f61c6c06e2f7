"""Many pictures on a real local Ray cluster of two workers: the files of a single process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vggviz import zoo
from vggviz.batch import Job, on_ray, there

pytest.importorskip("ray.data", reason="needs the extra 'ray'")
PICTURES = sorted((zoo.assets() / "examples").glob("*.jpg"))[:4]
OPTIONS = ("--sites", "block4,block5")


def explain(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "vggviz.cli", "explain", *map(str, words), *OPTIONS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_ray_writes_what_a_single_process_writes(tmp_path: Path) -> None:
    folder, alone, spread = (tmp_path / name for name in ("in", "alone", "spread"))
    folder.mkdir()
    for picture in PICTURES:
        shutil.copy(picture, folder)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    first = explain(folder, "--out", alone, code=1)
    # One was done before the run was stopped, and one half: its picture is missing.
    spread.mkdir()
    kept, half = PICTURES[0].stem, PICTURES[1].stem
    for suffix in ("json", "npz", "png"):
        (spread / f"{kept}.{suffix}").write_bytes(b"kept")
    (spread / f"{half}.json").write_bytes(b"half")
    second = explain(folder, "--out", spread, "--engine", "ray", "--workers", 2, code=1)
    assert "1 of 5 pictures were explained already" in second.stdout
    assert "3 pictures explained by 2 workers" in second.stdout
    assert "broken.png" in second.stderr
    assert "1 of 4 pictures could not be explained" in second.stderr
    assert {f.name for f in spread.iterdir()} == {f.name for f in alone.iterdir()}
    assert len(list(spread.iterdir())) == 3 * len(PICTURES)
    assert (spread / f"{kept}.json").read_bytes() == b"kept"
    for picture in PICTURES[1:]:
        one, other = (json.loads((f / f"{picture.stem}.json").read_text()) for f in (alone, spread))
        assert [t["label"] for t in one["top"]] == [t["label"] for t in other["top"]]
        assert one["provenance"] == other["provenance"]
        with (
            np.load(alone / f"{picture.stem}.npz") as mine,
            np.load(spread / f"{picture.stem}.npz") as others,
        ):
            assert set(mine) == set(others)
            for key in mine:
                np.testing.assert_allclose(mine[key], others[key], atol=1e-4, err_msg=key)
        assert f"{picture.name}: {one['top'][0]['label']}" in first.stdout
        assert f"{picture.name}: {one['top'][0]['label']}" in second.stdout


def test_nothing_left_to_do_starts_no_cluster(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    assert list(on_ray(Job(str(tmp_path)), {})) == []
    assert not ray.is_initialized()
    with pytest.raises(ValueError, match="at least 1 worker, not 0"):
        list(on_ray(Job(str(tmp_path)), {PICTURES[0]: "a"}, 0))


def test_only_whole_results_are_there(tmp_path: Path) -> None:
    for suffix in ("json", "npz"):
        (tmp_path / f"cat.{suffix}").touch()
        assert not there(tmp_path, "cat")
    (tmp_path / "cat.png").touch()
    assert there(tmp_path, "cat")
    assert not there(tmp_path, "dog")
