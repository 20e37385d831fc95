"""The prompt that is being checked, which the host does not hand to `validate_inputs`."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any

_prompt: ContextVar[dict[str, Any] | None] = ContextVar("hyworld_prompt", default=None)


def watch_prompts() -> None:
    """Have the server show us every prompt before it checks it; without a server (tests, scripts) nothing happens."""
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    if hasattr(server, "instance"):
        server.instance.add_on_prompt_handler(_remember)


def inputs_of(node_id: str | None) -> dict[str, Any]:
    """What the prompt being checked says about a node: class_type and inputs; empty where that is not known."""
    node: dict[str, Any] = (_prompt.get() or {}).get(node_id, {})
    return {"class_type": node.get("class_type"), **node.get("inputs", {})}


def _remember(data: dict[str, Any]) -> dict[str, Any]:
    # A context variable: the server checks each prompt in the task that received it, and several may be under way.
    _prompt.set(data.get("prompt"))
    return data
