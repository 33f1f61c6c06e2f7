"""The disk space that uploads may take, altogether and of one address."""

from __future__ import annotations

import ipaddress
from collections import Counter

from starlette.types import Scope

__all__ = ["SHARE", "UploadQuota", "client_address"]

SHARE = 4  # one address may have this part of what all may have
WINDOW = 65  # minutes: an upload is deleted within five minutes of its hour
BLOCKS = 8192  # bytes that a file and its folder take at least


class UploadQuota:
    """Counts the bytes received in the last `WINDOW` by minute and address.

    `most` is their limit, 0 for none. `now`, in seconds, never falls.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._received: Counter[tuple[int, str]] = Counter()  # in order of time
        self._of: Counter[str] = Counter()
        self._total = 0

    def add(self, address: str, size: int, now: float) -> None:
        """Count `size` more bytes of an address."""
        self._forget(now)
        self._received[int(now // 60), address] += size
        self._of[address] += size
        self._total += size

    def is_full(self, now: float) -> bool:
        """Whether all addresses together have exceeded the limit."""
        self._forget(now)
        return bool(self.most) and self._total > self.most

    def exceeds_share(self, address: str, now: float) -> bool:
        """Whether this address has exceeded its own limit, `most / SHARE`."""
        self._forget(now)
        return bool(self.most) and self._of[address] > self.most // SHARE

    def _forget(self, now: float) -> None:
        while self._received:
            minute, address = first = next(iter(self._received))
            if minute > now // 60 - WINDOW:
                return
            size = self._received.pop(first)
            self._total -= size
            self._of[address] -= size
            if not self._of[address]:
                del self._of[address]


def client_address(scope: Scope) -> str:
    """The address that sent a request, '' where unknown; of IPv6 its /64 network, all of which one
    client has."""
    host = str((scope.get("client") or ("", 0))[0])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))
