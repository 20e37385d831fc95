"""Pictures in the node, for the client that queued it."""

from __future__ import annotations

import sys
from typing import Any

from comfy_api import feature_flags
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL import Image

PREVIEW_SIDE = 512
"""Longest side of a preview picture in pixels."""

# Numbers of the host's binary messages (its protocol.BinaryEventTypes).
_PICTURE = 2
_PICTURE_OF_NODE = 4


class NodeScreen:
    """A `Screen` in the node that is running now, for as long as it is kept: the last picture stays in the node.

    It does not go through the host's progress bar, which would mark a node that has ended as running again.
    """

    def __init__(self) -> None:
        # Not imported: there may be no server (tests, scripts).
        self._server: Any = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
        self._client = getattr(self._server, "client_id", None)
        self._node: dict[str, str] = {}
        context = get_executing_context()
        if self._client is not None and context is not None:
            prompt = get_progress_state().dynprompt
            self._node = {
                "prompt_id": context.prompt_id,
                "node_id": context.node_id,
                "display_node_id": prompt.get_display_node_id(context.node_id),
                "parent_node_id": prompt.get_parent_node_id(context.node_id),
                "real_node_id": prompt.get_real_node_id(context.node_id),
            }

    def show(self, picture: Image.Image) -> bool:
        """Show a picture in the node; returns False if nobody can see it."""
        if not self._node:
            return False
        image = ("JPEG", picture, PREVIEW_SIDE)
        if feature_flags.supports_feature(self._server.sockets_metadata, self._client, "supports_preview_metadata"):
            self._server.send_sync(_PICTURE_OF_NODE, (image, self._node), self._client)
            return True
        # Such a client shows a picture in whatever node runs.
        if self._server.last_node_id == self._node["node_id"]:
            self._server.send_sync(_PICTURE, image, self._client)
        return True
