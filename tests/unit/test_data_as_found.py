"""Labelled pictures as people have them: split folders by any name, hidden files, all endings, and
zip archives from anywhere."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from PIL import Image

from vggviz.data import (
    DataError,
    find_pictures,
    ignored_text,
    open_dataset,
    open_parts,
    parts_of,
)
from vggviz.data.splits import part_named
from vggviz.images import image_extensions, open_image

CLASSES = ("glioma", "notumor")


def png(grey: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (20, 20), grey).save(file, "PNG")
    return file.getvalue()


def put(root: Path, *names: str) -> Path:
    """Write a picture, each of its own grey, at each of the names."""
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(number % 256))
    return root


def each(folders: Iterable[str], count: int = 2) -> list[str]:
    return [f"{folder}/{number}.png" for folder in folders for number in range(count)]


def in_classes(*parts: str, classes: tuple[str, ...] = CLASSES, count: int = 2) -> list[str]:
    return each((f"{part}/{label}" for part in parts for label in classes), count)


def zipped(root: Path) -> Path:
    file = root.with_name(f"{root.name}.zip")
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root.parent))
    return file


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class TestParts:
    @pytest.mark.parametrize("pack", [False, True])
    @pytest.mark.parametrize("around", ["", "archive/", "archive/Brain MRI/"])
    @pytest.mark.parametrize(
        ("folders", "parts"),
        [
            ("Training Testing", ("train", "test")),
            ("TRAIN VAL", ("train", "val")),
            ("training_set test_set", ("train", "test")),
            ("train validation test", ("train", "val", "test")),
            ("Train dev Evaluation", ("train", "val", "test")),
            ("trn valid", ("train", "val")),
            ("seg_train/seg_train seg_test/seg_test", ("train", "test")),
            ("train2017/images val2017/images", ("train", "val")),
            ("训练集 测试集", ("train", "test")),
            ("val TestData", ("val", "test")),
            ("Train", ("train",)),
        ],
    )
    def test_are_known_by_their_usual_names(
        self, folders: str, parts: tuple[str, ...], around: str, pack: bool, tmp_path: Path
    ) -> None:
        names = folders.split()
        root = put(tmp_path / "mri", *in_classes(*(f"{around}{name}" for name in names)))
        put(root, f"{around}sample.png")  # some lie about
        data = zipped(root) if pack else root
        assert parts_of(data) == parts
        for part, name in zip(parts, names, strict=True):
            dataset = open_dataset(data, part)
            assert dataset.labels == CLASSES
            assert len(dataset) == 4
            assert all(f"{around}{name}/" in file for file in dataset.files)
            assert open_dataset(data, name.split("/")[0]).files == dataset.files
        assert open_dataset(data).files == open_dataset(data, parts[0]).files

    def test_names_that_are_no_parts(self) -> None:
        for name in (
            "trainer",
            "contest",
            "tester",
            "valley",
            "device",
            "train station",
            "cat",
            "",
        ):
            assert part_named(name) is None

    def test_a_test_part_is_not_learned_from(self, tmp_path: Path) -> None:
        root = put(tmp_path, *in_classes("Training", count=10), *in_classes("Testing"))
        training, validation = open_parts(root, generator=seeded())
        assert (len(training), len(validation)) == (16, 4)
        assert not [f for f in (*training.files, *validation.files) if "Testing" in f]
        put(tmp_path, *in_classes("valid"))
        training, validation = open_parts(root, generator=seeded())
        assert (len(training), len(validation)) == (20, 4)

    def test_a_class_may_be_called_train(self, tmp_path: Path) -> None:
        assert open_dataset(put(tmp_path, *each(("bus", "train")))).labels == ("bus", "train")
        deep = put(tmp_path / "deep", *each(("control/images", "test/images")))
        assert open_dataset(deep).labels == ("control", "test")

    def test_unlabelled_pictures_beside_parts_are_passed_over(self, tmp_path: Path) -> None:
        root = put(tmp_path, *in_classes("train"), *each(("test/test", "extra")))
        put(root, *in_classes("val"))
        assert parts_of(root) == ("train", "val")
        dataset = open_dataset(root)
        assert ignored_text(dataset.ignored) == ("ignored: 4 pictures outside the class folders")
        with pytest.raises(DataError, match=r"no part 'test' .*: it has the parts 'train', 'val'"):
            open_dataset(root, "test")

    @pytest.mark.parametrize(
        ("names", "sentence"),
        [
            (
                in_classes("first", "second"),
                "the folders 'first', 'second' of .* hold only folders",
            ),
            (
                each(("cat/train", "cat/test", "dog/train", "dog/test")),
                "such as 'test', 'train' in",
            ),
            (in_classes("train", "Training"), "could both be the part 'train': keep one"),
            (
                in_classes("train") + each(("bus",)),
                r"part 'train' beside other folders .*\('bus'\)",
            ),
            (each(("train", "val")), "the parts 'train', 'val' of .* hold pictures: expected one"),
            (each(("train/images", "valid/images")), "the parts .* hold pictures: expected one"),
            (in_classes("val", "test"), "has no part to learn from, only 'val', 'test'"),
        ],
    )
    def test_what_can_not_be_classes_is_refused(
        self, names: list[str], sentence: str, tmp_path: Path
    ) -> None:
        with pytest.raises(DataError, match=sentence):
            open_parts(put(tmp_path, *names), generator=seeded())

    def test_an_archive_of_a_million_folders_in_folders_ends_well(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
            archive.writestr("a/" * 30_000 + "1.png", png())
        with pytest.raises(DataError, match="no pictures found"):
            open_dataset(tmp_path / "deep.zip")


class TestHiddenFiles:
    NAMES = (
        "cat/.ipynb_checkpoints/0-checkpoint.png",
        ".ipynb_checkpoints/9.png",
        "cat/._0.png",
        "__MACOSX/cat/._0.png",
        "dog/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
        ".git/x.png",
        "dog/Thumbs.db",
    )

    @pytest.mark.parametrize("pack", [False, True])
    def test_are_no_data_and_counted(self, pack: bool, tmp_path: Path) -> None:
        root = put(tmp_path / ".cache" / "pets", *each(("cat", "dog")), *self.NAMES)
        dataset = open_dataset(zipped(root) if pack else root)
        assert dataset.labels == ("cat", "dog")
        assert len(dataset) == 4
        assert ignored_text(dataset.ignored) == "ignored: 7 hidden"

    def test_are_not_found_in_folders_of_pictures(self, tmp_path: Path) -> None:
        root = put(tmp_path, *each(("cat", "dog")), *self.NAMES)
        (root / "notes.txt").write_text("x")
        pictures, ignored = find_pictures(root)
        assert [str(one.relative_to(root)) for one in pictures] == each(("cat", "dog"))
        assert ignored == {"hidden": 7, ".txt": 1}

    def test_a_link_to_a_folder_around_it_is_followed_once(self, tmp_path: Path) -> None:
        root = put(tmp_path / "pets", *each(("cat", "dog")))
        (root / "cat" / "all").symlink_to(root)
        (root / "dog" / "more").symlink_to(put(tmp_path / "elsewhere", "5.png"))
        assert len(open_dataset(root)) == 5


class TestEndings:
    def test_every_format_that_opens_has_its_endings(self, tmp_path: Path) -> None:
        """Pillow writes under each name; what is not listed here doesn't open here."""
        known = Image.registered_extensions()
        for ending in sorted(
            set(known) & set(Image.SAVE) | {e for e in known if known[e] in Image.SAVE}
        ):
            if ending == ".pfm":
                continue  # Pillow writes a PPM under that name; a true PFM is refused
            file = tmp_path / f"x{ending}"
            picture = Image.new("RGB", (20, 20))
            try:
                picture.save(file)
                open_image(file)
            except (OSError, ValueError, KeyError):
                continue
            assert ending in image_extensions(), ending
        assert {".jfif", ".jpg", ".mpo", ".tif", ".webp"} <= image_extensions()

    @pytest.mark.parametrize("pack", [False, True])
    def test_all_that_opens_is_data_and_the_rest_is_counted(
        self, pack: bool, tmp_path: Path
    ) -> None:
        names = [f"{label}/{number}{e}" for label in CLASSES for number, e in enumerate(
            (*sorted(image_extensions()), *map(str.upper, image_extensions()))
        )]  # fmt: skip
        root = put(tmp_path / "data", *names, "glioma/a.svg", "glioma/b.SVG", "glioma/README")
        dataset = open_dataset(zipped(root) if pack else root)
        assert len(dataset) == len(names)
        assert dataset.ignored == {".svg": 2, "without extension": 1}
        assert len(find_pictures(root)[0]) == len(names)


class LocalNames(zipfile.ZipInfo):
    """A member whose name is in a code page, as Windows Explorer writes it: no UTF-8 flag."""

    raw = b""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.raw, 0


def pack_as(file: Path, names: Iterable[str], encoding: str, unicode_path: bool = False) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(names):
            member = LocalNames(name)
            member.raw = name.encode(encoding, "replace")
            if unicode_path:
                field = struct.pack("<BI", 1, zlib.crc32(member.raw)) + name.encode()
                member.extra = struct.pack("<HH", 0x9999, 1) + b"x"
                member.extra += struct.pack("<HH", 0x7075, len(field)) + field
            archive.writestr(member, png(number))
    return file


WORDS = {
    "gbk": "猫 狗|苹果 香蕉 橙子|正常 异常|玫瑰 向日葵|图片1 图片2|猫cat 狗dog|健康 病变|高 低",
    "cp932": "猫 犬|りんご バナナ|表 裏|桜 梅 松|ラーメン 寿司|Tシャツ 帽子|良品 不良品|熊 兎",
    "cp950": "貓 狗|蘋果 香蕉|正常 異常|玫瑰 鬱金香|合格 不合格",
    "cp949": "고양이 강아지|사과 바나나|정상 비정상|장미 튤립|호랑이 사자",
    "cp437": "Käse Brötchen|Löwe Bär|café thé|Niño gato|chêne hêtre|Größe Äpfel|España Perú",
    "cp850": "leão gato|São João|Äpfel Birnen",
    "cp866": "кошка собака|Дуб Берёза|норма патология",
}


class TestArchives:
    @pytest.mark.parametrize(
        ("encoding", "labels"),
        [(page, words.split()) for page, texts in WORDS.items() for words in texts.split("|")],
    )
    def test_names_in_a_local_code_page_are_read(
        self, encoding: str, labels: list[str], tmp_path: Path
    ) -> None:
        names = each(labels)
        for form in (encoding, "utf-8"):  # macOS writes UTF-8 without the flag
            dataset = open_dataset(pack_as(tmp_path / f"{form}.zip", names, form))
            assert list(dataset.labels) == sorted(labels)
            greys = [dataset.image(index).getpixel((0, 0)) for index in range(len(dataset))]
            wanted = [names.index(file) for file in dataset.files]
            assert greys == [(grey,) * 3 for grey in wanted]

    def test_the_unicode_path_field_is_believed_where_it_fits(self, tmp_path: Path) -> None:
        names = each(("猫", "Ωmega", "кот"))
        file = pack_as(tmp_path / "info.zip", names, "ascii", unicode_path=True)
        assert set(open_dataset(file).labels) == {"猫", "Ωmega", "кот"}
        stale = file.read_bytes().replace(
            b"?mega", b"!mega"
        )  # renamed by a tool that knows no field
        file.write_bytes(stale)
        assert set(open_dataset(file).labels) == {"猫", "!mega", "кот"}

    def test_backslashes_are_slashes(self, tmp_path: Path) -> None:
        """PowerShell 5's Compress-Archive; in Shift-JIS a backslash is half of some characters."""
        names = [name.replace("/", "\\") for name in in_classes("pets\\train", "pets\\val")]
        with zipfile.ZipFile(tmp_path / "ps.zip", "w") as archive:
            for name in names:
                archive.writestr(name, png())
        assert parts_of(tmp_path / "ps.zip") == ("train", "val")
        japanese = [name.replace("/", "\\") for name in each(("表", "ソフト"))]
        dataset = open_dataset(pack_as(tmp_path / "sjis.zip", japanese, "cp932"))
        assert set(dataset.labels) == {"表", "ソフト"}

    def test_what_tar_and_others_write_before_names_is_left_off(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "dot.zip", "w") as archive:
            for name in (*each(("./cat", "/dog")), "../up.png"):
                archive.writestr(name, png())
        dataset = open_dataset(tmp_path / "dot.zip")
        assert dataset.labels == ("cat", "dog")
        assert dataset.ignored == {"hidden": 1}

    def test_a_reader_works_in_other_processes(self, tmp_path: Path) -> None:
        """Forked while the archive is open here, and pickled."""
        dataset = open_dataset(zipped(put(tmp_path / "pets", *each(("cat", "dog"), 50))))
        wanted = [dataset.read(file) for file in dataset.files]
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                same = all(
                    [dataset.read(file) for file in dataset.files] == wanted for _ in range(6)
                )
                os._exit(0 if same else 1)
            children.append(child)
        for _ in range(6):
            assert [dataset.read(file) for file in dataset.files] == wanted
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        sent = pickle.dumps((dataset.read, dataset.files[3], wanted[3]))
        program = (
            "import pickle, sys; read, file, wanted = pickle.load(sys.stdin.buffer); "
            "sys.exit(read(file) != wanted)"
        )
        assert subprocess.run([sys.executable, "-c", program], input=sent).returncode == 0
