"""How the page is served: every setting in one place, each with an environment variable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

__all__ = ["ENGINES", "LOGS", "Settings", "SettingsError", "variable"]

ENGINES = ("local", "ray")
LOGS = ("text", "json")
ROOM = 60  # seconds of one request where many wait


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
    preload: str = ""
    """Weights to load at the start and offer first: such as imagenet, or a .safetensors file of
    any size, by its path."""
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
    0: any number. A proxy on another machine must be in uvicorn's
    FORWARDED_ALLOW_IPS, or all its visitors are one address."""
    seconds: int = 300
    """The most seconds that one request may keep a network busy; 0: any number."""
    grace: int = 30
    """Seconds that running work may take when the server is told to stop."""
    mcp: int = 0
    """1: the page's functions can be called over MCP too; needs the extra mcp."""
    log: str = "text"
    """text, or json: one object a line, without anyone's pictures, file names or addresses."""

    def __post_init__(self) -> None:
        least = dict.fromkeys(("port", "rate", "seconds", "grace"), 0)
        least |= dict.fromkeys(("replicas", "places", "at_once", "sessions"), 1)
        for name, value in least.items():
            if getattr(self, name) < value:
                raise SettingsError(f"{variable(name)} must be at least {value}")
        if self.port > 65535:
            raise SettingsError(f"{variable('port')} must be a port, at most 65535")
        if self.mcp and self.password:  # Gradio's MCP server asks no one for it
            raise SettingsError(f"{variable('mcp')} can't be used with a password")
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
            places=min(self.places, 120),
            sessions=min(self.sessions, 400),
            rate=self.rate or 60,
            seconds=min(self.seconds or ROOM, ROOM),
        )


def variable(name: str) -> str:
    """The environment variable of a field."""
    return f"VGGVIZ_{name.upper()}"
