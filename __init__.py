"""HY-WorldPlay for ComfyUI. The engine is in hyworld/, the nodes are in nodes/."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Called by ComfyUI when it loads the pack."""
    from .nodes import HYWorldPlay

    return HYWorldPlay()
