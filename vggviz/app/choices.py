"""What there is to choose: networks, attention types and classes as a dropdown's choices."""

from __future__ import annotations

from collections.abc import Sequence

from vggviz.app.markup import named
from vggviz.app.networks import NOTHING, Networks, Owned
from vggviz.app.own import Own
from vggviz.explainer import Explainer
from vggviz.locales import text
from vggviz.weights import STOCK, WEIGHTS

__all__ = ["classes", "start", "types_of", "weights_of"]


def start(explainer: Explainer, stage: str = "block4") -> str:
    """The stage to look at first: this one, or block 4, or the last, whichever has attention."""
    stages = tuple(explainer.model.attention)
    return next(
        (one for one in (stage, "block4", *stages[-1:]) if one in stages or not stages), stage
    )


def weights_of(networks: Networks, own: Owned = NOTHING, lang: str = "en") -> list[tuple[str, str]]:
    """The networks as a dropdown's choices, a session's own ones last."""
    bundled = [(_known(key, lang), key) for key in networks.choices]
    return [*bundled, *((_called(one, lang), key) for key, one in own.items())]


def _known(key: str, lang: str) -> str:
    if key in STOCK:
        return text(lang, "explore.network.imagenet", name=key)
    return text(lang, f"explore.network.{key}") if key in WEIGHTS else key


def _called(one: Own, lang: str) -> str:
    count = len(one.labels)
    kind = "own_untrained" if one.trained == "nothing" else "own_one" if count == 1 else "own"
    return text(lang, f"explore.network.{kind}", name=one.name, count=count)


def types_of(
    networks: Networks, weights: str, own: Owned = NOTHING, lang: str = "en"
) -> list[tuple[str, str]]:
    """The attention types of these weights as a dropdown's choices."""
    return [(named(lang, key), key) for key in networks.types(weights, own)]


def classes(
    labels: Sequence[str], lang: str = "en", none: str = "likeliest"
) -> list[tuple[str, str]]:
    """The classes as a dropdown's choices, by index, since two may have the same label."""
    order = sorted(range(len(labels)), key=lambda index: labels[index].lower())
    first = (text(lang, f"shell.{none}"), "")
    return [first, *((labels[index], str(index)) for index in order)]
