"""Labelled pictures from folders and archives of both layouts."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from archives import zipped
from PIL import Image
from torchvision.datasets import ImageFolder

from vggviz.data import DataError, open_dataset, open_parts, read_crops
from vggviz.images import ImageError, Preprocess

SHARED = Path(__file__).parents[3] / "shared" / "data" / "tiny-imagenet-50.zip"
shared = pytest.mark.skipif(not SHARED.is_file(), reason="needs the shared training data")


def picture(file: Path, grey: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 32), (grey, grey, grey)).save(file)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    assert train.boxes[4].tolist() == [[2, 1, 31, 32]]  # the ends become exclusive
    assert val.targets.tolist() == [0, 1]
    assert np.asarray(val.image(0))[0, 0, 0] == 8
    with pytest.raises(
        DataError, match="no part 'test' with classes: it has the parts 'train', 'val'"
    ):
        open_dataset(root, "test")


def test_folders_with_parts(folders: Path, tmp_path: Path) -> None:
    root = tmp_path / "parted"
    root.mkdir()
    folders.rename(root / "train")
    picture(root / "val" / "cat" / "x.png", 1)
    picture(root / "val" / "dog" / "y.png", 2)
    assert len(open_dataset(root, "train")) == 15
    assert open_dataset(root, "val").targets.tolist() == [0, 1]
    for data in (root, zipped(root)):
        with pytest.raises(DataError, match="need the same classes: 'val' lacks 'eel'"):
            open_parts(data, generator=seeded())
    training, validation = open_parts(root, ["dog", "cat"], generator=seeded())
    assert training.labels == validation.labels == ("cat", "dog")
    assert (len(training), len(validation)) == (9, 2)
    picture(root / "val" / "eel" / "z.png", 3)
    picture(root / "val" / "fox" / "z.png", 3)
    with pytest.raises(DataError, match="need the same classes: 'train' lacks 'fox'"):
        open_parts(root, generator=seeded())


def test_classes_can_be_chosen(tiny: Path, folders: Path) -> None:
    part = open_dataset(folders, classes=["eel", "cat"])
    assert part.labels == ("cat", "eel")
    assert torch.bincount(part.targets).tolist() == [4, 6]
    assert open_dataset(tiny, "val", ["bee", "n01"]).wnids == ("n01", "n02")
    with pytest.raises(DataError, match="no class 'yak' in the data: it has cat, dog, eel"):
        open_dataset(folders, classes=["yak"])
    assert open_dataset(folders, classes=["cat"]).labels == ("cat",)
    with pytest.raises(DataError, match=r"at least 1 class is needed, .* has 0"):
        open_dataset(folders, classes=[])
    with pytest.raises(DataError, match=r"at least 2 classes are needed, .* has 1"):
        open_parts(folders, ["cat"], generator=seeded())


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
    pixels, kept = read_crops(dataset, Preprocess(32, 32), unreadable=told.append)
    assert len(pixels) == len(kept) == 14
    assert 4 not in kept.tolist()
    assert pixels[4, :, 0, 0].tolist() == [11, 11, 11]
    assert len(told) == 1
    assert "dog/0.png" in str(told[0])
    with pytest.raises(ImageError, match=r"dog/0\.png"):
        read_crops(dataset, Preprocess(32, 32))


def test_a_class_without_a_picture_that_can_be_read_is_an_error(folders: Path) -> None:
    for file in (folders / "dog").iterdir():
        file.write_bytes(b"no picture")
    told: list[ImageError] = []
    with pytest.raises(DataError, match="class 'dog' has no picture that can be read"):
        read_crops(open_dataset(folders), Preprocess(32, 32), unreadable=told.append)
    assert len(told) == 5


def test_a_damaged_file_in_an_archive_is_named(folders: Path) -> None:
    file = zipped(folders)
    data = bytearray(file.read_bytes())
    data[data.index(b"pets/cat/1.png") + 60] ^= 0xFF  # a stored file no longer fits its sum
    file.write_bytes(data)
    told: list[ImageError] = []
    _, kept = read_crops(open_dataset(file), Preprocess(32, 32), unreadable=told.append)
    assert len(kept) == 14
    assert [str(error) for error in told] == ["pets/cat/1.png: damaged or locked in pets.zip"]
    file.write_bytes(data[:-30])
    with pytest.raises(
        DataError, match=r"pets\.zip is neither a folder nor a zip file that is whole"
    ):
        open_dataset(file)


@pytest.mark.parametrize("pack", [False, True])
def test_class_folders_are_read_as_torchvision_reads_them(folders: Path, pack: bool) -> None:
    """The same classes, files and targets, in the same order; in a zip file as well."""
    for name in ("b.JPG", "a b/z.webp", "a/z.bmp", "a/c/y.tif", "A.jpeg", "a.d/1.png", "10.png"):
        picture(folders / "dog" / name, 1)
    for name in ("cat 2/0.png", "Cat/0.png", "éel/ß.png", "cat-1/x/y/0.png"):
        picture(folders / name, 1)
    (folders / "loose.png").write_bytes(b"beside the classes")
    judge = ImageFolder(folders)
    dataset = open_dataset(zipped(folders) if pack else folders)
    assert list(dataset.labels) == judge.classes
    start = folders.parent if pack else folders
    assert [(str(start / file), target) for file, target in zip(
        dataset.files, dataset.targets.tolist(), strict=True
    )] == judge.samples  # fmt: skip


def test_a_folder_may_be_a_link(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    for label in ("cat", "eel"):
        (tmp_path / "linked" / label).symlink_to(folders / label)
    assert (
        list(open_dataset(tmp_path / "linked").labels) == ImageFolder(tmp_path / "linked").classes
    )


def test_what_a_mac_adds_to_an_archive_is_no_class(folders: Path) -> None:
    file = zipped(folders)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("__MACOSX/pets/cat/._0.png", b"x")
    assert open_dataset(file).labels == ("cat", "dog", "eel")


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """Three classes as the authors' archive lays them out: 64×64 JPEGs, `test` without labels."""
    root = tmp_path / "inner" / "tiny-imagenet-200"
    wnids = ("n02124075", "n01443537", "n03126707")
    rows = []
    for number, wnid in enumerate(wnids):
        boxes = []
        for count in range(3):
            name = f"{wnid}_{count}.JPEG"
            jpeg(root / "train" / wnid / "images" / name, 40 * number + count)
            boxes.append(f"{name}\t{count}\t2\t62\t63\n")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("".join(boxes))
        jpeg(root / "val" / "images" / f"val_{number}.JPEG", 40 * number + 9)
        rows.append(f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t{60 + number}\n")
        jpeg(root / "test" / "images" / f"test_{number}.JPEG", 200)
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
    (root / "words.txt").write_text(
        "n00001740\tentity\nn01443537\tgoldfish, Carassius auratus\n"
        "n02124075\tEgyptian cat\nn03126707\tcrane\n"
    )
    return root


def jpeg(file: Path, grey: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (grey, grey, grey)).save(file, "JPEG", quality=95)


@pytest.mark.parametrize("form", ["folder", "the folder around it", "zip"])
def test_tiny_imagenet_as_its_authors_ship_it(shipped: Path, form: str) -> None:
    root = {"folder": shipped, "zip": zipped(shipped)}.get(form, shipped.parent)
    if form == "the folder around it":
        zipped(shipped).rename(shipped.parent / "tiny-imagenet-200.zip")  # lies beside it
    training, validation = open_parts(root, generator=seeded())
    assert training.labels == validation.labels == ("goldfish", "Egyptian cat", "crane")
    assert torch.bincount(training.targets).tolist() == [3, 3, 3]
    assert training.boxes is not None
    assert validation.boxes is not None
    assert torch.cat(training.boxes[:3]).tolist() == [[x, 2, 63, 64] for x in range(3)]
    boxes = torch.cat(validation.boxes).tolist()
    assert boxes == [[0, 32, 45, 62], [0, 32, 45, 61], [0, 32, 45, 63]]
    pixels, kept = read_crops(validation, Preprocess(64, 64))
    assert kept.tolist() == [0, 1, 2]
    assert pixels[:, 0, 5, 5].tolist() == [49, 9, 89]
    few = open_parts(root, ["crane", "n01443537"], generator=seeded())
    assert [part.wnids for part in few] == [("n01443537", "n03126707")] * 2
    assert [part.targets.tolist() for part in few] == [[0, 0, 0, 1, 1, 1], [0, 1]]


def test_two_classes_of_one_name_are_told_apart(shipped: Path) -> None:
    (shipped / "words.txt").write_text("n02124075\tcrane\nn03126707\tcrane, machine\n")
    labels = open_dataset(shipped).labels
    assert labels == ("n01443537", "crane (n02124075)", "crane (n03126707)")


def test_tiny_imagenet_whose_tables_do_not_fit_its_pictures(shipped: Path) -> None:
    def says(message: str, part: str = "val", classes: list[str] | None = None) -> None:
        with pytest.raises(DataError, match=message) as caught:
            open_dataset(shipped, part, classes)
        assert "\n" not in str(caught.value)

    val, table = shipped / "val" / "images", shipped / "val" / "val_annotations.txt"
    (val / "val_1.JPEG").rename(val / "val_7.JPEG")
    says(r"val_annotations\.txt names val/images/val_1\.JPEG, which is missing")
    lines = table.read_text()
    table.write_text(lines.replace("val_1.JPEG\tn01443537\t0\t32\t44\t61\n", ""))
    says(r"val_annotations\.txt does not name val/images/val_7\.JPEG, which is there")
    (val / "val_7.JPEG").unlink()
    says("class 'goldfish' has no pictures in the part 'val'")
    table.write_text(lines.replace("val_1", "val_0"))
    says(r"names val/images/val_0\.JPEG twice")
    table.write_text(lines.replace("\t61", "\tx"))
    says("has a line without a file and 4 whole numbers: val_1.JPEG n01443537 0 32 44 x")
    for file in (shipped / "train" / "n03126707" / "images").iterdir():
        file.unlink()
    says(r"images/n03126707_0\.JPEG, which is missing \(and 2 more like it\)", "train")
    (shipped / "train" / "n03126707").rename(shipped / "elsewhere")
    says(r"wnids\.txt names n03126707, but there is no folder train/n03126707", "train")
    chosen = open_dataset(shipped, "train", ["goldfish", "Egyptian cat"])  # needs no other class
    assert len(chosen) == 6


def test_a_fifth_of_each_class_is_set_apart_where_the_data_has_no_parts(folders: Path) -> None:
    training, validation = open_parts(folders, generator=seeded())
    assert torch.bincount(validation.targets).tolist() == [1, 1, 1]
    assert len(training) == 12
    assert not set(training.files) & set(validation.files)
    assert open_parts(folders, generator=seeded())[1].files == validation.files
    assert open_parts(folders, ["cat", "eel"], generator=seeded())[0].labels == ("cat", "eel")
    picture(folders / "fox" / "only.png", 1)
    with pytest.raises(DataError, match="class 'fox' has 1 picture and needs 2"):
        open_parts(folders, generator=seeded())


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
    (folders / "fox" / "readme.txt").unlink()  # a folder with nothing in it is a class as well
    for data in (folders, zipped(folders)):
        with pytest.raises(DataError, match="class 'fox' has no pictures"):
            open_dataset(data)
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
    boxes = torch.cat(val.boxes)
    assert len(boxes) == 1224
    assert bool((boxes[:, :2] >= 0).all())
    assert bool((boxes[:, 2:] <= 64).all())
    assert bool((boxes[:, 2:] > boxes[:, :2]).all())
    assert val.labels[val.wnids.index("n02165456")] == "ladybug"
