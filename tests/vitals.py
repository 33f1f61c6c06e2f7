"""Measure the page in a real Chromium: `python tests/vitals.py http://127.0.0.1:7860`.

Largest Contentful Paint, layout shift, the slowest interaction (Event Timing, as Interaction to
Next Paint counts it), and the time from an upload to the finished first screen. It reports and
asserts nothing: times are the machine's.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

from page import EXAMPLES, MAPS, changes, choose, upload
from playwright.sync_api import sync_playwright

WATCH = """
window.vitals = {lcp: 0, cls: 0, inp: 0};
const watch = (type, take, more = {}) => new PerformanceObserver(
  (list) => list.getEntries().forEach(take)).observe({type, buffered: true, ...more});
watch("largest-contentful-paint", (entry) => { vitals.lcp = entry.startTime; });
watch("layout-shift", (entry) => { if (!entry.hadRecentInput) vitals.cls += entry.value; });
watch("event", (entry) => {
  if (entry.interactionId) vitals.inp = Math.max(vitals.inp, entry.duration);
}, {durationThreshold: 16});
"""


def measure(address: str, chromium: str = "/usr/bin/chromium") -> dict[str, Any]:
    """One visit: milliseconds, but for `cls`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.add_init_script(WATCH)
        page.goto(address)
        page.locator("#maps img").nth(1).wait_for()
        page.locator("#picture input[type=file]").wait_for(state="attached")
        page.wait_for_timeout(1500)
        uploads = []
        for name in ("koala", "espresso", "orange", "hog", "bee"):
            begun = time.perf_counter()
            changes(page, MAPS, lambda name=name: upload(page, EXAMPLES / f"{name}.jpg"))
            uploads.append(1000 * (time.perf_counter() - begun))
        changes(page, MAPS, page.locator("#answer li button").nth(1).click)
        changes(page, MAPS, lambda: page.get_by_label("Block 5").check(force=True))
        changes(page, MAPS, lambda: choose(page, "#layout", "Attention | CAM"))
        page.locator("#opacity input[type=range]").focus()
        for _ in range(10):
            page.keyboard.press("ArrowRight")
        page.wait_for_timeout(1000)
        found: dict[str, Any] = page.evaluate("vitals")
        browser.close()
    return {**found, "upload": statistics.median(uploads), "uploads": [round(u) for u in uploads]}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
