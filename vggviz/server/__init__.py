"""The page on a Space, a lecturer's laptop, a department's server: settings in, a server out."""

from __future__ import annotations

from vggviz.server.server import page, run
from vggviz.server.settings import Settings, SettingsError

__all__ = ["Settings", "SettingsError", "page", "run"]
