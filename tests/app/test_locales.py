"""Texts: each language has every key with the same placeholders, and the code uses every key."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest
import torch
from torch import nn

import vggviz
from vggviz.app.choices import network_choices
from vggviz.app.errors import sentence
from vggviz.app.networks import Networks
from vggviz.app.session import Session
from vggviz.app.tabs import TABS
from vggviz.attention import ATTENTION
from vggviz.cam import METHODS
from vggviz.images import Preprocess
from vggviz.locales import CLASSES, LANGUAGES, TEXTS, class_name, preferred_language, text
from vggviz.networks import NetworkConfig, NetworkError, load_weights
from vggviz.types import Error, InputError, Kind
from vggviz.weights import WEIGHTS, Card, WeightsError, read_card
from vggviz.weights.bundle import bundled_file

PACKAGE = Path(vggviz.__file__).parent
FILES = {file.stem: json.loads(file.read_text("utf-8")) for file in PACKAGE.glob("locales/*.json")}
ENGLISH = FILES["en"]
ERRORS = {"Error", *(one.__name__ for one in Error.__subclasses__())}
PARTS = "|".join(sorted({key.split(".")[0] for key in ENGLISH}))


def placeholders(one: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(one) if name is not None}


def strings(folder: str) -> Iterator[str | re.Pattern[str]]:
    """Each string of the code in a folder, an f-string as a pattern with its values as groups."""
    for file in (PACKAGE / folder).rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
        joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
        inside = {id(part) for node in joined for part in node.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                parts = (
                    re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(.+)"
                    for part in node.values
                )
                yield re.compile("".join(parts))
            elif isinstance(node, ast.Constant) and id(node) not in inside:
                yield str(node.value)


def unused(keys: list[str], folder: str) -> list[str]:
    """The keys that no string is and no f-string makes of strings."""
    found = list(strings(folder))
    plain = {one for one in found if isinstance(one, str)}
    known = {one for one in strings("") if isinstance(one, str)}
    made = [one for one in found if isinstance(one, re.Pattern) and len(one.pattern) > 4]

    def is_used(key: str) -> bool:
        matches = (one.fullmatch(key) for one in made)
        return key in plain or any(match and set(match.groups()) <= known for match in matches)

    return [key for key in keys if not is_used(key)]


def of_specs() -> set[str]:
    """The keys whose English stands in `ATTENTION` and `METHODS`."""
    keys = [f"attention.{key}" for key in ATTENTION] + [f"method.{key}" for key in METHODS]
    return {f"{key}.{part}" for key in keys for part in ("name", "line")}


def test_every_explanation_of_a_spec_is_translated() -> None:
    """A title may stay as it is."""
    specs = {f"attention.{key}": spec.explanation for key, spec in ATTENTION.items()}
    specs |= {f"method.{key}": method.explanation for key, method in METHODS.items()}
    for key, explanation in specs.items():
        assert re.search(r"[一-鿿]", FILES["zh"][f"{key}.line"]), key
        assert explanation.endswith("."), key


def test_every_language_has_the_keys_and_placeholders_of_english() -> None:
    assert set(FILES) == set(LANGUAGES) == set(TEXTS)
    for lang, texts in FILES.items():
        assert texts.keys() - of_specs() == ENGLISH.keys(), lang
        for key in ENGLISH:
            one = texts[key]
            assert isinstance(one, str)
            left_out = placeholders(ENGLISH[key]) - placeholders(one)
            assert placeholders(one) <= placeholders(ENGLISH[key]), (lang, key)
            # Only an error may leave a value out: what says why in English.
            assert not left_out or key.startswith("error."), (lang, key)


def test_no_english_sentence_stands_in_another_language() -> None:
    """Names stay as they are; three plain English words in a row would be a sentence."""
    sentence = re.compile(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,}\b")
    for lang, texts in FILES.items():
        for key, one in texts.items():
            assert lang == "en" or one != ENGLISH.get(key) or not sentence.search(one), (lang, key)
    for key, one in FILES["zh"].items():
        assert not sentence.search(re.sub("`.+?`", "", one)), key  # but for commands
        names = {ENGLISH.get(key), *(spec.title for spec in ATTENTION.values())}
        assert one in names or key.startswith("language.") or re.search(r"[一-鿿；：]", one), key


def test_every_key_is_used() -> None:
    sections = ("report.", "figure.")  # of which the code of `plotting` takes all at once
    assert unused([key for key in ENGLISH if not key.startswith((*sections, "error."))], "") == []
    assert unused([key[6:] for key in ENGLISH if key.startswith("error.")], "") == []
    texts = [key for key in ENGLISH if key.startswith(sections)]
    pages = "".join(file.read_text("utf-8") for file in (PACKAGE / "plotting").glob("*.html"))
    used = {f"report.{key}" for key in re.findall(r"\bwords\.(\w+)", pages)}
    used |= {f"figure.{key}" for key in re.findall(r"\blabels\.(\w+)", pages)}
    kinds = {f"{part}{kind}" for part in sections for kind in get_args(Kind)}
    trained = {f"report.{key}" for key in ("nothing", "backbone")}  # of `provenance["trained"]`
    left = {key for key in unused(texts, "") if unused([key[7:]], "plotting")}
    assert left <= used | kinds | trained


def test_an_unused_key_is_found() -> None:
    assert unused(["explore.block", "explore.nonsense", "nonsense"], "") == [
        "explore.nonsense",
        "nonsense",
    ]


def test_every_key_in_the_code_exists() -> None:
    key = re.compile(rf"({PARTS})\.(?!css|js)[a-z_0-9.-]+")
    named = {one for one in strings("app") if isinstance(one, str) and key.fullmatch(one)}
    assert len(named) > 150
    assert named - set(ENGLISH) == set()


def test_every_network_that_a_host_may_offer_has_a_name() -> None:
    networks = Networks(dict.fromkeys(WEIGHTS, ("none",)))
    for lang in LANGUAGES:
        assert [key for _, key in network_choices(Session(networks, lang=lang))] == list(WEIGHTS)


def test_every_tab_has_a_name() -> None:
    for tab in TABS.values():
        assert text("en", tab.NAME) != text("zh", tab.NAME)


def test_text_fills_in_values() -> None:
    assert text("en", "explore.block", number=4) == "Block 4"
    assert text("zh", "explore.block", number=4) == "第 4 块"
    assert text("xx", "explore.name") == "Explore"
    with pytest.raises(KeyError):
        text("en", "explore.nonsense")


@pytest.mark.parametrize(
    ("requested", "accepted", "expected"),
    [
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, "de-DE,de;q=0.9,en;q=0.8,zh;q=0.7", "en"),
        (None, "fr, ZH-tw;q=0.5", "zh"),
        ("en", "zh-CN", "en"),
        ("zh", None, "zh"),
        ("xx", "zh", "zh"),
        (None, None, "en"),
        ("<script>", "*", "en"),
    ],
)
def test_the_language_that_is_preferred(
    requested: str | None, accepted: str | None, expected: str
) -> None:
    assert preferred_language(requested, accepted) == expected


THIRD = """
import gradio as gr
from pathlib import Path
from vggviz.app import build
from vggviz.app.link import LANGUAGES as linked
from vggviz.app.networks import Networks
from vggviz.app.lessons import card
from vggviz.app.theme import LAUNCH
from vggviz.locales import preferred_language, section, text

demo = build(Networks({"everyday": ("none", "se")}))
(switch,) = (b for b in demo.blocks.values() if getattr(b, "elem_id", "") == "language")
assert switch.choices == [("English", "en"), ("Dummy", "xx"), ("中文", "zh")], switch.choices
assert list(linked) == ["en", "xx", "zh"] and preferred_language(None, "xx-YY, en") == "xx"
assert '["en", "xx", "zh"].includes' in LAUNCH["head"]
assert text("xx", "explore.block", number=4) == "ExploreBlock4"
assert text("xx", "explore.name") == "Explore"  # not in the file: English
assert "DummyLessons" in card.card("xx") and section("xx", "report")["saw"] == "DummySaw"
"""


@pytest.mark.slow
def test_a_file_is_all_that_a_language_takes(tmp_path: Path) -> None:
    """In a copy of the package, most of it links, with one more file."""
    package = tmp_path / "vggviz"
    (package / "locales").mkdir(parents=True)
    for file in PACKAGE.iterdir():
        if file.name not in ("locales", "__pycache__"):
            (package / file.name).symlink_to(file)
    for file in (PACKAGE / "locales").glob("*.*"):
        (package / "locales" / file.name).write_bytes(file.read_bytes())
    if not (package / "assets").exists():
        (tmp_path / "assets").symlink_to(PACKAGE.parent / "assets")
    dummy = {
        "language.name": "Dummy",
        "explore.block": "ExploreBlock{number}",
        "lessons.line": "DummyLessons",
        "report.saw": "DummySaw",
    }
    (package / "locales" / "xx.json").write_text(json.dumps(dummy), "utf-8")
    run = subprocess.run(
        [sys.executable, "-c", THIRD],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


CARD = Card("x", NetworkConfig(num_classes=3), Preprocess(), ("tabby", "crane", "ship's crane"))


@pytest.mark.parametrize(
    ("target", "english", "chinese"),
    [
        (
            "tabbi",
            "no class 'tabbi': did you mean 'tabby'?",
            "没有“tabbi”这个类别：您是指“tabby”吗？",
        ),
        (
            "cranes",
            "no class 'cranes': did you mean 'crane' or \"ship's crane\"?",
            "没有“cranes”这个类别：您是指“crane”或“ship's crane”吗？",
        ),
        ("dog's", 'no class "dog\'s"', "没有“dog's”这个类别。"),
        (7, "no class 7: there are 0 to 2", "没有“7”这个类别：可选 0 到 2。"),
    ],
)
def test_an_unknown_class_in_both_languages(target: str | int, english: str, chinese: str) -> None:
    with pytest.raises(InputError) as caught:
        CARD.index(target)
    assert str(caught.value) == caught.value.message("xx") == english
    assert caught.value.message("zh") == sentence(caught.value, "zh") == chinese
    assert isinstance(caught.value, ValueError)


def test_an_error_words_the_errors_in_it() -> None:
    network = nn.Linear(2, 3)
    with pytest.raises(NetworkError) as caught:
        load_weights(network, {"weigth": torch.zeros(3, 2), "bias": torch.zeros(4)})
    english, chinese = str(caught.value), caught.value.message("zh")
    assert english == (
        "the weights are another network's: weight missing: the nearest are weigth; weigth "
        "unknown: the nearest are weight; bias is (4,) and should be (3,)"
    )
    assert chinese == (
        "这些权重属于另一个网络：缺少 weight：最接近的是 weigth；不认识 weigth：最接近的是 weight；"
        "bias 的形状是 (4,)，应为 (3,)。"
    )


def test_an_error_is_the_same_after_a_trip_between_processes() -> None:
    error = WeightsError("backbone_not_here", name="a.safetensors", backbone="imagenet")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is WeightsError
    assert str(again) == "a.safetensors needs the backbone imagenet, which is not here"
    assert again.message("zh") == "a.safetensors 需要骨干网络 imagenet，这里没有。"


def test_a_plain_sentence_stands_for_itself() -> None:
    error = WeightsError("the Hub said {no}")
    assert str(error) == error.message("zh") == "the Hub said {no}"
    assert sentence(error) == "The Hub said {no}."


def test_a_sentence_does_not_respell_a_value() -> None:
    assert sentence(WeightsError("not_whole", name="a.b")) == "a.b is not a whole safetensors file."
    assert sentence(InputError("no_class", target="a")) == "No class 'a'."


def raised() -> Iterator[tuple[str, str, set[str | None]]]:
    """File, code and names of the values of each error that the code makes with a code."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.Call(ast.Name(name), [ast.Constant(str(code))], values):
                    if name in ERRORS and " " not in code:  # with blanks it is a plain sentence
                        yield file.name, code, {one.arg for one in values}


def test_every_error_is_raised_with_the_values_of_its_text() -> None:
    found = list(raised())
    assert len(found) > 40
    for file, code, values in found:
        expected = placeholders(ENGLISH[f"error.{code}"])
        given = values - {None}  # `**values` stands for any
        assert given <= expected, (file, code)
        assert None in values or given == expected, (file, code)


def test_classes_have_names_in_each_language() -> None:
    labels = read_card(bundled_file("none")).labels
    assert {"zh"} <= CLASSES.keys() <= LANGUAGES.keys()
    for lang, names in CLASSES.items():
        assert sorted(names) == sorted(labels)
        assert len(set(names.values())) == len(labels)
        assert all(class_name(lang, label) == names[label] for label in labels)
    assert class_name("zh", "koala") == "考拉"
    assert class_name("zh", "axolotl") == "axolotl"
    assert class_name("en", "koala") == class_name("xx", "koala") == "koala"
