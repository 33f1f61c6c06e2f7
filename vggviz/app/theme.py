"""How the page looks: colours by Gradio's theme, everything else by the style sheets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gradio import themes

from vggviz.app.own import SIZE
from vggviz.locales import LANGUAGES

__all__ = ["LANGUAGE_SCRIPT", "LAUNCH"]

# The page is built in English: for visitors who prefer another language it is hidden until the
# texts have been replaced, for at most three seconds.
_LANGUAGE_HEAD = """
{
  const tags = [new URLSearchParams(location.search).get("lang") ?? "", ...navigator.languages];
  const preferred = tags.map((tag) => tag.split("-")[0].toLowerCase());
  if ((preferred.find((language) => LANGUAGES.includes(language)) ?? "en") !== "en") {
    document.documentElement.classList.add("turning");
    setTimeout(() => document.documentElement.classList.remove("turning"), 3000);
  }
}
""".replace("LANGUAGES", json.dumps(list(LANGUAGES)))

LANGUAGE_SCRIPT = """
const update = () => {
  const lang = element.querySelector("header")?.lang;
  if (!lang) return;
  if (lang !== "en") document.documentElement.classList.remove("turning");
  document.documentElement.lang = lang;
};
new MutationObserver(update).observe(element, {attributes: true, childList: true, subtree: true});
update();
"""
"""The head's script: the document's language is that of the head."""

# The name in a list of classes is selected on focus, so that typing replaces it. An open list that
# scrolls would get the focus of the Tab key, and take it along as it closes. The border of a
# before/after picture follows its slider.
_SCRIPT = """
for (const type of ["focusin", "click"]) document.addEventListener(type, (event) => {
  if (event.target.matches(":is(#target, #contrast) input")) event.target.select();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Tab") return;
  for (const list of document.querySelectorAll("[role=listbox]")) list.tabIndex = -1;
}, true);
document.addEventListener("input", (event) => {
  if (event.target.matches(".before-after input"))
    event.target.parentNode.style.setProperty("--at", `${event.target.value}%`);
});
"""


def _theme() -> themes.Base:
    return themes.Base(
        primary_hue=themes.colors.teal,
        secondary_hue=themes.colors.teal,
        neutral_hue=themes.colors.stone,
        radius_size=themes.sizes.radius_md,
        font="sans-serif",  # the whole list is in style.css: Gradio would quote each name
        font_mono="monospace",
    ).set(
        body_background_fill="#fcfcfb",
        body_background_fill_dark="#171513",
        body_text_color="#1c1917",
        body_text_color_dark="#f2f0ee",
        body_text_color_subdued="#5f5a55",
        body_text_color_subdued_dark="#aaa49d",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1f1c1a",
        border_color_primary="#e5e3e0",
        border_color_primary_dark="#3a3632",
        block_background_fill="*background_fill_primary",
        block_shadow="none",
        input_background_fill="*background_fill_primary",
        input_background_fill_dark="*background_fill_primary",
        input_border_width="1px",
        input_border_color="*border_color_primary",
        input_border_color_focus="#0f766e",
        input_border_color_focus_dark="#2dd4bf",
        input_radius="10px",
        slider_color="#0f766e",
        slider_color_dark="#2dd4bf",
    )


# In the head, so that it is there before the first paint; Gradio's `css` comes after it, rewritten.
_STYLE = "".join(
    (Path(__file__).parent / name).read_text(encoding="utf-8")
    for name in (
        *("style.css", "explore.css", "downloads.css", "tabs.css", "stage.css", "phone.css"),
        *("credible.css", "lessons/card.css", "tabs/wall.css", "tabs/pixel.css"),
        "tabs/paint.css",
    )
)
_SCRIPTS = "".join(
    f"<script>{Path(__file__).with_name(name).read_text(encoding='utf-8')}</script>"
    for name in ("page.js", "address.js", "stage.js", "save.js")
)

LAUNCH: dict[str, Any] = {
    "theme": _theme(),
    "head": f"<style>{_STYLE}</style><script>{_LANGUAGE_HEAD}{_SCRIPT}</script>{_SCRIPTS}",
    "footer_links": ["api", "settings"],
    "max_file_size": SIZE,  # the limit for weights; `open_image` has its own for pictures
    "show_error": False,
    "run_history": False,
    "enable_monitoring": False,
    "state_session_capacity": 1000,
}
"""Arguments of `demo.launch`."""
