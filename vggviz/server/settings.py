"""The settings of a served page: their defaults, environment variables and limits."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

__all__ = ["Settings", "SettingsError", "variable"]

SPACE_FRAMES = "https://huggingface.co https://*.hf.space"  # who shows a Space's page in a frame
_DOMAIN, _IPV6 = r"[a-z0-9.-]+", r"[0-9a-f]*:[0-9a-f:.]*"
_ORIGIN = rf"https?://({_DOMAIN}|\[{_IPV6}\])(:\d{{1,5}})?"
_FRAME = rf"\*|{_ORIGIN}|https?://\*\.{_DOMAIN}(:\d{{1,5}})?"
# What each word of a text must match, and the name of such a word.
_FORMS = {
    "hosts": (f"{_DOMAIN}|{_IPV6}", "host names"),
    "origins": (_ORIGIN, "origins such as https://example.org"),
    "frames": (_FRAME, "* or origins such as https://example.org"),
    "engine": ("local|ray", "local or ray"),
    "log": ("text|json", "text or json"),
}
_RANGES = {
    "port": range(65_536),
    "mcp": range(2),
    **dict.fromkeys(("rate", "uploads", "seconds", "grace"), range(10**6 + 1)),
    **dict.fromkeys(("replicas", "places", "at_once", "sessions"), range(1, 10**6 + 1)),
}


class SettingsError(ValueError):
    """A setting with an invalid value; the message names it, and what is valid."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a host may set; lists have blanks between their words, and 0 is no limit.

    The variable of `at_once` is VGGVIZ_AT_ONCE, and so for every field. Raises SettingsError, a
    sentence that names the variable, for an invalid value.
    """

    host: str = ""  # to listen on; "": GRADIO_SERVER_NAME, or else this machine only
    port: int = 0  # 0: GRADIO_SERVER_PORT, or else the first free one from 7860 up
    password: str = field(default="", repr=False)
    # Host names under which the page is reached. "": any; of a loopback `host` loopback names only.
    hosts: str = ""
    origins: str = ""  # of other sites whose scripts may call the page, without cookies
    frames: str = ""  # origins of other sites that may show the page in a frame; *: any
    preload: str = ""  # weights to offer first: by name, or a .safetensors file of any size
    attention: str = ""  # offered beside the built-in types, with commas: FILE.py:NAME, or a name
    device: str = "auto"
    engine: str = "local"  # where networks run: in this process, or in replicas of Ray Serve
    replicas: int = 2
    cluster: str = ""  # the address of a running Ray cluster; "": one is started here
    places: int = 200  # the length of the queue
    at_once: int = 2  # explanations at the same time; with Ray at least a batch for each replica
    sessions: int = 1000  # whose last results are kept
    # Explanations, as many uploads, and as many tries of a password, a minute for one address.
    # Visitors behind a proxy are one address until uvicorn's FORWARDED_ALLOW_IPS names the proxy.
    rate: int = 0
    uploads: int = 2000  # megabytes on the disk, of which one address may have a quarter
    seconds: int = 300  # that one request may keep a network busy
    grace: int = 30  # seconds for running work when the server is told to stop
    mcp: int = 0  # 1: the page's functions can be called over MCP
    log: str = "text"  # or json: one object a line, without pictures, file names or addresses

    def __post_init__(self) -> None:
        for name, valid in _RANGES.items():
            if (value := getattr(self, name)) not in valid:
                expected = f"a whole number from {valid[0]} to {valid[-1]}"
                raise SettingsError(f"{variable(name)} must be {expected}, not {value!r}")
        for name, (form, expected) in _FORMS.items():
            for word in getattr(self, name).split():
                if not re.fullmatch(form, word, re.IGNORECASE):
                    raise SettingsError(f"{variable(name)} must be {expected}, not {word!r}")
        if self.mcp and self.password:  # Gradio's MCP server asks no one for it
            raise SettingsError(f"{variable('mcp')} can't be used with a password")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """The settings in these environment variables; an empty one counts as not set.

        Raises SettingsError for an invalid value, and for an unknown variable VGGVIZ_….
        """
        known = {variable(one.name): one for one in fields(cls)}
        if wrong := sorted(name for name in environ if name[:7] == "VGGVIZ_" and name not in known):
            raise SettingsError(f"there is no setting {wrong[0]}: known are {', '.join(known)}")
        found: dict[str, Any] = {}
        if environ.get("SYSTEM") == "spaces":
            found["frames"] = SPACE_FRAMES
        for name, one in known.items():
            if text := environ.get(name, "").strip():
                is_number = one.name in _RANGES and re.fullmatch("[0-9]{1,9}", text)
                found[one.name] = int(text) if is_number else text
        return cls(**found)

    def for_classroom(self) -> Settings:
        """The same for a lecturer's laptop and a room of phones: open to the network, limited."""
        name = socket.gethostname()
        own = f"{name} {name}.local" if re.fullmatch(_DOMAIN, name, re.IGNORECASE) else ""
        return replace(
            self,
            host=self.host or "0.0.0.0",
            hosts=self.hosts or own,
            places=min(self.places, 120),
            sessions=min(self.sessions, 400),
            rate=self.rate or 60,
            seconds=min(self.seconds or 60, 60),
        )


def variable(name: str) -> str:
    """The environment variable of a field."""
    return f"VGGVIZ_{name.upper()}"
