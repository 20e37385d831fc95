"""What is to be walked: networks, the world it starts from, the poses and words of each chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..hyworld.camera import Trajectory
from ..hyworld.config import CHUNK_LATENTS, TINY, VAE_SPATIAL_STRIDE, WAN_5B, frames_in
from ..hyworld.errors import InputError
from ..hyworld.modes import KVChoice, Modes, keeps_compact
from ..hyworld.pipeline import Pipeline
from ..hyworld.walk import Walker, Words, World
from ..hyworld.walk.decoding import Decoding
from ..hyworld.walk.world import words_at
from .host.model import HostNetwork
from .host.vae import HostVAE, pick_decoder


@dataclass(frozen=True)
class Plan:
    """A walk of `parts`, the poses of its chunks, from `start`; the beginning up to `known` need not be walked."""

    pipeline: Pipeline
    vae: HostVAE
    decoder: Any
    start: World
    parts: list[Trajectory]
    words: Mapping[int, Words]
    known: World

    @property
    def walker(self) -> Walker:
        return self.pipeline.walker

    @property
    def end(self) -> int:
        """Chunks the world will have."""
        return self.start.chunks + len(self.parts)

    @property
    def frames(self) -> int:
        """Video frames of the walk."""
        return frames_in(self.end * CHUNK_LATENTS) - self.start.video_frames

    @property
    def ahead(self) -> list[Trajectory]:
        """The poses of the chunks that are to be walked."""
        return self.parts[self.known.chunks - self.start.chunks :]


def pipeline_of(patcher: Any, vae: HostVAE, decoder: str, kv_memory: KVChoice) -> tuple[Pipeline, Any]:
    """The engine over the host's model and VAE, and the decoder of that name."""
    network, frames_from = HostNetwork(patcher), pick_decoder(decoder, vae)
    walker = Walker(
        network,
        decoding=Decoding(frames_from, device=frames_from.device, dtype=frames_from.dtype, caches=frames_from.caches),
        device=patcher.load_device,
        dtype=network.dtype,
        vae=vae.fingerprint,
        compact_memory=keeps_compact(Modes(kv=kv_memory), fused=network.fused),
    )
    preset = WAN_5B if network.config.latent_channels == WAN_5B.dit.latent_channels else TINY
    return Pipeline(walker, vae, size=preset.size), frames_from


def start_of(
    pipeline: Pipeline,
    vae: HostVAE,
    words: Mapping[int, Words],
    world: World | None,
    first_frame: Any,
    size: tuple[int, int],
    seed: int,
) -> World:
    """The world a walk starts from: `world` with what the schedule `words` tells it now, or else a new one.

    size: (height, width) as asked for, 0 where it was not.
    """
    if world is not None:
        now = words_at(words, world.chunks)
        return world if now is None else world.told(now)
    height, width = size
    first = None if first_frame is None else _normalised(first_frame, vae, width, height)
    asked = (height or pipeline.size[0], width or pipeline.size[1]) if first is None else None
    return pipeline.start(first, words[min(words)], seed=seed, size=asked)


def notes_of(start: World, known: World, of_path: tuple[str, ...]) -> list[str]:
    """What the user should know of a walk from `start` that shares `known` with the last one."""
    shared = known.chunks - start.chunks
    if not shared:
        return list(of_path)
    those = f"Chunk {known.chunks} is" if shared == 1 else f"Chunks {start.chunks + 1} to {known.chunks} are"
    return [*of_path, f"{those} known from the last run and only decoded again (reuse)."]


def _normalised(first_frame: Any, vae: HostVAE, width: int, height: int) -> Tensor:
    """The first frame's latent, normalised; raises `InputError` if it is another VAE's or of another size."""
    raw = first_frame["samples"].float()
    if raw.ndim != 5 or tuple(raw.shape[:3]) != (1, vae.latent_channels, 1):
        raise InputError(
            f"The first frame must be one latent of shape [1, {vae.latent_channels}, 1, h, w], got {list(raw.shape)}: "
            "connect Encode First Frame with the VAE of this model."
        )
    given = (raw.shape[4] * VAE_SPATIAL_STRIDE, raw.shape[3] * VAE_SPATIAL_STRIDE)
    asked = (width or given[0], height or given[1])
    if asked != given:
        raise InputError(
            f"The first frame is {given[0]}x{given[1]}, but {asked[0]}x{asked[1]} is asked for: set the size in "
            "Encode First Frame and leave width and height at 0 here."
        )
    return vae.normalise(raw)
