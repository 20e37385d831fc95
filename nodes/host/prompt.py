"""The prompt being validated, which the host does not pass to `validate_inputs`."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any

_prompt: ContextVar[dict[str, Any] | None] = ContextVar("hyworld_prompt", default=None)


def watch_prompts() -> None:
    """Ask the server for every prompt before validation; does nothing without a server (tests, scripts)."""
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    if hasattr(server, "instance"):
        server.instance.add_on_prompt_handler(_remember)


def inputs_of(node_id: str | None) -> dict[str, Any]:
    """A node's class_type and inputs in the prompt being validated; without a prompt only `class_type: None`."""
    node: dict[str, Any] = (_prompt.get() or {}).get(node_id, {})
    return {"class_type": node.get("class_type"), **node.get("inputs", {})}


def _remember(data: dict[str, Any]) -> dict[str, Any]:
    # A context variable, because the server may validate several prompts at once, each in its own task.
    _prompt.set(data.get("prompt"))
    return data
