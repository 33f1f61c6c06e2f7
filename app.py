"""Start the page: `python app.py`. The README lists the environment variables that it reads."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

from vggviz.platform.malloc import limit_malloc

limit_malloc()  # before gradio is imported, which starts a thread

from vggviz.server import Settings, SettingsError, page, run  # noqa: E402

try:
    settings = Settings.from_environ(os.environ)
    demo = page(settings)
    if __name__ == "__main__":
        run(demo, settings)
except SettingsError as error:
    raise SystemExit(f"vggviz: {error}") from error
