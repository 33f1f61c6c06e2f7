"""How the page is served: every setting in one place, each with an environment variable."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

__all__ = ["ENGINES", "LOGS", "Settings", "SettingsError", "variable"]

ENGINES = ("local", "ray")
LOGS = ("text", "json")
ROOM = 60  # seconds of one request where many wait
SPACE_FRAMES = "https://huggingface.co https://*.hf.space"  # who shows a Space's page in a frame
_HOST = re.compile(r"[a-z0-9.-]+|[0-9a-f:.]+", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.IGNORECASE)
_FRAME = re.compile(r"\*|https?://(\*\.)?([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.IGNORECASE)


class SettingsError(ValueError):
    """A setting that can't be; the message says which, and what can."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a host may set. The variable of `at_once` is VGGVIZ_AT_ONCE, and so for every field.

    Raises SettingsError, a sentence that names the variable, for a value that can't be.
    """

    host: str = ""
    """The address to listen on. Empty: GRADIO_SERVER_NAME, or else this machine only."""
    port: int = 0
    """The port. 0: GRADIO_SERVER_PORT, or else the first free one from 7860 up."""
    password: str = field(default="", repr=False)
    """What everyone must type first. Empty: nothing."""
    hosts: str = ""
    """Host names under which the page is reached, separated by blanks. Empty: any; but loopback
    names only where `host` is a loopback address."""
    origins: str = ""
    """Origins of other web sites whose scripts may call the page, separated by blanks, without
    cookies. Empty: none."""
    frames: str = ""
    """Origins of other web sites that may show the page in a frame, separated by blanks; *: any.
    Empty: none; on a Space, Hugging Face's."""
    preload: str = ""
    """Weights to load at the start and offer first: such as imagenet, or a .safetensors file of
    any size, by its path."""
    attention: str = ""
    """Attention to offer beside the built-in types, with commas: FILE.py:NAME, or what packages
    bring. The code is run."""
    engine: str = "local"
    """Where networks run: in this process (local), or in Ray Serve's replicas (ray)."""
    replicas: int = 2
    """How many replicas Ray Serve keeps."""
    cluster: str = ""
    """The address of a Ray cluster that runs already. Empty: one is started on this machine."""
    places: int = 200
    """How many may wait; who comes then is told that the page is busy."""
    at_once: int = 2
    """How many explanations run at once; with Ray at least a batch for each replica."""
    sessions: int = 1000
    """How many sessions' last results are kept; the least recently used go first."""
    rate: int = 0
    """Explanations, as many uploads, and as many tries of a password, a minute for one address;
    0: any number. The visitors of a proxy are one address, until uvicorn's variable
    FORWARDED_ALLOW_IPS names the proxy's address."""
    uploads: int = 2000
    """The most megabytes that uploads may take on the disk, of which one address may have a
    quarter; 0: any number. An upload is kept for an hour."""
    seconds: int = 300
    """The most seconds that one request may keep a network busy; 0: any number."""
    grace: int = 30
    """Seconds that running work may take when the server is told to stop."""
    mcp: int = 0
    """1: the page's functions can be called over MCP too; needs the extra mcp."""
    log: str = "text"
    """text, or json: one object a line, without anyone's pictures, file names or addresses."""

    def __post_init__(self) -> None:
        least = dict.fromkeys(("port", "rate", "uploads", "seconds", "grace"), 0)
        least |= dict.fromkeys(("replicas", "places", "at_once", "sessions"), 1)
        for name, value in least.items():
            if getattr(self, name) < value:
                raise SettingsError(f"{variable(name)} must be at least {value}")
        if self.port > 65535:
            raise SettingsError(f"{variable('port')} must be a port, at most 65535")
        if self.mcp and self.password:  # Gradio's MCP server asks no one for it
            raise SettingsError(f"{variable('mcp')} can't be used with a password")
        for name, form in (("hosts", _HOST), ("origins", _ORIGIN), ("frames", _FRAME)):
            for word in getattr(self, name).split():
                if not form.fullmatch(word):
                    wanted = "a host name" if form is _HOST else "an origin (https://example.org)"
                    raise SettingsError(f"{variable(name)} must hold {wanted}, not {word!r}")
        for name, known in (("engine", ENGINES), ("log", LOGS)):
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"{variable(name)} must be one of {', '.join(known)}, "
                    f"not {getattr(self, name)!r}"
                )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """The settings that these variables ask for; an empty one counts as not set.

        Raises SettingsError for a value that can't be, and for a variable VGGVIZ_… that is none.
        """
        known = {variable(one.name): one for one in fields(cls)}
        if wrong := sorted(name for name in environ if name[:7] == "VGGVIZ_" and name not in known):
            raise SettingsError(f"there is no setting {wrong[0]}: known are {', '.join(known)}")
        found: dict[str, str | int] = {}
        if environ.get("SYSTEM") == "spaces":
            found["frames"] = SPACE_FRAMES
        for name, one in known.items():
            text = environ.get(name, "").strip()
            if text and isinstance(one.default, int):
                if not (text.isascii() and text.isdigit()):
                    raise SettingsError(f"{name} must be a whole number, not {text!r}")
                found[one.name] = int(text)
            elif text:
                found[one.name] = text
        return cls(**found)  # type: ignore[arg-type]

    def for_a_room(self) -> Settings:
        """The same for a lecturer's laptop and a room of phones: open to the network, limited."""
        return replace(
            self,
            host=self.host or "0.0.0.0",
            hosts=self.hosts or f"{socket.gethostname()} {socket.gethostname()}.local",
            places=min(self.places, 120),
            sessions=min(self.sessions, 400),
            rate=self.rate or 60,
            seconds=min(self.seconds or ROOM, ROOM),
        )


def variable(name: str) -> str:
    """The environment variable of a field."""
    return f"VGGVIZ_{name.upper()}"
