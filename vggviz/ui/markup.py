"""A result as HTML: the answer, the maps, the channel weights. Labels are text, not markup."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from vggviz import render
from vggviz.ui.pictures import Floats, Pixels, Place, Shown, data_uri

ABOUT = {
    "none": ("No attention", "Plain VGG19. Grad-CAM needs no attention."),
    "gate": ("Gate", "Two linear layers at every place weigh each of its features."),
    "se": ("Squeeze-and-excitation", "One weight per channel, from the means of all channels."),
    "eca": ("Efficient channel attention", "One weight per channel, from its nearest neighbours."),
    "spatial": ("Spatial attention", "One weight per place, from mean and maximum over channels."),
    "cbam": ("CBAM", "First one weight per channel, then one weight per place."),
    "self_attention": (
        "Self-attention",
        "Every place gathers from all others, as in a Transformer.",
    ),
    "softmax": ("Softmax pooling", "Places compete; their weighted average is added everywhere."),
    "simam": ("SimAM", "Weighs up what stands out of its channel. Nothing is learned."),
}
"""Each attention type's name and a line on what it does."""

_HOW = {
    "spatial": "one weight per place",
    "volume": "mean over channels",
    "token": "how much each place is looked at",
    "pool": "shares of 1 over all places",
}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SCALE = ", ".join(
    "#" + "".join(f"{round(255 * part):02x}" for part in colour)
    for colour in render.colours(np.linspace(0, 1, 9, dtype=np.float32)[None])[0]
)


def answer(shown: Shown) -> str:
    """The verdict, the crop that the network saw, and the five likeliest classes."""
    first, side = shown.top[0], len(shown.crop)
    badge = _badge("untrained") if shown.trained == "nothing" else ""
    rows = "".join(
        f'<li><span class="name">{escape(ranked.label)}</span>'
        f'<span class="share">{_percent(ranked.probability)}</span>'
        f'<span class="bar"><i style="width:{100 * ranked.probability:.2f}%"></i></span></li>'
        for ranked in shown.top
    )
    return (
        f'<div class="verdict" role="status"><h2>The network says{badge}</h2>'
        f'<p><b title="{escape(first.label)}">{escape(first.label)}</b> '
        f"<span>{_percent(first.probability)}</span></p></div>"
        f'<figure><img class="{"coarse" if side < 128 else "fine"}" width="{side}" height="{side}" '
        f'src="{data_uri(shown.crop, "png")}" alt="The square of the picture that the network saw">'
        f"<figcaption>All that it saw: {side}&nbsp;×&nbsp;{side} pixels</figcaption></figure>"
        f'<ol aria-label="The five likeliest classes">{rows}</ol>'
    )


def maps(shown: Shown, site: str, opacity: float) -> str:
    """The attention of one site beside Grad-CAM there, each over the picture, with raw ranges."""
    place, block = shown.places[site], f"block {site[-1]}"
    name, target = escape(ABOUT[shown.attention][0]), escape(shown.target.label)
    if place.attention is None:
        attention = _instead(*_missing(shown, site))
        how = ""
    else:
        alt = f"{name} at {block}, laid over the picture"
        attention = _overlay(shown.square, place.attention, opacity, alt)
        how = f"{_HOW[place.kind or 'spatial']}, {_size(place.attention)}"
    alt = f"Grad-CAM for {target} at {block}, laid over the picture"
    gradcam = _overlay(shown.square, place.gradcam, opacity, alt)
    return (
        f"<figure><h2>Attention <small>{name}</small></h2>{attention}"
        f"<figcaption>{how} {_blended(shown, place)}</figcaption></figure>"
        f"<figure><h2>Grad-CAM <small>for {target}</small></h2>{gradcam}"
        f"<figcaption>what speaks for this class, {_size(place.gradcam)}</figcaption></figure>"
    )


def channels(shown: Shown, site: str) -> str:
    """The channel weights of one site from the highest down, as a chart from 0 to 1."""
    weights = shown.places[site].channels
    head = "<h2>Channel weights <small>{}</small></h2>"
    if weights is None:
        sentence, _ = _missing(shown, site)
        return f'{head.format("")}<div class="chart"><p class="instead">{sentence}</p></div>'
    order = np.argsort(-weights, kind="stable")
    count, highest, lowest = len(order), int(order[0]), int(order[-1])
    ends = _ends(float(weights[lowest]), float(weights[highest]))
    line = "".join(f"V{100 - 100 * weights[i]:.2f}H{x}" for x, i in enumerate(order, 1))
    top = f"{100 - 100 * weights[highest]:.2f}"
    said = f"highest {ends[1]} (channel {highest}), lowest {ends[0]} (channel {lowest})"
    return head.format(f"{count} at block {site[-1]}, sorted") + (
        f'<div class="chart"><div class="axis" aria-hidden="true"><i>1</i><i>½</i><i>0</i></div>'
        f'<svg viewBox="0 0 {count} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="Channel weights, sorted: {said}">'
        f'<path class="grid" d="M0 0H{count}M0 50H{count}M0 100H{count}"/>'
        f'<path class="area" d="M0 100{line}V100Z"/><path class="line" d="M0 {top}{line}"/></svg>'
        f"</div><p class=caption>{said}</p>"
    )


def about(attention: str, found: Mapping[str, Any] | None = None) -> str:
    """What this attention type does, and what was `found` of it (see `zoo.measured`)."""
    return f"<p>{ABOUT[attention][1]}{_measured(found) if found else ''}</p>"


def _measured(found: Mapping[str, Any]) -> str:
    """How often it is right, whether the network uses it, and whether it points at the object."""
    told = [f"{100 * found['top1']['value']:.1f}% right"]
    if use := found["use"].get("uniform"):
        lost = 100 * use["points"]["value"]
        cost = f"{lost:.1f} points".replace("-", "−")
        told.append(
            f"its mean in its place costs {cost}"
            if lost >= 1
            else f"hardly used: its mean in its place costs {cost}"
        )
    pointing = found["pointing"] or {"best": {}}
    site = pointing["best"].get("off_centre", {}).get("attention")
    for view in pointing.get("views", ()):
        if view["site"] == site and view["kind"] != "gradcam":
            hits = 100 * view["rates"]["off_centre"]["value"]
            chance = 100 * pointing["subsets"]["off_centre"]["chance"]
            told.append(f"finds {hits:.0f}% of off-centre objects (chance {chance:.0f}%)")
            break
    return f" <span>Measured: {'; '.join(told)}.</span>"


def _overlay(square: Pixels, raw: Floats, opacity: float, alt: str) -> str:
    values, low, high = render.stretch(raw)
    ends = _ends(low, high)
    flat = not high - low > 1e-6 * max(abs(low), abs(high))  # but for rounding of float32
    if flat:
        values = np.full_like(values, np.nan)  # the picture stays bare: there is nothing to see
        alt += f": the same everywhere, {ends[0]}"
    image = data_uri(render.overlay(square, values, opacity))
    scale = (
        f'<div class="scale"><b>the same everywhere: {ends[0]}</b></div>'
        if flat
        else f'<div class="scale"><b>{ends[0]}</b>'
        f'<i style="background:linear-gradient(90deg,{_SCALE})"></i><b>{ends[1]}</b></div>'
    )
    return f'<img src="{image}" width="{len(square)}" height="{len(square)}" alt="{alt}">{scale}'


def _missing(shown: Shown, site: str) -> tuple[str, str]:
    """Why there is no such view here, and what to do about it."""
    place = shown.places[site]
    blocks = [name[-1] for name, one in shown.places.items() if one.weighs]
    if not blocks:
        return "No attention in this network.", "Choose another type or network."
    if place.channels is not None:
        return "This attention weighs channels, not places.", "Its weights are below."
    if place.attention is not None:
        return "This attention weighs places, not channels.", "Its map is above."
    return f"No attention at block {site[-1]}.", f"{_listed(blocks)} it."


def _listed(blocks: list[str]) -> str:
    """'Block 5 has', 'Blocks 3, 4 and 5 have'."""
    *others, last = blocks
    return f"Blocks {', '.join(others)} and {last} have" if others else f"Block {last} has"


def _instead(sentence: str, hint: str) -> str:
    return f'<div class="instead"><p>{sentence}</p><p>{hint}</p></div><div class="scale"></div>'


def _blended(shown: Shown, place: Place) -> str:
    if shown.attention == "none":
        return ""
    if shown.trained == "nothing":
        return _badge("untrained")
    if place.gamma is None:
        return ""
    if abs(place.gamma) < 0.005:
        return _badge("γ = 0.00: the network ignores this attention")
    return f"<span>γ = {place.gamma:.2f}</span>".replace("-", "−")


def _badge(text: str) -> str:
    return f'<strong class="badge">{text}</strong>'


def _size(map: Floats) -> str:
    return f"{map.shape[1]}&nbsp;×&nbsp;{map.shape[0]}"


def _percent(probability: float) -> str:
    percent = 100 * probability
    if 0 < percent < 0.1:
        return "&lt;0.1%"
    if 99.95 <= percent < 100:
        return "&gt;99.9%"
    return f"{percent:.1f}%" if percent < 10 or 99 < percent < 100 else f"{percent:.0f}%"


def _ends(low: float, high: float) -> tuple[str, str]:
    """Both numbers with as few digits, from two up, as tell them apart."""
    for digits in range(2, 8):
        ends = _number(low, digits), _number(high, digits)
        if ends[0] != ends[1]:
            return ends
    return _number(low, 2), _number(high, 2)


def _number(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return "–"
    mantissa, _, exponent = f"{value:#.{digits}g}".partition("e")
    text = mantissa.rstrip(".") + (
        f"·10{str(int(exponent)).translate(_SUPERSCRIPT)}" if exponent else ""
    )
    return "0" if value == 0 else text.replace("-", "−")
