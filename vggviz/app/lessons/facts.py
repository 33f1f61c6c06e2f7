"""The measurements that lessons cite, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vggviz.app.markup import attention_title
from vggviz.locales import text
from vggviz.weights import BUNDLED, bundled_results

__all__ = ["measured_facts"]


def measured_facts(attention: str, measurements: Sequence[str], lang: str) -> list[str]:
    """The `measurements` ('accuracy', 'use', 'pointing') of an attention type as sentences, [] for
    none.

    The numbers come from the results of `vggviz evaluate` that are bundled with the weights.
    """
    measured = bundled_results(BUNDLED, attention) if attention else None
    plain = bundled_results(BUNDLED, "none")
    if measured is None or plain is None:
        return []
    name = attention_title(lang, attention)
    pointing = measured["pointing"] or {"subsets": {}}
    facts: list[str] = []
    if "accuracy" in measurements:
        facts.append(
            text(
                lang,
                "lessons.measured",
                pictures=pointing["subsets"].get("all", {}).get("count", "?"),
                name=name,
                top1=_tenths(measured["top1"]["value"]),
                none=_tenths(plain["top1"]["value"]),
            )
        )
    if "use" in measurements and (use := measured["use"].get("uniform")):
        points = {part: _tenths(use["points"][part]) for part in ("value", "low", "high")}
        lost = points.pop("value")
        facts.append(text(lang, "lessons.use", name=name, lost=lost, **points))
    if "pointing" in measurements and "off_centre" in pointing["subsets"]:
        subset = pointing["subsets"]["off_centre"]
        rates = {kind: _hits(pointing, kind) for kind in ("attention", "gradcam")}
        if None not in rates.values():
            whole = {kind: f"{100 * (rate or 0):.0f}" for kind, rate in rates.items()}
            chance = f"{100 * subset['chance']:.0f}"
            facts.append(
                text(lang, "lessons.pointing", count=subset["count"], chance=chance, **whole)
            )
    return facts


def _hits(pointing: Mapping[str, Any], kind: str) -> float | None:
    """How often the peak of attention, or of Grad-CAM, lies on off-centre objects, at the stage
    where this was most often so; None where there is no such map."""
    stage = pointing["best"].get("off_centre", {}).get(kind)
    rates = [
        view["rates"]["off_centre"]["value"]
        for view in pointing["views"]
        if view["stage"] == stage and (view["kind"] == "gradcam") == (kind == "gradcam")
    ]
    return rates[0] if rates else None


def _tenths(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")
