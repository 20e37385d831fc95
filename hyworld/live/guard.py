"""Who may ask this server for anything: Host, Origin and token."""

from __future__ import annotations

from aiohttp import web


def same_origin(request: web.Request) -> bool:
    """Whether a browser's request comes from a page of this server: its Origin names its Host."""
    raise NotImplementedError
