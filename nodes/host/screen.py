"""Pictures in the node, for the client that queued it."""

from __future__ import annotations

from comfy_api import feature_flags
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL import Image

from .server import server

PREVIEW_SIDE = 512
"""Longest side of a preview picture in pixels."""

# Numbers of the host's binary messages (its protocol.BinaryEventTypes).
_PICTURE = 2
_PICTURE_OF_NODE = 4


def running_node() -> dict[str, str]:
    """The ids of the node that runs in this thread, as the host's messages have them; empty if none does."""
    context = get_executing_context()
    if context is None:
        return {}
    prompt = get_progress_state().dynprompt
    return {
        "prompt_id": context.prompt_id,
        "node_id": context.node_id,
        "display_node_id": prompt.get_display_node_id(context.node_id),
        "parent_node_id": prompt.get_parent_node_id(context.node_id),
        "real_node_id": prompt.get_real_node_id(context.node_id),
    }


class NodeScreen:
    """A `Screen` in the node that is running now, for as long as it is kept: the last picture stays in the node.

    It does not go through the host's progress bar, which would mark a node that has ended as running again.
    """

    def __init__(self) -> None:
        self._server = server()
        self._client = getattr(self._server, "client_id", None)
        self._node = {} if self._client is None else running_node()

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
