"""How much of the disk uploads may take, altogether and of one address."""

from __future__ import annotations

import ipaddress
from collections import Counter

__all__ = ["SHARE", "UploadQuota", "client"]

SHARE = 4  # one address may have this part of what all may have
KEPT = 65  # minutes: an upload is deleted within five minutes of its hour
BLOCKS = 8192  # bytes that a file and its folder take at least


class UploadQuota:
    """The bytes that came in over the last hour, by minute and address; `most` is their limit."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._received: Counter[tuple[int, str]] = Counter()  # in order of time
        self._of: Counter[str] = Counter()
        self._total = 0

    def add(self, address: str, size: int, now: float) -> None:
        """Count `size` more bytes of an address; `now` in seconds never falls."""
        self._forget(int(now // 60))
        self._received[int(now // 60), address] += size
        self._of[address] += size
        self._total += size

    def is_full(self, now: float) -> bool:
        """Whether all addresses together have reached the limit."""
        self._forget(int(now // 60))
        return bool(self.most) and self._total > self.most

    def has_had_its_share(self, address: str, now: float) -> bool:
        """Whether this address has reached its own limit."""
        self._forget(int(now // 60))
        return bool(self.most) and self._of[address] > self.most // SHARE

    def _forget(self, minute: int) -> None:
        while self._received and (first := next(iter(self._received)))[0] <= minute - KEPT:
            size = self._received.pop(first)
            self._total -= size
            self._of[first[1]] -= size
            if not self._of[first[1]]:
                del self._of[first[1]]


def client(host: str) -> str:
    """One name for all addresses of one client: of IPv6 anyone has a network of 2^64."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Address(int(address) >> 64 << 64))
    return host
