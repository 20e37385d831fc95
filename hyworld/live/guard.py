"""Who may ask this server for anything: Host, Origin and token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from aiohttp import web

COOKIE = "hyworld_token"


def same_origin(request: web.Request) -> bool:
    """Whether a browser's request comes from a page of this server: its Origin names its Host."""
    try:
        origin = urlsplit(request.headers.get("Origin", ""))
        return origin.scheme in ("http", "https") and origin.netloc.lower() == request.headers["Host"].lower()
    except (KeyError, ValueError):
        return False


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


class Token:
    """The secret in the printed address; a browser that brought it once has it in a cookie."""

    def __init__(self) -> None:
        self.text = secrets.token_urlsafe(24)

    def in_address(self, request: web.Request) -> bool:
        """Whether the request's query has it."""
        return self._same(request.query.get("token", ""))

    def in_cookie(self, request: web.Request) -> bool:
        """Whether the request's cookie has it."""
        return self._same(request.cookies.get(COOKIE, ""))

    def give(self, response: web.StreamResponse) -> None:
        """Have the browser keep it; no script and no other site's page can use it."""
        response.set_cookie(COOKIE, self.text, httponly=True, samesite="Strict", path="/")

    def _same(self, given: str) -> bool:
        # As bytes: compare_digest takes no other letters in strings.
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.text.encode())
