"""Refusal of requests that other web sites send.

A browser sends requests on behalf of any site that its user visits, with the user's cookies and
from inside the user's network. The checks here keep other sites from driving the page (cross-site
request forgery) and from reading its answers under a name of their own (DNS rebinding). Programs
that are no browsers send neither Sec-Fetch-Site nor Origin, and are let through.
"""

from __future__ import annotations

import ipaddress
import logging
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from vggviz.gradio_private import API

__all__ = ["SameOrigin", "is_loopback"]

log = logging.getLogger(__name__)

_PORTS = {"http": 80, "https": 443}


class SameOrigin:
    """ASGI middleware: a request under a foreign Host answers 421, one from a foreign site 403.

    `bound` is the address that the server listens on, `hosts` the names under which it is reached
    (none: any, or where `bound` is loopback, loopback names only), `origins` the foreign sites
    that may send requests. Any site may link to the page: navigation is let through, except to the
    routes of the API.
    """

    def __init__(
        self, app: ASGIApp, bound: str, hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()
    ) -> None:
        self.app = app
        self.local = is_loopback(bound)
        self.hosts = frozenset(host.lower() for host in hosts)
        self.origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if not self._is_our_host(headers.get("host")):
            status, sentence = 421, "This page is not served under this host name."
        elif self._is_foreign(headers, scope):
            status, sentence = 403, "Other web sites can't send requests to this page."
        else:
            return None
        log.warning("a request from elsewhere was refused", extra={"fields": {"status": status}})
        return JSONResponse({"detail": sentence}, status)

    def _is_our_host(self, header: str | None) -> bool:
        """Whether Host is one of `hosts`, a loopback name, or, unless only loopback is served, any
        IP address: DNS rebinding needs a name of the attacker's. No browser leaves Host out, but
        health checks over HTTP/1.0 do."""
        if header is None or not (self.local or self.hosts):
            return True
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        known = name in self.hosts or is_loopback(name)
        return known or (not self.local and _address(name) is not None)

    def _is_foreign(self, headers: Headers, scope: Scope) -> bool:
        """Whether another site's page sent this: by Sec-Fetch-Site, which browsers send over https
        and to loopback; else by Origin, which they send at least where a site could read the answer
        or send a body."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin.lower() in self.origins:
            return False
        if site is not None:
            navigates = headers.get("sec-fetch-mode") == "navigate"
            navigates = navigates and scope["method"] in ("GET", "HEAD")
            to_page = API not in scope["path"] and not scope["path"].endswith("/logout")
            return site not in ("same-origin", "none") and not (navigates and to_page)
        return origin is not None and not _same(origin, headers.get("host", ""))


def is_loopback(host: str) -> bool:
    """Whether this name or address, IPv6 without brackets, is a loopback one of this machine."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _same(origin: str, host: str) -> bool:
    """Whether an Origin names a Host and its port; the scheme may be a proxy's."""
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        port = _PORTS.get(theirs.scheme)
        return bool(theirs.hostname) and (theirs.hostname, theirs.port or port) == (
            ours.hostname,
            ours.port or port,
        )
    except ValueError:
        return False
