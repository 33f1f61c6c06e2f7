"""What the page says: the same in every language, as far as a machine can tell."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from vggviz.app.choices import weights_of
from vggviz.app.networks import Networks
from vggviz.app.tabs import TABS
from vggviz.app.texts import LANGUAGES, TEXTS, preferred, say
from vggviz.app.texts.trouble import translated
from vggviz.attention import ATTENTION
from vggviz.cam import METHODS
from vggviz.weights import WEIGHTS


def placeholders(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


def of_specs() -> set[str]:
    """The keys whose English stands in `ATTENTION` and `METHODS`."""
    keys = [f"attention.{key}" for key in ATTENTION] + [f"method.{key}" for key in METHODS]
    return {f"{key}.{part}" for key in keys for part in ("name", "line")}


def test_each_language_says_the_same_things() -> None:
    assert set(TEXTS) == set(LANGUAGES)
    assert TEXTS["en"].keys() == TEXTS["zh"].keys() - of_specs()
    for key, text in TEXTS["en"].items():
        assert placeholders(text) == placeholders(TEXTS["zh"][key]), key


def test_no_english_sentence_stands_in_chinese() -> None:
    """Names stay as they are; three plain English words in a row would be a sentence."""
    for key, text in TEXTS["zh"].items():
        assert not re.search(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,}\b", text), key
        names = {TEXTS["en"].get(key), *(spec.title for spec in ATTENTION.values())}
        assert re.search(r"[一-鿿；]", text) or text in names, key


def test_each_explanation_of_a_spec_is_translated() -> None:
    """A title may stay as it is."""
    specs = {f"attention.{key}": spec.explanation for key, spec in ATTENTION.items()}
    specs |= {f"method.{key}": method.explanation for key, method in METHODS.items()}
    for key, explanation in specs.items():
        assert re.search(r"[一-鿿]", TEXTS["zh"][f"{key}.line"]), key
        assert explanation.endswith("."), key


def test_every_network_that_a_host_may_offer_has_a_name() -> None:
    networks = Networks(dict.fromkeys(WEIGHTS, ("none",)))
    for lang in LANGUAGES:
        assert [key for _, key in weights_of(networks, lang=lang)] == list(WEIGHTS)


def test_every_tab_has_a_name() -> None:
    for room in TABS.values():
        assert say("en", room.NAME) != say("zh", room.NAME)


def test_say_fills_in() -> None:
    assert say("en", "explore.block", number=4) == "Block 4"
    assert say("zh", "explore.block", number=4) == "第 4 块"
    assert say("xx", "explore.name") == "Explore"
    with pytest.raises(KeyError):
        say("en", "explore.nonsense")


@pytest.mark.parametrize(
    ("asked", "accepted", "wanted"),
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
    asked: str | None, accepted: str | None, wanted: str
) -> None:
    assert preferred(asked, accepted) == wanted


@pytest.mark.parametrize(
    ("sentence", "chinese"),
    [
        ("no class 'tabbi': did you mean 'tabby'?", "没有“tabbi”这个类别：您是指“tabby”吗？"),
        (
            "No class 'crane': did you mean 'crane (n01)' or \"ship's crane\" or 'crate'?",
            "没有“crane”这个类别：您是指“crane (n01)”或“ship's crane”或“crate”吗？",
        ),
        ('no class "cat\'s"', "没有“cat's”这个类别。"),
    ],
)
def test_suggestions_in_chinese_have_no_english_quotation(sentence: str, chinese: str) -> None:
    assert translated("zh", sentence) == chinese
