"""Measure the page in a real Chromium: `python tests/support/vitals.py http://127.0.0.1:7860`.

Largest Contentful Paint, layout shift, the slowest interaction (Event Timing, as Interaction to
Next Paint counts it) over every view setting and every tab, and the time from an upload to the
finished first screen. It reports and asserts nothing: times are the machine's.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Any

from page import EXAMPLES, MAPS, changes, choose, show, upload
from playwright.sync_api import sync_playwright

from vggviz.app.tabs import TABS

WATCH = """
window.vitals = {lcp: 0, cls: 0, inp: 0, slowest: "", interactions: 0};
const watch = (type, take, more = {}) => new PerformanceObserver(
  (list) => list.getEntries().forEach(take)).observe({type, buffered: true, ...more});
watch("largest-contentful-paint", (entry) => { vitals.lcp = entry.startTime; });
watch("layout-shift", (entry) => { if (!entry.hadRecentInput) vitals.cls += entry.value; });
watch("event", (entry) => {
  if (!entry.interactionId) return;
  vitals.interactions += 1;
  if (entry.duration <= vitals.inp) return;
  vitals.inp = entry.duration;
  vitals.slowest = `${entry.name} in #${entry.target?.closest("[id]")?.id}`;
}, {durationThreshold: 16});
"""


def measure(address: str, chromium: str = "/usr/bin/chromium") -> dict[str, Any]:
    """One visit: milliseconds, but for `cls`; `load` is the machine's before it."""
    load = os.getloadavg()[0]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.add_init_script(WATCH)
        page.goto(address)
        page.locator("#maps img").nth(1).wait_for()
        page.locator("#picture input[type=file]").wait_for(state="attached")
        page.wait_for_timeout(1500)
        page.locator("#more .more").click()
        uploads = []
        for name in ("koala", "espresso", "orange", "hog", "bee"):
            begun = time.perf_counter()
            changes(page, MAPS, lambda name=name: upload(page, EXAMPLES / f"{name}.jpg"))
            uploads.append(1000 * (time.perf_counter() - begun))
        _look(page)
        for tab in TABS:
            show(page, tab)
            page.wait_for_timeout(500)
        page.locator("#open-lessons button").click()
        page.locator("#lesson [data-open=spatial]").click()
        page.locator("#lesson .close").click()
        page.locator('#tabs [role=tab][data-tab-id="explore"]').first.click()
        page.wait_for_timeout(1000)
        found: dict[str, Any] = page.evaluate("vitals")
        browser.close()
    times = {"upload": statistics.median(uploads), "uploads": [round(u) for u in uploads]}
    return {**found, **times, "load": load}


def _look(page: Any) -> None:
    """Every view setting once, by mouse and by keyboard."""
    changes(page, MAPS, page.locator("#answer li button").nth(1).click)
    for block in (5, 1, 4):
        changes(page, MAPS, page.locator("#stage label").nth(block - 1).click)
    changes(page, MAPS, lambda: choose(page, "#method", "LayerCAM"))
    page.locator("#maps figure:nth-of-type(3) .heat").wait_for()
    for part, option in (("#colours", "viridis"), ("#layout", "Attention | CAM")):
        changes(page, MAPS, lambda part=part, option=option: choose(page, part, option))
    for part in ("#on", "#scale"):
        changes(page, MAPS, page.locator(f"{part} label").nth(1).click)
    page.locator(".before-after input").focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    page.locator("#opacity input[type=range]").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.locator("#channels input[type=range]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.locator("#take summary").click()
    page.keyboard.press("Escape")


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
