"""Boxes and masks in the layouts that people have them in, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from archives import zipped
from PIL import Image

from vggviz.data import (
    HALVES,
    DataError,
    Dataset,
    half_of,
    ignored_text,
    open_dataset,
    open_parts,
    parts_of,
    take_half,
)
from vggviz.images import ImageError

WIDTH, HEIGHT = 40, 32


def put(root: Path, *names: str) -> Path:
    """Grey pictures of 40 × 32, where the name is that of a picture; else empty files."""
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (number, number, number)).save(file)
    return root


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


def voc(file: Path, *objects: tuple[str, int, int, int, int]) -> None:
    """An XML file as VOC's authors write it: objects may have parts, which have boxes as well."""
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
    write(
        file,
        "<annotation><filename>x.jpg</filename>"
        + "".join(
            f"<object><name>{name}</name><difficult>1</difficult>{part}</bndbox></part>"
            f"<bndbox><xmax>{x1}</xmax><xmin>{x0}</xmin><ymax>{y1}</ymax><ymin>{y0}</ymin></bndbox>"
            "</object>"
            for name, x0, y0, x1, y1 in objects
        )
        + "</annotation>",
    )


def boxes(dataset: Dataset) -> dict[str, list[list[float]]]:
    """The boxes by 'label: name of the file'."""
    assert dataset.boxes is not None
    keys = zip(dataset.targets.tolist(), dataset.files, strict=True)
    return {
        f"{dataset.labels[target]}: {file.rpartition('/')[2]}": some.tolist()
        for (target, file), some in zip(keys, dataset.boxes, strict=True)
    }


def refuses(root: Path, message: str, part: str | None = None) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(root, part)
    assert "\n" not in str(caught.value)


# Class folders with Pascal VOC's XML ---------------------------------------------------------

PETS = ("cat/1.png", "cat/2.png", "dog/1.png", "dog/3.png")


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize(
    ("pictures", "xml"),
    [
        ("", ""),  # beside the pictures
        ("", "Annotations/"),
        ("images/", "annotations/"),
        ("Data/CLS-LOC/", "Annotations/CLS-LOC/"),
    ],
)
def test_class_folders_with_xml(pictures: str, xml: str, pack: bool, tmp_path: Path) -> None:
    root = put(tmp_path / "pets", *(f"{pictures}{name}" for name in PETS))
    voc(root / f"{xml}cat/1.xml", ("Cat", 1, 2, 10, 20), ("dog", 5, 5, 6, 6), ("Cat", 3, 3, 4, 4))
    voc(root / f"{xml}cat/2.xml", ("person", 1, 1, 9, 9))
    voc(root / f"{xml}dog/1.xml", ("dog", 1, 1, WIDTH, HEIGHT))
    dataset = open_dataset(zipped(root) if pack else root)
    assert dataset.labels == ("cat", "dog")
    assert boxes(dataset) == {
        "cat: 1.png": [[0, 1, 10, 20], [2, 2, 4, 4]],  # VOC counts from 1 and to the last
        "cat: 2.png": [],
        "dog: 1.png": [[0, 0, WIDTH, HEIGHT]],
        "dog: 3.png": [],
    }
    (note,) = dataset.notes
    assert note.endswith("cat/2.png and 1 more have no box of its class")
    assert ignored_text(dataset.ignored) == ""
    assert open_parts(root, generator=torch.Generator())[0].boxes is None  # nobody needs them there


def test_one_folder_of_annotations_for_unique_names(tmp_path: Path) -> None:
    """As ImageNet's validation set is kept: class folders of pictures, XML files in one."""
    root = put(tmp_path, "Data/val/n01/val_1.JPEG", "Data/val/n02/val_2.JPEG")
    voc(root / "Annotations" / "val" / "val_1.xml", ("n01", 1, 1, 5, 5))
    voc(root / "Annotations" / "val" / "val_2.xml", ("n02", 1, 1, 6, 6))
    voc(root / "Annotations" / "val" / "val_3.xml", ("n02", 1, 1, 7, 7))  # of no picture here
    dataset = open_dataset(root)
    assert boxes(dataset) == {"n01: val_1.JPEG": [[0, 0, 5, 5]], "n02: val_2.JPEG": [[0, 0, 6, 6]]}
    assert ignored_text(dataset.ignored) == "ignored: 1 .xml"


def test_parts_have_their_own_annotations(tmp_path: Path) -> None:
    root = put(tmp_path, *(f"{part}/images/{name}" for part in ("train", "val") for name in PETS))
    for part, right in (("train", 5), ("val", 6)):
        for label in ("cat", "dog"):
            voc(root / part / "annotations" / label / "1.xml", (label, 1, 1, right, 9))
    assert boxes(open_dataset(root, "val"))["cat: 1.png"] == [[0, 0, 6, 9]]
    assert boxes(open_dataset(root, "train"))["dog: 1.png"] == [[0, 0, 5, 9]]
    (root / "train" / "images" / "cat" / "1.png").unlink()  # its XML is of no other picture
    assert boxes(open_dataset(root, "val"))["cat: 1.png"] == [[0, 0, 6, 9]]


def test_names_of_another_vocabulary_are_the_picture_s_class(tmp_path: Path) -> None:
    root = put(tmp_path, "siamese/1.png", "sphynx/2.png")
    voc(root / "siamese" / "1.xml", ("cat", 1, 1, 5, 5))
    voc(root / "sphynx" / "2.xml", ("cat", 1, 1, 6, 6))
    assert boxes(open_dataset(root)) == {
        "siamese: 1.png": [[0, 0, 5, 5]],
        "sphynx: 2.png": [[0, 0, 6, 6]],
    }


def test_wrong_annotations_are_named(tmp_path: Path) -> None:
    root = put(tmp_path, *PETS)
    voc(root / "cat" / "1.xml", ("cat", 5, 5, 4, 9), ("cat", 1, 1, 90, 9))
    dataset = open_dataset(root)
    assert dataset.notes == (
        "cat/1.png has a box without area, which is left out",
        "cat/2.png and 2 more have no box of its class",
    )
    outside = r"cat/1\.png has the box 0, 0, 90, 9, which lies outside the picture of 40 × 32"
    with pytest.raises(ImageError, match=outside):
        dataset.objects(0, WIDTH, HEIGHT)
    assert dataset.objects(1, WIDTH, HEIGHT)[0].shape == (0, 4)
    write(root / "cat" / "1.xml", "<annotation><object>")
    refuses(root, r"cat/1\.xml is not XML: ")
    for text in ("", "<name>cat</name>", "<name>cat</name><bndbox><xmin>one</xmin></bndbox>"):
        write(root / "cat" / "1.xml", f"<annotation><object>{text}</object></annotation>")
        refuses(root, r"cat/1\.xml has an object without a name or without a box of 4 numbers")
    (root / "cat" / "1.xml").unlink()
    voc(root / "Annotations" / "1.xml", ("cat", 1, 1, 5, 5))
    refuses(root, r"Annotations/1\.xml could belong to (cat|dog)/1\.png and to (cat|dog)/1\.png")


# Pascal VOC without class folders ------------------------------------------------------------


@pytest.mark.parametrize("pack", [False, True])
def test_voc_in_its_own_layout(pack: bool, tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit"
    year = put(root / "VOC2012", *(f"JPEGImages/{n}.jpg" for n in range(1, 5)))
    put(year, "SegmentationClass/1.png", "SegmentationObject/1.png")
    voc(
        year / "Annotations" / "1.xml",
        ("dog", 1, 1, 5, 5),
        ("cat", 2, 2, 9, 9),
        ("dog", 7, 7, 8, 8),
    )
    voc(year / "Annotations" / "2.xml", ("cat", 1, 1, 3, 3))
    voc(year / "Annotations" / "3.xml", ("cat", 1, 1, 4, 4), ("dog", 1, 1, 4, 4))
    write(year / "ImageSets" / "Main" / "train.txt", "1\n2\n")
    write(year / "ImageSets" / "Main" / "val.txt", "3\n4\n")
    write(year / "ImageSets" / "Main" / "cat_val.txt", "3  1\n4 -1\n")
    data = zipped(root) if pack else root
    assert parts_of(data) == ("train", "val")
    dataset = open_dataset(data, "train")
    assert dataset.labels == ("cat", "dog")
    assert boxes(dataset) == {
        "cat: 1.jpg": [[1, 1, 9, 9]],
        "cat: 2.jpg": [[0, 0, 3, 3]],
        "dog: 1.jpg": [[0, 0, 5, 5], [6, 6, 8, 8]],
    }
    assert np.asarray(dataset.image(0)).tolist() == np.asarray(dataset.image(2)).tolist()
    val = open_dataset(data, "val")
    assert boxes(val) == {"cat: 3.jpg": [[0, 0, 4, 4]], "dog: 3.jpg": [[0, 0, 4, 4]]}
    (note,) = val.notes
    assert note.endswith("JPEGImages/4.jpg has no XML file, and is left out")
    with pytest.raises(DataError, match="no class 'yak' in the part 'val' of the data: it has cat"):
        open_dataset(data, "val", ["yak"])
    with pytest.raises(DataError, match="no part 'test' with classes: it has the parts 'train'"):
        open_dataset(data, "test")


def test_pictures_and_xml_side_by_side(tmp_path: Path) -> None:
    root = put(tmp_path / "exported", "train/a.jpg", "train/b.jpg", "valid/c.jpg")
    for name, label in (("train/a", "cat"), ("train/b", "dog"), ("valid/c", "dog")):
        voc(root / f"{name}.xml", (label, 1, 1, 5, 5), ("cat", 2, 2, 6, 6))
    assert parts_of(root) == ("train", "val")
    assert boxes(open_dataset(root, "val")) == {
        "cat: c.jpg": [[1, 1, 6, 6]],
        "dog: c.jpg": [[0, 0, 5, 5]],
    }
    flat = put(tmp_path / "flat", "a.jpg", "b.jpg")
    voc(flat / "a.xml", ("cat", 1, 1, 5, 5))
    voc(flat / "b.xml", ("dog", 1, 1, 5, 5))
    assert parts_of(flat) == ()
    assert open_dataset(flat).labels == ("cat", "dog")


# COCO ----------------------------------------------------------------------------------------


def coco(**changes: Any) -> dict[str, Any]:
    """Two categories in the order of the file, three pictures, of which one isn't there."""
    size = {"width": WIDTH, "height": HEIGHT}
    square = [[2, 4, 8, 4, 8, 9, 2, 9]]
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", **size} for n in (1, 2, 3)],
        "categories": [{"id": n, "name": name} for n, name in ((18, "dog"), (17, "cat"), (1, "x"))],
        "annotations": [
            annotation(1, 17, [2, 4, 6, 5], square),
            annotation(1, 17, [20.5, 10, 9.75, 3], [[20.5, 10, 30.25, 10, 30.25, 13]], iscrowd=1),
            annotation(1, 18, [0, 0, 4, 4]),
            annotation(1, 18, [2, 4, 6, 5], square),
            annotation(2, 18, [1, 1, 0, 3]),
            annotation(2, 18, [1, 1, 2, 3]),
            annotation(3, 17, [1, 1, 2, 3]),
        ],
        **changes,
    }  # fmt: skip


def annotation(image: int, category: int, box: Any, outline: Any = (), **more: Any) -> Any:
    return {"id": 7, "image_id": image, "category_id": category, "bbox": box,
            "segmentation": [*outline], **more}  # fmt: skip


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("valid/_annotations.coco.json", "valid"),
        ("annotations/instances_default.json", "images"),
    ],
)
def test_coco(file: str, folder: str, pack: bool, tmp_path: Path) -> None:
    root = put(tmp_path / "coco", f"{folder}/1.jpg", f"{folder}/2.jpg")
    part = "" if "default" in file else "val"
    if part:  # the same names in another part, with other annotations
        other = "train" if "valid" in file else "train2017"
        put(root, f"{folder.replace('valid', other).replace('val2017', other)}/1.jpg")
        train = coco(annotations=[annotation(1, 17, [1, 1, 1, 1]), annotation(1, 18, [0, 0, 1, 1])])
        write(root / file.replace("valid", "train").replace("val2017", other), json.dumps(train))
    write(root / file, json.dumps(coco()))
    data = zipped(root) if pack else root
    assert parts_of(data) == (("train", "val") if part else ())
    dataset = open_dataset(data, part or None)
    assert dataset.labels == ("dog", "cat")
    assert all(f"{folder}/" in name for name in dataset.files)
    assert boxes(dataset) == {
        "dog: 1.jpg": [[0, 0, 4, 4], [2, 4, 8, 9]],
        "dog: 2.jpg": [[1, 1, 3, 4]],
        "cat: 1.jpg": [[2, 4, 8, 9], [20.5, 10, 30.25, 13]],
    }
    missing, flat = dataset.notes
    assert missing.startswith("3.jpg has annotations in ")
    assert missing.endswith(f"{file}, but no picture")
    assert flat.endswith("2.jpg has a box without area, which is left out")
    assert dataset.objects(0, WIDTH, HEIGHT)[1] is None  # of two dogs one has no outline
    masks = dataset.objects(2, WIDTH, HEIGHT)[1]
    assert masks is not None
    square, triangle = masks.objects
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    expected[4:9, 2:8] = True
    assert np.array_equal(square, expected)
    # Above the line from (20.5, 10) to (30.25, 13): of row 10 the pixels centred beyond 22.125.
    assert np.flatnonzero(triangle[10]).tolist() == [*range(22, 30)]


def test_a_part_of_coco_without_its_pictures_is_none(tmp_path: Path) -> None:
    root = put(tmp_path, "val2017/1.jpg", "val2017/2.jpg")
    for year in ("train2017", "val2017"):  # they come in one archive
        write(root / "annotations" / f"instances_{year}.json", json.dumps(coco()))
    assert parts_of(root) == ("val",)
    assert len(open_dataset(root)) == 3


def test_broken_coco_is_named(tmp_path: Path) -> None:
    root = put(tmp_path, "images/1.jpg", "images/2.jpg")
    file = root / "instances_val.json"

    def says(message: str, content: Any) -> None:
        write(file, content if isinstance(content, str) else json.dumps(content))
        refuses(root, message)

    says(r"instances_val\.json is not in COCO's format: Expecting property", "{")
    says("not in COCO's format: there is no 'categories'", {"images": []})
    says("not in COCO's format: ", [1])
    says("not in COCO's format: there is no 'file_name'", coco(images=[{"id": 1}]))
    for wrong in ([1, 2, 3], None, ["a", 2, 3, 4], 5):
        wrong_box = coco(annotations=[annotation(1, 17, wrong)])
        says(r"instances_val\.json: the annotation 7 can't be used: ", wrong_box)
    says(
        "annotation 7 can't be used: there is no 9", coco(annotations=[annotation(9, 17, [0] * 4)])
    )
    says("annotation 7 can't be used: there is no 9", coco(annotations=[annotation(1, 9, [0] * 4)]))
    says("annotation 7 can't", coco(annotations=[7]))
    outlined = [annotation(1, 17, [1, 1, 2, 2], [[1, 1, 3, 1, 3, 3]])]
    huge = [{"id": 1, "file_name": "1.jpg", "width": 10**9, "height": 10**9}]
    says("annotation 7 .* would be too large", coco(annotations=outlined, images=huge))
    says("no picture has an object with a box", coco(annotations=[]))
    write(root / "instances_valid.json", "{}")
    refuses(root, "instances_val.json and instances_valid.json could both be the annotations")


# CUB -----------------------------------------------------------------------------------------


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    root = tmp_path / "CUB_200_2011"
    names = ("001.Albatross/a_1.jpg", "001.Albatross/a_2.jpg", "002.Auk/b_1.jpg", "002.Auk/b_2.jpg")
    put(root, *(f"images/{name}" for name in names))
    write(root / "images.txt", "".join(f"{n} {name}\n" for n, name in enumerate(names, 1)))
    write(root / "image_class_labels.txt", "1 1\n2 1\n3 2\n4 2\n")
    write(root / "classes.txt", "1 001.Albatross\n2 002.Auk\n")
    write(root / "bounding_boxes.txt", "".join(f"{n} {n}.0 2.5 10.0 20.0\n" for n in range(1, 5)))
    write(root / "train_test_split.txt", "1 1\n2 0\n3 1\n4 0\n")
    write(root / "attributes" / "attributes.txt", "1 has_bill_shape::curved\n")
    return root


@pytest.mark.parametrize("pack", [False, True])
def test_cub_as_its_authors_ship_it(cub: Path, pack: bool) -> None:
    data = zipped(cub) if pack else cub
    assert parts_of(data) == ("train", "test")
    train, test = open_dataset(data, "train"), open_dataset(data, "test")
    assert train.labels == test.labels == ("001.Albatross", "002.Auk")
    assert boxes(train) == {
        "001.Albatross: a_1.jpg": [[1, 2.5, 11, 22.5]],
        "002.Auk: b_1.jpg": [[3, 2.5, 13, 22.5]],
    }
    assert [file.rpartition("/")[2] for file in test.files] == ["a_2.jpg", "b_2.jpg"]
    assert np.asarray(test.image(1))[0, 0, 0] == 3
    assert train.masks is None


def test_cub_with_segmentations(cub: Path) -> None:
    levels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)  # fifths of 255, by how many agreed
    levels[4:20, 5:30], levels[6:10, 7:9] = 102, 255
    file = cub / "segmentations" / "001.Albatross" / "a_1.png"
    file.parent.mkdir(parents=True)
    Image.fromarray(levels).save(file)
    (cub / "train_test_split.txt").unlink()
    dataset = open_dataset(cub)
    assert len(dataset) == 4
    box, masks = dataset.objects(0, WIDTH, HEIGHT)
    assert box.tolist() == [[1, 2.5, 11, 22.5]]  # the table's
    assert masks is not None
    assert masks.boxes(WIDTH, HEIGHT).tolist() == [[7, 6, 9, 10]]
    assert dataset.objects(1, WIDTH, HEIGHT)[1] is None


def test_cub_whose_tables_do_not_fit(cub: Path) -> None:
    write(cub / "bounding_boxes.txt", "1 1.0 2.5 10.0 20.0\n3 1 2 x 4\n")
    refuses(cub, r"bounding_boxes\.txt has no box of 4 numbers for 002\.Auk/b_1\.jpg", "train")
    refuses(cub, r"bounding_boxes\.txt has no box of 4 numbers for 001\.Albatross/a_2\.jpg", "test")
    write(cub / "bounding_boxes.txt", "1 1.0\n")
    refuses(cub, r"bounding_boxes\.txt has a line without 5 columns: 1 1\.0")
    write(cub / "bounding_boxes.txt", "")
    write(cub / "image_class_labels.txt", "1 1\n2 1\n3 7\n4 2\n")
    refuses(cub, r"image_class_labels\.txt has no class of 002\.Auk/b_1\.jpg", "train")
    (cub / "images" / "001.Albatross" / "a_2.jpg").unlink()
    refuses(cub, r"images\.txt names images/001\.Albatross/a_2\.jpg, which is missing", "test")


# Folders of masks ----------------------------------------------------------------------------


def mask(file: Path, *boxes: tuple[int, int, int, int], white: int = 255, scale: int = 1) -> None:
    values = np.zeros((HEIGHT * scale, WIDTH * scale), dtype=np.uint8)
    for left, top, right, bottom in boxes:
        values[top * scale : bottom * scale, left * scale : right * scale] = white
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)


@pytest.mark.parametrize("pack", [False, True])
def test_class_folders_with_masks(pack: bool, tmp_path: Path) -> None:
    root = put(tmp_path / "pets", *(f"val/{name}" for name in PETS))
    mask(root / "masks" / "val" / "cat" / "1.png", (2, 3, 10, 12), (20, 3, 22, 5))
    mask(root / "masks" / "val" / "cat" / "2_left.png", (0, 0, 5, 5), white=1)
    mask(root / "masks" / "val" / "cat" / "2_right.png", (30, 0, 40, 5), scale=2)
    mask(root / "masks" / "val" / "cat" / "2_ignore.png", (0, 10, 40, 32))
    mask(root / "masks" / "val" / "dog" / "1.png", (1, 1, 2, 2))
    dataset = open_dataset(zipped(root) if pack else root)
    assert dataset.labels == ("cat", "dog")
    assert dataset.boxes is None
    assert dataset.has_objects
    (note,) = dataset.notes
    assert note.endswith("dog/3.png has no mask")
    assert ignored_text(dataset.ignored) == ""
    found = [dataset.objects(index, WIDTH, HEIGHT) for index in range(4)]
    assert [box.tolist() for box, _ in found] == [
        [[2, 3, 22, 12]],
        [[0, 0, 5, 5], [30, 0, 40, 5]],
        [[1, 1, 2, 2]],
        [],
    ]
    assert found[1][1] is not None
    (ignored,) = found[1][1].ignored
    assert ignored.sum() == 22 * 40
    assert found[3][1] is None


def test_masks_that_do_not_fit_are_named(tmp_path: Path) -> None:
    root = put(tmp_path, *PETS)
    mask(root / "masks" / "cat" / "1.png")
    mask(root / "masks" / "cat" / "2.png", (1, 1, 9, 9))
    write(root / "masks" / "dog" / "1.png", "no picture")
    dataset = open_dataset(root)
    with pytest.raises(ImageError, match=r"masks/cat/1\.png is black: it shows no object"):
        dataset.objects(0, WIDTH, HEIGHT)
    with pytest.raises(ImageError, match=r"masks/dog/1\.png: "):
        dataset.objects(2, WIDTH, HEIGHT)
    proportions = r"cat/2\.png has a mask of 40 × 32 pixels, which has other proportions .* 64 × 32"
    with pytest.raises(ImageError, match=proportions):
        dataset.objects(1, 64, 32)
    assert dataset.objects(1, 41, 33)[0].shape == (1, 4)  # as rounding makes it


def test_a_class_may_be_called_mask(tmp_path: Path) -> None:
    faces = put(tmp_path / "faces", "mask/1.png", "no_mask/1.png")
    dataset = open_dataset(faces)
    assert (dataset.labels, dataset.has_objects) == (("mask", "no_mask"), False)
    deep = put(tmp_path / "deep", "masks/blue/1.png", "masks/2.png", "hats/red/3.png", "hats/4.png")
    assert open_dataset(deep).labels == ("hats", "masks")
    assert len(open_dataset(deep)) == 4


# Halves --------------------------------------------------------------------------------------


def test_halves_depend_on_the_name_of_the_file_alone() -> None:
    # `printf val_0.JPEG | sha256sum` begins with 1e, the next ones with 82, ca and a1.
    expected = ["choose", "choose", "choose", "report"]
    assert [half_of(f"val_{n}.JPEG") for n in range(4)] == expected
    assert half_of("tiny/val/images/val_0.JPEG") == half_of("val_0.JPEG")
    halves = [half_of(f"val_{n}.JPEG") for n in range(10_000)]
    assert 4850 < halves.count("choose") < 5150
    assert {*halves} == {*HALVES}


def test_halves_divide_a_data_set(tmp_path: Path) -> None:
    root = put(tmp_path, *(f"{label}/{n}.png" for label in ("cat", "dog") for n in range(8)))
    dataset = open_dataset(root)
    choose, report = (take_half(dataset, half) for half in HALVES)
    assert sorted((*choose.files, *report.files)) == sorted(dataset.files)
    assert {half_of(file) for file in report.files} == {"report"}
    with pytest.raises(ValueError, match="no half 'test': choose from choose, report"):
        take_half(dataset, "test")
    with pytest.raises(DataError, match="the half 'choose' has no pictures"):
        take_half(report, "choose")
