"""Write an A4 sheet for the lecture hall's wall: the page's address as a QR code, and three steps.

    python deploy/poster.py ADDRESS poster.html [PASSWORD]

ADDRESS is what `vggviz serve --classroom` prints. Open the file in a browser and print it. The
sheet is in English and Chinese, and fetches nothing. Needs the extra 'serve' (segno).
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import segno
from jinja2 import Environment
from markupsafe import Markup


def poster(address: str, password: str = "") -> str:
    """The sheet as HTML; address and password are text, never markup."""
    code = io.BytesIO()
    segno.make(address, error="m").save(code, "svg", xmldecl=False, omitsize=True, border=2)
    source = Path(__file__).with_name("poster.html.jinja").read_text("utf-8")
    svg = code.getvalue().decode()
    template = Environment(autoescape=True).from_string(source)
    return template.render(address=address, password=password, qr=Markup(svg))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    Path(sys.argv[2]).write_text(poster(sys.argv[1], *sys.argv[3:]), "utf-8")
