"""Many pictures on a real local Ray cluster of two workers: the files of a single process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vggviz.batch import Job, Worker, on_ray
from vggviz.weights import assets_folder

pytest.importorskip("ray.data", reason="needs the extra 'ray'")
PICTURES = sorted((assets_folder() / "examples").glob("*.jpg"))[:4]
OPTIONS = ("--stages", "block4,block5")
pytestmark = pytest.mark.ray


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
    # One was done before the run was stopped, one half, and one is another picture's.
    spread.mkdir()
    kept, half, other = (picture.stem for picture in PICTURES[:3])
    for suffix in ("npz", "png", "json"):
        shutil.copy2(alone / f"{kept}.{suffix}", spread)
        shutil.copy2(alone / f"{kept}.{suffix}", spread / f"{other}.{suffix}")
    shutil.copy2(alone / f"{half}.json", spread)
    before = {file: file.stat().st_mtime_ns for file in spread.glob(f"{kept}.*")}
    second = explain(folder, "--out", spread, "--engine", "ray", "--workers", 2, code=1)
    assert "1 of 5 pictures were explained already" in second.stdout
    assert "3 pictures explained by 2 workers" in second.stdout
    assert "broken.png" in second.stderr
    assert "1 of 4 pictures could not be explained" in second.stderr
    assert {f.name for f in spread.iterdir()} == {f.name for f in alone.iterdir()}
    assert len(list(spread.iterdir())) == 3 * len(PICTURES)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    for picture in PICTURES:
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
        assert (f"{picture.name}: {one['top'][0]['label']}" in second.stdout) == (
            picture.stem != kept
        )


def test_nothing_left_to_do_starts_no_cluster(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    assert list(on_ray(Job(str(tmp_path)), {})) == []
    assert not ray.is_initialized()
    with pytest.raises(ValueError, match="at least 1 worker, not 0"):
        list(on_ray(Job(str(tmp_path)), {PICTURES[0]: "a"}, 0))


def test_only_whole_results_of_the_same_are_there(tmp_path: Path) -> None:
    picture, out = tmp_path / "cat.jpg", tmp_path / "out"
    shutil.copy(PICTURES[0], picture)
    job = Job(str(out), attention="se", stages="block5")
    row = {"file": str(picture), "stem": "cat"}

    def there(**changes: Any) -> bool:
        return Worker(asdict(replace(job, **changes))).is_done(picture, "cat")

    assert not there()
    for formats in (("json",), ("json", "npz", "png")):
        assert not Worker(asdict(replace(job, formats=formats)))(row)["failed"]
        assert there() == (len(formats) == 3)
    assert there(formats=("json", "npz", "png"), target=None)
    for changes in (
        {"attention": "eca"},
        {"stages": "block4"},
        {"methods": ("layercam",)},
        {"target": "0"},
        {"precision": "bf16"},
        {"formats": ("png",)},  # no JSON to tell
    ):
        assert not there(**changes), changes
    shutil.copy(PICTURES[1], picture)
    assert not there()
    shutil.copy(PICTURES[0], picture)
    assert there()
    Worker(asdict(replace(job, target="0", formats=("png",))))(row)  # one of them is another's now
    assert not there()
    Worker(asdict(job))(row)
    assert there()
    (out / "cat.npz").unlink()
    assert not there()
    (out / "cat.json").write_text("[1]")  # damaged
    assert not there(formats=("json",))
    picture.unlink()
    assert not there()
