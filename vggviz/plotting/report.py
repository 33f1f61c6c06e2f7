"""A result as one page to read and to print: a single HTML file that fetches nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np

from vggviz.locales import section, text
from vggviz.plotting.maps import Pixels, data_uri, gradient, overlay
from vggviz.plotting.panels import Panel, number, panels
from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked

__all__ = ["report"]

SIDE = 256  # pixels of a picture, at least: sharp on paper at 4 cm


def report(
    crop: Pixels,
    prediction: Prediction,
    attention: Mapping[str, Sequence[AttentionRecord]],
    heatmaps: Mapping[tuple[str, str], Heatmap],
    *,
    target: Ranked,
    provenance: Mapping[str, Any],
    title: str = "",
    link: str = "",
    lang: str = "en",
    order: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
    explanations: Mapping[str, str] | None = None,
    subtitle: str = "",
) -> str:
    """The page as HTML, in the language `lang` (a key of `LANGUAGES`; another one is English).

    Everything that `figure` shows: the crop and what the network says of it, then a row a view
    and a column a stage, each map with its raw range, and how to read them. `provenance` is that of
    an explanation, `link` an address that shows the same, `order` the network's order of stages.
    `titles` and `explanations` (a sentence each) are those of CAM methods by key; a method without
    a title is named by its key. `subtitle` stands beside the title: by default network, weights and
    attention by their keys. Labels, titles, sentences and link are text, never markup; pictures are
    inlined, there is no script, and the page forbids itself to fetch.
    """
    words = section(lang, "report")
    rows = panels(attention, heatmaps, order, titles)
    large = _enlarged(crop)
    ramp = f":root {{ --ramp: linear-gradient(90deg, {gradient()}); }}"
    first = prediction.top(1)[0]
    heading = escape(title or f"{first.label} · {first.probability:.0%}")
    replaced = provenance["trained"] == "backbone" and not provenance["gamma"]
    note = words.get("replaced" if replaced else provenance["trained"], "")
    network = provenance["config"].get("network", "VGG19")
    about = subtitle or f"{network} · {provenance['weights']} · {provenance['config']['attention']}"
    picture = provenance.get("picture", {})
    notes = [note] if note else []
    if picture.get("stretched"):
        low, high = picture["stretched"]
        notes.append(words["stretched"].format(low=low, high=high))
    if picture.get("one_colour"):
        notes.append(words["one_colour"])
    top = "".join(f'<p class="note">{text}</p>' for text in notes)
    lines = explanations or {}
    body = "".join(_row(row, large, target, words, lines) for row in rows)
    reading = "".join(
        f"<li>{words[f'read_{key}']}</li>" for key in ("colours", "attention", "cam", "cause")
    )
    return (
        f'<!doctype html>\n<html lang="{text(lang, "language.tag")}">'
        f'<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{heading}</title><style>{ramp}{_STYLE}</style></head><body>"
        f"<header><h1>{heading}</h1><p>{escape(about)}</p></header>{top}"
        f'<main><section class="top"><figure><h2>{words["saw"]}</h2>'
        f'<img src="{data_uri(large, "png")}" alt="{words["saw"]}">'
        f"<figcaption>{words['pixels'].format(side=len(crop))}</figcaption></figure>"
        f"<div><h2>{words['says']}</h2>{_answer(prediction, target, words)}</div>"
        f"<div><h2>{words['reading']}</h2><ul>{reading}</ul></div></section>"
        f'<section class="maps" style="--wide:{max(3, *map(len, rows), 0)}">'
        f"{body}</section></main>"
        f"<footer>{_made(provenance, link, words)}</footer></body></html>\n"
    )


def _answer(prediction: Prediction, target: Ranked, words: Mapping[str, str]) -> str:
    """The five likeliest classes, and the one that is explained where it is none of them."""
    ranks = list(enumerate(prediction, 1))
    shown = ranks[:5] + [rank for rank in ranks[5:] if rank[1].index == target.index][:1]
    return "<ol>{}</ol>".format(
        "".join(
            f"<li{' class=target' if one.index == target.index else ''}>"
            f"<span>{escape(one.label)}{_marked(rank, one, target, words)}</span>"
            f"<b>{one.probability:.1%}</b>"
            f'<i style="width:{100 * one.probability:.2f}%"></i></li>'
            for rank, one in shown
        )
    )


def _marked(rank: int, one: Ranked, target: Ranked, words: Mapping[str, str]) -> str:
    if one.index != target.index:
        return ""
    place = f"{words['rank'].format(rank=rank)}, " if rank > 5 else ""
    return f" <small>▸ {place}{words['explained']}</small>"


def _row(
    row: Mapping[str, Panel],
    crop: Pixels,
    target: Ranked,
    words: Mapping[str, str],
    explanations: Mapping[str, str],
) -> str:
    kind, title = next((panel.kind, panel.title) for panel in row.values())
    name = words.get(kind, title)
    if kind not in words and not any(key == "knows no class" for key, _ in _notes(row)):
        name = words["for"].format(method=name, label=target.label)
    figures = "".join(
        f"<figure><h3>{_stage(stage, words)} "
        f"<small>{panel.size if panel.values.ndim == 2 else ''}</small></h3>"
        f"{_panel(panel, crop, f'{name}, {_stage(stage, words)}', words)}</figure>"
        for stage, panel in row.items()
    )
    line = f"<p>{escape(explanations[kind])}</p>" if kind in explanations else ""
    return f'<section style="--wide:{len(row)}"><h2>{escape(name)}</h2>{line}{figures}</section>'


def _notes(row: Mapping[str, Panel]) -> list[tuple[str, str]]:
    return [note for panel in row.values() for note in panel.notes]


def _panel(panel: Panel, crop: Pixels, alt: str, words: Mapping[str, str]) -> str:
    remarks = [words[note] for note, _ in panel.notes if note in words]
    low, high = (number(end, 3) for end in (panel.low, panel.high))
    if panel.flat:
        value = words["flat"].format(value=low)
        return f'<p class="flat">{value}</p><figcaption>{"; ".join(remarks)}</figcaption>'
    if panel.high - panel.low < 0.02 * panel.high:
        share = number(100 * (panel.high - panel.low) / panel.high, 2)
        remarks.append(words["narrow"].format(share=share))
    if panel.values.ndim == 1:
        top = _top(panel)
        said = words["channels"].format(count=len(panel.values), top=f"{top:g}")
        drawn = chart(panel, f"{alt}: {said}, {low} … {high}")
        remarks.insert(0, said)
        scale = f'<div class="scale"><b>{low}</b> … <b>{high}</b></div>'
    else:
        uri = data_uri(overlay(crop, panel.values))
        drawn = f'<img src="{uri}" alt="{escape(alt)}: {low} … {high}">'
        scale = f'<div class="scale"><b>{low}</b><i></i><b>{high}</b></div>'
    return f"{drawn}{scale}<figcaption>{'; '.join(remarks)}</figcaption>"


def _top(panel: Panel) -> float:
    """The power of ten at or above the highest weight."""
    return 10.0 ** math.ceil(math.log10(panel.high)) if panel.high > 0 else 1.0


def chart(panel: Panel, alt: str, side: int | None = None) -> str:
    """Channel weights from the highest down, from 0 to a power of ten, as SVG of `side` pixels."""
    top = _top(panel)
    raw = np.sort(panel.values.astype(np.float64))[::-1] * (panel.high - panel.low) + panel.low
    heights = [f"{100 - 100 * max(0.0, value) / top:.2f}" for value in raw]
    size = f'width="{side}" height="{side}" ' if side else ""
    line = "".join(f"V{height}H{x}" for x, height in enumerate(heights, 1))
    return (
        f'<svg viewBox="0 0 {len(raw)} 100" preserveAspectRatio="none" role="img" '
        f'{size}aria-label="{escape(alt)}"><path fill="#0f766e" d="M0 100{line}V100Z"/></svg>'
    )


def _stage(stage: str, words: Mapping[str, str]) -> str:
    block = re.fullmatch(r"block(\d)", stage)
    return words["block"].format(number=block[1]) if block else escape(stage)


def _made(provenance: Mapping[str, Any], link: str, words: Mapping[str, str]) -> str:
    made = words["made"].format(
        vggviz=provenance["versions"]["vggviz"],
        torch=provenance["versions"]["torch"],
        weights=provenance["weights"],
        attention=provenance["config"]["attention"],
        fingerprint=provenance["fingerprint"] or "–",
    )
    lines = [escape(made)]
    if provenance["gamma"]:
        shares = ", ".join(
            f"{_stage(stage, words)}: γ = {value:.2f}"
            for stage, value in provenance["gamma"].items()
        )
        lines.append(words["gamma"].format(shares=shares.replace("-", "−")))
    if re.match(r"https?://", link):
        lines.append(f'{words["again"]} <a href="{escape(link)}">{escape(link)}</a>')
    return "".join(f"<p>{line}</p>" for line in lines)


def _enlarged(crop: Pixels) -> Pixels:
    """At least `SIDE` pixels wide, so that a map laid on a small crop has smooth colours."""
    if len(crop) >= SIDE:
        return crop
    return np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 24px; max-width: 1080px; background: #fff; color: #1b1f24;
  font: 14px/1.45 -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Noto Sans",
  "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
h1, h2, h3, p, figure, ol, ul { margin: 0; padding: 0; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; }
h1 { font-size: 26px; letter-spacing: -0.01em; }
h2 { font-size: 15px; margin-bottom: 6px; }
h3 { font-size: 12px; font-weight: 600; overflow-wrap: anywhere; }
small, header p, figcaption, footer, .maps > section > p { color: #59636e; font-weight: 400; }
.note { margin-top: 8px; padding: 6px 12px; border: 1px solid currentcolor; border-radius: 8px;
  font-weight: 600; }
.top { display: grid; grid-template-columns: 200px 1fr 1.25fr; gap: 24px; margin: 18px 0; }
img, svg, .flat { display: block; width: 100%; aspect-ratio: 1; border-radius: 8px; }
.flat { display: grid; place-items: center; padding: 8px; background: #f1f0ee; text-align: center; }
svg { background: #f6f7f8; } svg path { fill: #0f766e; }
ol { list-style: none; } ul { padding-left: 18px; font-size: 12.5px; } ul li { margin-bottom: 4px; }
ol li { display: grid; grid-template-columns: 1fr auto; gap: 2px 8px; margin-bottom: 8px; }
ol b { font-weight: 500; font-variant-numeric: tabular-nums; }
ol i { grid-column: 1 / -1; height: 5px; border-radius: 3px; background: #8793a0; }
ol .target { font-weight: 600; } ol .target i { background: #0f766e; }
.maps { display: grid; grid-template-columns: repeat(var(--wide), minmax(0, 1fr)); gap: 14px; }
.maps > section { grid-column: span var(--wide); display: grid; break-inside: avoid;
  grid-template-columns: repeat(var(--wide), minmax(0, 1fr)); gap: 0 14px; align-items: start; }
.maps h2, .maps > section > p { grid-column: 1 / -1; }
.maps > section > p { margin: -6px 0 6px; font-size: 12px; }
.scale { display: flex; align-items: center; gap: 6px; font-size: 11px; margin-top: 4px; }
.scale b { font-weight: 500; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scale i { flex: 1; height: 5px; border-radius: 3px; background: var(--ramp); }
figcaption { font-size: 11px; line-height: 1.3; }
footer { margin-top: 10px; font-size: 11px; overflow-wrap: anywhere; }
@media (max-width: 700px) {
  .top { grid-template-columns: 1fr; }
  .maps { display: block; }
  .maps > section { grid-template-columns: repeat(2, minmax(0, 1fr)); margin-bottom: 14px; }
}
@page { size: A4; margin: 11mm; }
@media print {
  body { padding: 0; max-width: none; font-size: 11px; }
  h1 { font-size: 20px; } h2 { font-size: 12px; margin-bottom: 3px; }
  .top { grid-template-columns: 38mm 1fr 1.25fr; gap: 14px; margin: 8px 0; }
  ul { font-size: 9.5px; } ol li { margin-bottom: 4px; }
  .maps { gap: 8px; }
  h2, .maps > section > p { break-after: avoid; }
  .maps > section > p { margin: -3px 0 3px; font-size: 9.5px; }
}
"""
