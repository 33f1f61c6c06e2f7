"""Whether an answer is right, whether it should be doubted, and what the network knows at all."""

from __future__ import annotations

from html import escape

from vggviz.app.examples import example_classes, is_labelled_error, is_shown
from vggviz.app.result import Result
from vggviz.locales import class_name, text
from vggviz.weights import doubt_threshold

__all__ = ["doubt", "knows", "truth"]


def truth(lang: str, result: Result) -> str:
    """Whether the answer is one of the classes that the example shows; '' for another picture."""
    known = {one.label for one in result.prediction.ranked}
    shows = example_classes(result.request.path, known)
    if not shows:
        return ""
    labels = text(lang, "language.list").join(class_name(lang, one) for one in shows)
    if known.isdisjoint(shows):
        return f'<p class="truth">{escape(text(lang, "explore.truth.unknown", labels=labels))}</p>'
    right = is_shown(result.request.path, result.top[0].label)
    sentence = escape(text(lang, f"explore.truth.{'right' if right else 'wrong'}", labels=labels))
    if not right and is_labelled_error(result.request.path):
        sentence += f" {escape(text(lang, 'explore.truth.discuss'))}"
    mark = "✓" if right else "✗"
    return f'<p class="truth {"right" if right else "wrong"}"><b>{mark}</b> {sentence}</p>'


def doubt(lang: str, result: Result) -> str:
    """A line that the picture may show nothing that the network knows, where the score of its
    answer is below the threshold that was measured for it (see `doubt_threshold`); else ''."""
    measured = doubt_threshold(result.request.weights, result.attention)
    if measured is None:
        return ""
    score = float(result.prediction.logits.logsumexp(0))
    if measured["score"] == "probability":
        score = result.top[0].probability
    if score >= measured["threshold"]:
        return ""
    rates = {name: f"{100 * measured[name]:.0f}" for name in ("known_doubted", "unknown_doubted")}
    count = len(result.prediction.ranked)
    return (
        f'<p class="doubt"><b>{escape(text(lang, "explore.doubt", count=count))}</b> '
        f"<span>{escape(text(lang, 'explore.doubt_rates', **rates))}</span></p>"
    )


def knows(lang: str, result: Result) -> str:
    """All classes of the network in alphabetical order, behind one click."""
    names = (class_name(lang, one.label) for one in result.prediction.ranked)
    labels = sorted(names, key=str.lower)
    listed = "".join(f"<li>{escape(label)}</li>" for label in labels)
    name = escape(text(lang, "explore.knows", count=len(labels)))
    return (
        f'<button type="button" class="knows" popovertarget="known">{name}</button>'
        f'<div id="known" popover tabindex="0" role="dialog" aria-label="{name}"><h2>{name}</h2>'
        f"<ul>{listed}</ul></div>"
    )
