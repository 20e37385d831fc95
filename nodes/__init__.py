"""The ComfyUI nodes; only `host/` touches ComfyUI's model management."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .camera import ActionSequence, CameraTrajectory, JoinTrajectories
from .convert import ConvertModel
from .host.live import serve_live_walks
from .host.lora import know_more_names
from .host.prompt import watch_prompts
from .idle_inputs import settle
from .inspector import MemoryInspector
from .live import LiveWalk
from .load import LoadModel, TinyWorld
from .picture import EncodeFirstFrame
from .sampler import StreamingSampler
from .words import PromptSchedule
from .worlds import LoadWorld, RewindWorld, SaveWorld


class HYWorldPlay(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        watch_prompts(settle)
        know_more_names()
        serve_live_walks()
        return [
            LoadModel,
            ConvertModel,
            TinyWorld,
            EncodeFirstFrame,
            CameraTrajectory,
            ActionSequence,
            JoinTrajectories,
            PromptSchedule,
            StreamingSampler,
            LiveWalk,
            SaveWorld,
            LoadWorld,
            RewindWorld,
            MemoryInspector,
        ]
