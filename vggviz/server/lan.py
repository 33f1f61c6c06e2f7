"""How a room finds the page on a lecturer's laptop: its address in the network, and a QR code."""

from __future__ import annotations

import io
import socket

__all__ = ["address", "code"]


def address(host: str, port: int) -> str:
    """What people in the same network type to reach a server that listens on `host`.

    No packet is sent: connecting a UDP socket only asks the system which of its own addresses it
    would use, and it knows that without internet.
    """
    host = host.strip("[]")
    if host in ("", "0.0.0.0", "::"):
        host = _own()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _own() -> str:
    """This machine's address in its network; its name where it has no address but loopback."""
    for target in ("192.0.2.1", "224.0.0.1"):  # for documentation, and everyone in this network
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
            except OSError:  # no route
                continue
            return str(probe.getsockname()[0])
    return socket.gethostname()


def code(text: str) -> str:
    """A QR code to print in a terminal. Raises ModuleNotFoundError without segno."""
    import segno

    drawn = io.StringIO()
    segno.make(text, error="m", micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()
