"""Start the page: `python app.py`.

The environment variables that it reads stand in docs/reference/settings.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

from vggviz.platform.malloc import limit_malloc

limit_malloc()  # before gradio is imported, which starts a thread

try:
    from vggviz.server import Settings, SettingsError, page, run
except ModuleNotFoundError as error:
    raise SystemExit(f"vggviz: the page needs {error.name}: pip install 'vggviz[app]'") from error

try:
    settings = Settings.from_environ(os.environ)
    demo = page(settings)
    if __name__ == "__main__":
        run(demo, settings)
except SettingsError as error:
    raise SystemExit(f"vggviz: {error}") from error
