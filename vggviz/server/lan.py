"""The page's address in a local network, and its QR code, for a lecturer's laptop."""

from __future__ import annotations

import io
import socket
from contextlib import suppress

__all__ = ["lan_address", "qr_code"]


def lan_address(host: str, port: int) -> str:
    """The URL by which people in the same network reach a server that listens on `host`.

    For 'all addresses' it is this machine's address in its network, or its name where it has none
    but loopback. No packet is sent: connecting a UDP socket only asks the system which of its own
    addresses it would use, and it knows that without internet.
    """
    host = host.strip("[]")
    if host in ("", "0.0.0.0", "::"):
        host = socket.gethostname()
        for target in ("192.0.2.1", "224.0.0.1"):  # for documentation; everyone in this network
            with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                host = str(probe.getsockname()[0])
                break
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def qr_code(text: str) -> str:
    """A QR code to print in a terminal. Raises ModuleNotFoundError without segno."""
    import segno

    output = io.StringIO()
    segno.make(text, error="m", micro=False).terminal(output, compact=True)
    return output.getvalue()
