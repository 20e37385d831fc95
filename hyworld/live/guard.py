"""Who may ask this server for anything: Host, Origin and token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from aiohttp import web


def same_origin(request: web.Request) -> bool:
    """Whether a request comes from a page of this server: its Origin, which every browser sends, names its Host."""
    try:
        origin = urlsplit(request.headers.get("Origin", ""))
        return origin.scheme in ("http", "https") and origin.netloc.lower() == request.headers["Host"].lower()
    except (KeyError, ValueError):
        return False


def from_elsewhere(request: web.Request) -> bool:
    """Whether a browser says that a page of another server asked for this."""
    return request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def loopback_host(request: web.Request) -> bool:
    """Whether the request's Host is a name of this machine.

    A page elsewhere can have its own name answered with this machine's address (DNS rebinding), but that name is then
    the Host.
    """
    try:
        name = urlsplit(f"//{request.headers['Host']}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except (KeyError, ValueError):
        return False


class Pass:
    """A secret that a browser brings: in the printed address once, from then on in a cookie.

    name: the cookie's. Cookies are shared between all ports of a host, so it should have the port in it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = secrets.token_urlsafe(24)

    def is_in_address(self, request: web.Request) -> bool:
        """Whether the request's query has it as `token`."""
        return self._is(request.query.get("token", ""))

    def is_in_cookie(self, request: web.Request) -> bool:
        """Whether the request's cookie has it."""
        return self._is(request.cookies.get(self.name, ""))

    def give(self, response: web.StreamResponse) -> None:
        """Have the browser keep it; no script, and no page of another site, can use it."""
        give_cookie(response, self.name, self.text)

    def _is(self, given: str) -> bool:
        # As bytes, since compare_digest takes only ASCII in strings; in constant time.
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.text.encode())


def give_cookie(response: web.StreamResponse, name: str, value: str) -> None:
    """A cookie of this session that only requests from this server's pages bring."""
    response.set_cookie(name, value, httponly=True, samesite="Strict", path="/")
