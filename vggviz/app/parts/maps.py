"""The picture, its attention and its CAMs, side by side or overlaid, and their agreement."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import torch

from vggviz.app.markup import (
    attention_title,
    badge,
    bar,
    canvas,
    heat,
    method_explanation,
    method_title,
    number,
    placeholder,
    size,
    stage_title,
)
from vggviz.app.result import Floats, Result, StageMaps
from vggviz.app.view import View
from vggviz.cam import METHODS
from vggviz.locales import class_name, text
from vggviz.metrics.agreement import agreement
from vggviz.plotting import data_uri
from vggviz.plotting.scale import colour_scale
from vggviz.types import Kind, Ranked

__all__ = ["maps", "why_no_attention", "why_not_compared"]

LAYER = 320  # pixels a side of a map's colours: smooth, so that the browser can enlarge them


class _Tile(NamedTuple):
    """A map on the page: its name, and as HTML its heading, picture, colour bar and caption."""

    name: str
    heading: str
    canvas: str
    colour_bar: str
    caption: str


def maps(lang: str, result: Result, view: View, address: str = "") -> str:
    """The tiles of a result, side by side or two of them under a before/after slider, and the
    agreement of attention and CAM.

    A tile is enlarged by its button. While one is held down, the network's own input takes the
    photograph's place: the style sheet has it as `--input`. The browser's address becomes that of
    the view, `address`.
    """
    tiles = [_original(lang, result, view), _attention(lang, result, view)]
    tiles += [_cam(lang, result, view, role) for role in range(1 + (result.contrast is not None))]
    if view.layout == "side":
        figures = "".join(
            f'<figure class="tile"><h2>{tile.heading}</h2><div class="enlargeable">{tile.canvas}'
            f'<button type="button" aria-label="{_enlarge(lang, tile)}"></button></div>'
            f"{tile.colour_bar}<figcaption>{tile.caption}</figcaption></figure>"
            for tile in tiles
        )
        row = f'<div class="tiles count{len(tiles)}">{figures}</div>'
    else:
        row = _slider(lang, tiles, view.layout)
    viewed = "".join(f' data-{name}="{escape(value)}"' for name, value in view._asdict().items())
    return (
        f'<div class="looks" data-address="{escape(address)}" '
        f'data-stage="{escape(stage_title(lang, view.stage))}" '
        f'style="--input:url({data_uri(result.crop, "png")})"><i class="viewed" hidden{viewed}></i>'
        f'{row}<p class="agreement" role="status">{_agreement(lang, result, view)}</p></div>'
    )


def _enlarge(lang: str, tile: _Tile) -> str:
    return escape(text(lang, "explore.enlarge", name=tile.name))


def why_no_attention(lang: str, result: Result, stage: str) -> tuple[str, str]:
    """Why a stage has no attention map, or no channel weights, to show; and a hint on where there
    are some."""
    stage_maps, names = result.stages[stage], result.with_attention
    if not names:
        return text(lang, "explore.none"), text(lang, "explore.none_hint")
    if stage_maps.channels is not None:
        return text(lang, "explore.channels_only"), text(lang, "explore.channels_hint")
    if stage_maps.attention is not None:
        return text(lang, "explore.places_only"), text(lang, "explore.places_hint")
    here = text(lang, "explore.not_here", block=stage_title(lang, stage))
    return here, _stages_with_attention(lang, [stage_title(lang, name) for name in names])


def _stages_with_attention(lang: str, titles: Sequence[str]) -> str:
    """'Block 5 has it.', 'Block 3, Block 4 and Block 5 have it.'"""
    *others, last = titles
    if not others:
        return text(lang, "explore.one_has", last=last)
    listed = text(lang, "language.list").join(others)
    return text(lang, "explore.more_have", others=listed, last=last)


def _original(lang: str, result: Result, view: View) -> _Tile:
    side = len(result.crop)
    if view.on == "picture":
        image = canvas(result.picture, text(lang, "explore.whole_alt"), box=result.box)
    else:
        image = canvas(result.square, text(lang, "explore.original_alt"))
    caption = escape(text(lang, "explore.hold", side=side)).replace(" × ", "&nbsp;×&nbsp;")
    heading = escape(text(lang, "explore.original"))
    return _Tile(heading, heading, image, "", f'<span class="hint">{caption}</span>')


def _attention(lang: str, result: Result, view: View) -> _Tile:
    stage_maps, name = result.stages[view.stage], attention_title(lang, result.attention)
    plain = escape(text(lang, "explore.attention"))
    heading = f"{plain} <small>{escape(name)}</small>"
    remark = _gamma_note(lang, result, stage_maps)
    if stage_maps.attention is None:
        style = "" if stage_maps.channels is None else "channels-only"
        why = placeholder(*why_no_attention(lang, result, view.stage))
        nothing = _over_photograph(result, why, style)
        return _Tile(plain, heading, nothing, '<div class="scale"></div>', remark)
    kind: Kind = stage_maps.kind or "spatial"
    how = escape(text(lang, f"explore.how.{kind}", size=size(stage_maps.attention)))
    alt = text(lang, "explore.attention_alt", name=name, block=stage_title(lang, view.stage))
    image, colour_bar, flat = _overlay(lang, result, view, stage_maps.attention, alt, kind=kind)
    return _Tile(plain, heading, image, colour_bar, f"{flat}<span>{how}</span> {remark}")


def _cam(lang: str, result: Result, view: View, role: int) -> _Tile:
    """The tile of the CAM for the target (`role` 0) or for the contrast (1)."""
    method, target = method_title(lang, view.method), _class(result, role)
    about = "explore.for" if METHODS[view.method].class_specific else "explore.no_class"
    how = escape(method_explanation(lang, view.method))
    remark = escape(text(lang, about, label=class_name(lang, target.label)))
    heading = f'<span title="{how}">{escape(method)}</span> <small>{remark}</small>'
    key = (view.stage, view.method, role)
    raw = result.maps.get(key)
    if raw is None:
        why = "explore.no_map" if key in result.maps else "explore.computing"
        sentences = placeholder(text(lang, why, method=method), text(lang, f"{why}_hint"))
        image = _over_photograph(result, sentences)
        return _Tile(escape(method), heading, image, '<div class="scale"></div>', "")
    alt = text(
        lang,
        "explore.cam_alt",
        method=method,
        label=class_name(lang, target.label),
        block=stage_title(lang, view.stage),
    )
    both = (result.maps.get((view.stage, view.method, one)) for one in (0, 1))
    top = max((float(one.max()) for one in both if one is not None), default=0.0)
    image, colour_bar, flat = _overlay(lang, result, view, raw, alt, top=top)
    about = "explore.speaks" if METHODS[view.method].class_specific else "explore.size"
    caption = escape(text(lang, about, size=size(raw)))
    return _Tile(escape(method), heading, image, colour_bar, f"{flat}<span>{caption}</span>")


def _over_photograph(result: Result, sentences: str, style: str = "") -> str:
    """The photograph, faded, behind why there is no map."""
    return f'<div class="faded {style}">{canvas(result.square, "")}{sentences}</div>'


def _class(result: Result, role: int) -> Ranked:
    return result.contrast if role and result.contrast is not None else result.target


def _overlay(
    lang: str,
    result: Result,
    view: View,
    raw: Floats,
    alt: str,
    *,
    kind: Kind | None = None,
    top: float = 0.0,
) -> tuple[str, str, str]:
    """The picture with the map over it, the map's colour bar, and a remark where the map is nearly
    flat; the picture alone where it is flat."""
    scale = colour_scale(raw, view.scale, kind, top)
    layer = None
    if scale.flat:
        alt = text(lang, "explore.flat_alt", alt=alt, value=scale.range_text[0])
    else:
        layer = heat(raw, scale, view.colours, LAYER)
    whole = view.on == "picture"
    picture, box = (result.picture, result.box) if whole else (result.square, None)
    remark = badge(text(lang, "explore.nearly_flat")) if scale.nearly_flat else ""
    return canvas(picture, alt, layer, box), bar(lang, scale, view.colours), remark


def _gamma_note(lang: str, result: Result, stage_maps: StageMaps) -> str:
    if result.attention == "none":
        return ""
    if result.trained == "nothing":
        return badge(text(lang, "explore.untrained"))
    if stage_maps.gamma is None:
        return ""
    if abs(stage_maps.gamma) < 0.005:
        return badge(text(lang, "explore.ignored"))
    return f"<span>γ = {stage_maps.gamma:.2f}</span>".replace("-", "−")


def _slider(lang: str, tiles: Sequence[_Tile], layout: str) -> str:
    """Two tiles on top of each other, with a range input that moves the border between them."""
    places = {"original": 0, "attention": 1, "cam": 2}
    left, right = (tiles[places[name]] for name in layout.split("-"))
    label = escape(text(lang, "explore.slider", left=left.name, right=right.name))
    notes = "".join(
        f'<div class="note"><h2>{tile.heading}</h2>{tile.colour_bar}<p>{tile.caption}</p></div>'
        for tile in (left, right)
    )
    return (
        f'<div class="slide"><figure class="before-after">{right.canvas}'
        f'<div class="over">{left.canvas}</div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{label}"></figure>'
        f'<div class="notes">{notes}</div></div>'
    )


def _agreement(lang: str, result: Result, view: View) -> str:
    """Rank correlation and overlap of attention and CAM, and their reading; with a contrast, also
    why there is only one attention map for both classes."""
    method = method_title(lang, view.method)
    why = ""
    if result.contrast is not None and METHODS[view.method].class_specific:
        why = f' <span class="why">{escape(text(lang, "explore.why", method=method))}</span>'
    attention = result.stages[view.stage].attention
    cam = result.maps.get((view.stage, view.method, 0))
    withheld = why_not_compared(result.stages[view.stage], result.trained, attention, cam)
    if withheld is not None:
        return f"<span>{escape(text(lang, f'explore.not_compared.{withheld}'))}</span>{why}"
    assert attention is not None
    assert cam is not None
    found = agreement(torch.from_numpy(attention), torch.from_numpy(cam))
    numbers = text(
        lang,
        "explore.numbers",
        spearman=number(round(found.spearman, 2), 2) if abs(found.spearman) >= 0.005 else "0",
        iou=round(100 * found.iou),
    )
    reading = text(lang, f"explore.read.{reading_key(found.spearman)}")
    return (
        f"<b>{escape(reading)}</b> <span>{escape(text(lang, 'explore.agreement', method=method))}: "
        f"{escape(numbers)}</span>{why}"
    )


def why_not_compared(
    stage_maps: StageMaps, trained: str, attention: Floats | None, cam: Floats | None
) -> str | None:
    """Why the agreement of these maps would say nothing, as a key; None where it says something.

    'flat': one of the two maps is not there or the same everywhere; 'untrained': the attention was
    not learned, or is not used; 'attention' or 'cam': that map is nearly flat (see `ColourScale`),
    so that the order of its places is hardly more than chance.
    """
    if attention is None or cam is None:
        return "flat"
    if trained != "all" or (stage_maps.gamma is not None and abs(stage_maps.gamma) < 0.005):
        return "untrained"
    scales = {
        "attention": colour_scale(attention, "raw", stage_maps.kind),
        "cam": colour_scale(cam, "raw"),
    }
    if any(scale.flat for scale in scales.values()):
        return "flat"
    return next((name for name, scale in scales.items() if scale.nearly_flat), None)


def reading_key(spearman: float) -> str:
    """The last part of the text key that words a rank correlation: 'strong', …, 'against'."""
    steps = ((0.7, "strong"), (0.4, "partly"), (0.15, "weak"), (-0.15, "none"))
    return next((word for least, word in steps if spearman >= least), "against")
