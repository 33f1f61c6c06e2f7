"""Labelled pictures from folders and archives of both layouts."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vggviz.data import DataError, open_dataset
from vggviz.images import ImageError, Preprocess

SHARED = Path(__file__).parent.parent.parent / "shared" / "data" / "tiny-imagenet-50.zip"
shared = pytest.mark.skipif(not SHARED.is_file(), reason="needs the shared training data")


def picture(file: Path, grey: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 32), (grey, grey, grey)).save(file)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for position, label in enumerate(("cat", "dog", "eel")):
        for number in range(4 + position):
            picture(root / label / f"{number}.png", 10 * position + number)
    (root / "cat" / "notes.txt").write_text("not a picture")
    return root


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two classes of three and two pictures in Tiny ImageNet's layout."""
    root = tmp_path / "tiny"
    boxes = {"n02": ["a", "b", "c"], "n01": ["d", "e"]}
    for wnid, names in boxes.items():
        rows = []
        for number, name in enumerate(names):
            picture(root / "train" / wnid / "images" / f"{name}.JPEG", 10 * number)
            rows.append(f"{name}.JPEG\t{number}\t1\t30\t31")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("\n".join(rows) + "\n")
    picture(root / "val" / "images" / "v0.JPEG", 7)
    picture(root / "val" / "images" / "v1.JPEG", 8)
    (root / "val" / "val_annotations.txt").write_text(
        "v1.JPEG\tn01\t0\t0\t9\t9\nv0.JPEG\tn02\t5\t6\t7\t8\n"
    )
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text("n01\tant, small\nn02\tbee\nn03\tcow\n")
    return root


def zipped(root: Path) -> Path:
    file = root.with_suffix(".zip")
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root.parent))
    return file


@pytest.mark.parametrize("pack", [False, True])
def test_class_folders(folders: Path, pack: bool) -> None:
    dataset = open_dataset(zipped(folders) if pack else folders)
    assert dataset.labels == ("cat", "dog", "eel")
    assert dataset.wnids == ()
    assert dataset.boxes is None
    assert torch.bincount(dataset.targets).tolist() == [4, 5, 6]
    assert np.asarray(dataset.image(5))[0, 0, 0] == 11  # dog 1
    with pytest.raises(DataError, match="no part 'val'"):
        open_dataset(folders, "val")


@pytest.mark.parametrize("pack", [False, True])
def test_tiny_imagenet(tiny: Path, pack: bool) -> None:
    root = zipped(tiny) if pack else tiny
    train, val = open_dataset(root, "train"), open_dataset(root, "val")
    assert train.wnids == val.wnids == ("n01", "n02")
    assert train.labels == ("ant", "bee")
    assert train.targets.tolist() == [0, 0, 1, 1, 1]
    assert train.boxes is not None
    assert train.boxes[4].tolist() == [2, 1, 31, 32]  # the ends become exclusive
    assert val.targets.tolist() == [0, 1]
    assert np.asarray(val.image(0))[0, 0, 0] == 8
    with pytest.raises(DataError, match="parts 'train' and 'val', not 'test'"):
        open_dataset(root, "test")


def test_folders_with_parts(folders: Path, tmp_path: Path) -> None:
    root = tmp_path / "parted"
    root.mkdir()
    folders.rename(root / "train")
    picture(root / "val" / "cat" / "x.png", 1)
    picture(root / "val" / "dog" / "y.png", 2)
    assert len(open_dataset(root, "train")) == 15
    assert open_dataset(root, "val").targets.tolist() == [0, 1]


def test_classes_can_be_chosen(tiny: Path, folders: Path) -> None:
    part = open_dataset(folders, classes=["eel", "cat"])
    assert part.labels == ("cat", "eel")
    assert torch.bincount(part.targets).tolist() == [4, 6]
    assert open_dataset(tiny, "val", ["bee", "n01"]).wnids == ("n01", "n02")
    with pytest.raises(DataError, match="no class 'yak' in the data: it has cat, dog, eel"):
        open_dataset(folders, classes=["yak"])
    with pytest.raises(DataError, match="at least 2 classes"):
        open_dataset(folders, classes=["cat"])


def test_a_split_keeps_every_class_and_depends_on_the_seed_alone(folders: Path) -> None:
    dataset = open_dataset(folders)
    parts = [dataset.split(0.4, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    first, second = parts[0]
    assert torch.bincount(second.targets).tolist() == [2, 2, 2]
    assert set(first.files) | set(second.files) == set(dataset.files)
    assert not set(first.files) & set(second.files)
    assert parts[1][1].files == second.files
    assert parts[2][1].files != second.files
    few = dataset.split(0.01, torch.Generator().manual_seed(0))[1]
    assert torch.bincount(few.targets).tolist() == [1, 1, 1]


def test_an_unreadable_picture_is_named_and_left_out_or_stops(folders: Path) -> None:
    (folders / "dog" / "0.png").write_bytes(b"no picture")
    dataset = open_dataset(folders)
    told: list[ImageError] = []
    pixels, kept = dataset.pixels(Preprocess(32, 32), unreadable=told.append)
    assert len(pixels) == len(kept) == 14
    assert 4 not in kept.tolist()
    assert pixels[4, :, 0, 0].tolist() == [11, 11, 11]
    assert len(told) == 1
    assert "dog/0.png" in str(told[0])
    with pytest.raises(ImageError, match=r"dog/0\.png"):
        dataset.pixels(Preprocess(32, 32))


def test_bad_data_is_said_in_one_sentence(folders: Path, tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(DataError, match="no data at"):
        open_dataset(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file is neither a folder nor a zip file"):
        open_dataset(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures found"):
        open_dataset(tmp_path / "empty")
    (folders / "fox").mkdir()
    (folders / "fox" / "readme.txt").write_text("x")
    with pytest.raises(DataError, match="class 'fox' has no pictures"):
        open_dataset(folders)
    (tiny / "words.txt").unlink()
    with pytest.raises(DataError, match=r"without its words\.txt"):
        open_dataset(tiny)


@shared
def test_the_shared_archive_is_what_its_readme_says() -> None:
    assert hashlib.sha256(SHARED.read_bytes()).hexdigest().startswith("08cdf3b71e6953b0")
    train, val = open_dataset(SHARED, "train"), open_dataset(SHARED, "val")
    assert torch.bincount(train.targets).tolist() == [500] * 50
    assert len(val) == 1224
    assert val.boxes is not None
    assert bool((val.boxes[:, :2] >= 0).all())
    assert bool((val.boxes[:, 2:] <= 64).all())
    assert bool((val.boxes[:, 2:] > val.boxes[:, :2]).all())
    assert val.labels[val.wnids.index("n02165456")] == "ladybug"
