"""Labels and names that come from outside: seen by people, harmless to a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vggviz.networks import NetworkConfig
from vggviz.texts import is_blank, visible
from vggviz.weights import Backbone, Card

BLANKS = ["", " ", "\u3000", "\u200b", "\ufeff", "\u00ad", "\u2800", "\u3164", "\u115f", "\u0301",
          "\U000e0041", " \u200d\u200c ", "\ufe0f"]  # fmt: skip


def described(**changes: Any) -> dict[str, Any]:
    """A card of two classes as JSON."""
    card = {
        "weights": "w", "config": NetworkConfig(num_classes=2).to_json(), "labels": ["cat", "dog"],
        "preprocess": {"size": 64, "resize": 64}, "wnids": [], "trained": "all", "facts": {},
    }  # fmt: skip
    return {**card, **changes}


@pytest.mark.parametrize("blank", BLANKS)
def test_a_label_that_no_one_sees_is_refused(blank: str) -> None:
    assert is_blank(blank)
    with pytest.raises(
        ValueError, match=r"a label (needs a character that can be seen|is at most)"
    ):
        Card.from_json(described(labels=["cat", blank]))


@pytest.mark.parametrize("label", ["猫", "é", "e\u0301", "नि", "\U0001f408", "☐", "1", "-", "👩‍🔬"])
def test_a_label_that_is_seen_is_taken(label: str) -> None:
    assert not is_blank(label)
    assert Card.from_json(described(labels=["cat", label])).labels[1] == label


@pytest.mark.parametrize("blank", ["\u200b", "\u3164", "\u2800 "])
def test_a_class_folder_that_no_one_sees_is_refused_before_training(
    tmp_path: Path, blank: str
) -> None:
    run = pytest.importorskip("vggviz.training.run", reason="needs the extra 'train'")
    from vggviz.training import TrainConfig

    for label in ("cat", blank):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (32, 32)).save(tmp_path / "data" / label / f"{number}.png")
    with pytest.raises(ValueError, match="a label needs a character that can be seen"):
        run.run_training(
            tmp_path / "data",
            tmp_path / "a.safetensors",
            TrainConfig(image_sizes=(32,)),
            run.NetworkChoice(),
        )
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    "name", ["x" * 300 + ".safetensors", "猫" * 90 + ".safetensors", "\x1b[31m.safetensors",
             "a\u202eb.safetensors", "\udce9.safetensors", "a\nb.safetensors"]
)  # fmt: skip
def test_a_backbone_is_named_as_a_file_can_be(name: str) -> None:
    with pytest.raises(ValueError, match="a backbone is one of everyday"):
        Backbone(name, "none", "0" * 64)


def test_what_steers_a_terminal_is_shown_as_escapes() -> None:
    assert visible("a\x1b[31m\x07\x9b\n\r\t\x7f") == r"a\x1b[31m\x07\x9b\n\r\t\x7f"
    assert visible("\u202eabc\u2066\u2028\udce9") == r"\u202eabc\u2066\u2028\udce9"
    assert visible("Łódź 猫 👩‍🔬 → γ") == "Łódź 猫 👩‍🔬 → γ"
