"""Draw the figures of the README and of the gallery, and take the picture of the page.

python docs/images/draw.py           # figure.webp and the gallery, with the bundled network
python docs/images/draw.py ADDRESS   # page.webp: a running page; needs playwright and Chromium
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from vggviz import Explainer, Explanation
from vggviz.files import assets_folder

HERE = Path(__file__).parent
EXAMPLES = assets_folder() / "examples"
WIDTH = 1200  # pixels
CHROMIUM = "/usr/bin/chromium"
GALLERY = {  # name: picture, attention, methods
    "figure": ("golden-retriever", "softmax", ("gradcam",)),
    "cbam": ("tabby-cat", "cbam", ("gradcam",)),
    "self-attention": ("koala", "self_attention", ("gradcam",)),
    "channels": ("goldfish", "se", ("gradcam",)),
    "two-animals": ("tabby-and-golden-retriever", "spatial", ("gradcam",)),
    "methods": ("koala", "none", ("gradcam", "layercam", "hirescam", "eigencam")),
}


def save(explanation: Explanation, name: str) -> None:
    """The figure as WebP, `WIDTH` pixels wide."""
    drawn = io.BytesIO()
    explanation.figure().savefig(drawn, format="png", dpi=150)
    picture = Image.open(drawn).convert("RGB")
    size = (WIDTH, round(picture.height * WIDTH / picture.width))
    picture.resize(size, Image.Resampling.LANCZOS).save(HERE / f"{name}.webp", quality=80)


def photograph(address: str) -> None:
    """The page in a browser, when its maps are there, as page.webp."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.locator("#maps img").nth(1).wait_for(timeout=120_000)
        page.wait_for_timeout(2000)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        shot.save(HERE / "page.webp", quality=85)
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        photograph(sys.argv[1])
    else:
        for name, (picture, attention, methods) in GALLERY.items():
            explainer = Explainer.load(attention=attention)
            save(explainer.explain(EXAMPLES / f"{picture}.jpg", methods=methods), name)
