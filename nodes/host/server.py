"""The host's server."""

from __future__ import annotations

import sys
from typing import Any


def server() -> Any:
    """The host's `PromptServer`; None where there is none (tests, scripts)."""
    # Not imported: that would make one.
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
