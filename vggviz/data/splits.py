"""Names of folders that are parts of a data set: training, validation and test."""

from __future__ import annotations

import re

__all__ = ["PARTS", "part_named"]

PARTS = ("train", "val", "test")
_SYNONYMS = {
    "train": "train training trains trn learn learning 训练 訓練 学習",
    "val": "val valid validation validate validating vali vld dev devel development 验证 驗證 検証",
    "test": "test testing tests tst eval evaluation holdout 测试 測試 テスト",
}
_PART_OF = {word: part for part, words in _SYNONYMS.items() for word in words.split()}
# Words beside the part's name, separate or joined: 'training_set', 'TestData', 'seg_train'.
_FILLERS = [
    *("datasets", "dataset", "data", "sets", "set", "images", "image", "imgs", "img", "pictures"),
    *("split", "folder", "seg", "集"),
]


def part_named(folder: str) -> str | None:
    """The part ('train', 'val' or 'test') that a folder's name means, in upper or lower case and by
    the usual synonyms; None for other names."""
    words = re.findall(r"[^\W\d_]+", folder.casefold())
    words = [word for word in words if word not in _FILLERS]
    if len(words) != 1:
        return None
    word = words[0]
    for filler in _FILLERS:
        if word not in _PART_OF:
            word = word.removesuffix(filler).removeprefix(filler)
    return _PART_OF.get(word)
