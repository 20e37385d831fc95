"""What a checkpoint fixes of the walk: chunk length, schedule, memory, picture, guidance; and the noise of a chunk.

Known checkpoints are in `recipes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..camera.tokens import DEFAULT_SPEEDS, Speeds
from ..config import CHUNK_LATENTS, FRAMES_PER_SECOND, VAE_SPATIAL_STRIDE, WAN_5B, MemoryConfig
from ..errors import InputError
from .schedules import sigma_near

Advance = Literal["euler", "renoise", "unipc"]
Picture = Literal["stamp", "channels"]


@dataclass(frozen=True)
class Rolling:
    """The past is what the network's keys and values kept of it: a sliding window, and the first latents if wanted.

    window: latents of the window, the chunk's own among them.
    sink: so many latents from the beginning are kept beside it, for ever.
    rotated: keys keep the temporal position they were made at, which grows for ever; else every latent gets the
        position of its place among those kept.
    recall: an experiment: the oldest chunk in the window gives its place to an older one, the one that the coming chunk
        sees most, which is read anew; None: what left the window is forgotten.
    """

    window: int
    sink: int = 0
    rotated: bool = True
    recall: MemoryConfig | None = None

    def seen(self, past: int, chunk: int) -> tuple[int, ...]:
        """Which of `past` latents a chunk of so many sees, unless one is recalled."""
        return (*range(min(self.sink, past)), *range(max(self.sink, past + chunk - self.window), past))


@dataclass(frozen=True)
class Recipe:
    """Defaults: WorldPlay WAN-5B, distilled to four steps.

    name: under which `recipes.recipe` knows it.
    chunk_latents: latents denoised together.
    timesteps: of the denoising steps; after the last one the latents are clean (timestep 0).
    sigmas: share of noise at each step and after the last; default: timesteps / 1000, then 0.
    advance: how a step goes on from the flow, see `samplers`.
    memory: which past latents a chunk attends to: some, chosen by cameras and read anew (`MemoryConfig`), or `Rolling`.
    context_timestep: of past latents, when the network reads them.
    context_noise: the timestep whose noise is added to latents before a rolling memory reads them; 0 adds none.
    picture: how the first picture gets in: "stamp" writes its latent over the first one before every forward,
        "channels" gives the network a mask and latents of the picture beside the noisy ones; None takes no picture.
    picture_timestep: of a stamped latent; None: that of the others.
    guidance: scale of classifier-free guidance; 1 asks for no negative prompt and no second forward.
    boundary: of two networks the first is asked at this timestep and above, the second below; None: there is one.
    low_guidance: guidance of the second network; None: the same.
    shift: of the schedule; needed for context noise and to make another schedule.
    steps_before_shift: of a distilled schedule, see `schedules.step_list`.
    spatial_stride: pixels per latent cell of the VAE it was trained with.
    frames_per_second, size: of the video, and (height, width) it was trained at.
    camera_branch: the network has a camera branch of its own (DreamX-World), which sees the chunk alone, from the last
        latent of the chunk before.
    speeds: what a held key moves, if it follows a camera.
    clean_sigmas: of the steps, where renoising takes the clean latents with others than `sigmas`; (): it does not.
    colour_match: how much of each chunk's colours is matched to the one before when frames are shown, 0 to 1, see
        `colour`; 0: not at all.
    picture_read_alike: once its chunk is made, the network reads a stamped latent at the others' timestep all the same.

    Raises `InputError` for fields that contradict each other.
    """

    name: str = "worldplay"
    chunk_latents: int = CHUNK_LATENTS
    timesteps: tuple[float, ...] = (1000.0, 960.0, 888.8889, 727.2728)
    sigmas: tuple[float, ...] = ()
    advance: Advance = "euler"
    memory: MemoryConfig | Rolling = field(default_factory=MemoryConfig)
    context_timestep: float = 14.0
    context_noise: float = 0.0
    picture: Picture | None = "stamp"
    picture_timestep: float | None = 14.0
    guidance: float = 1.0
    boundary: float | None = None
    low_guidance: float | None = None
    shift: float | None = None
    steps_before_shift: tuple[int, ...] = ()
    spatial_stride: int = VAE_SPATIAL_STRIDE
    frames_per_second: int = FRAMES_PER_SECOND
    size: tuple[int, int] = WAN_5B.size
    camera_branch: bool = False
    speeds: Speeds = DEFAULT_SPEEDS
    clean_sigmas: tuple[float, ...] = ()
    colour_match: float = 0.0
    picture_read_alike: bool = False

    def __post_init__(self) -> None:
        if not self.sigmas:
            # Divided in float32, like the original's tensors.
            sigmas = [float(np.float32(t) / np.float32(1000)) for t in self.timesteps]
            object.__setattr__(self, "sigmas", (*sigmas, 0.0))
        if not self.timesteps or len(self.sigmas) != len(self.timesteps) + 1:
            raise InputError(
                f"A recipe has one sigma more than timesteps, got {len(self.sigmas)} and {len(self.timesteps)}."
            )
        if self.advance not in get_args(Advance):
            raise InputError(f"A step advances by {', '.join(get_args(Advance))}, got {self.advance!r}.")
        if self.picture not in (None, *get_args(Picture)):
            raise InputError(
                f"A picture gets in by {' or '.join(get_args(Picture))}, or is None, got {self.picture!r}."
            )
        if self.clean_sigmas and (self.advance != "renoise" or len(self.clean_sigmas) != self.steps):
            raise InputError("Sigmas of the clean latents are for renoising, one for each timestep.")
        if isinstance(self.memory, Rolling):
            self._check_rolling(self.memory)
        elif self.camera_branch:
            raise InputError("A camera branch of its own needs a rolling memory: give the recipe one.")
        elif self.is_guided or self.boundary is not None:
            raise InputError("Guidance and a second network need a rolling memory: give the recipe one.")
        if self.context_noise and self.shift is None:
            raise InputError("Context noise is read off the schedule's shift: give the recipe its shift.")

    def _check_rolling(self, memory: Rolling) -> None:
        if memory.sink < 0 or not 1 <= self.chunk_latents <= memory.window:
            raise InputError(
                f"A window holds a chunk of {self.chunk_latents} latents or more, a sink 0 or more, got a window of "
                f"{memory.window} and a sink of {memory.sink}."
            )
        if memory.recall is not None and (memory.rotated or memory.window < 3 * self.chunk_latents):
            raise InputError("To recall an older chunk, a window holds three chunks and positions go by place.")

    @property
    def steps(self) -> int:
        """Denoising steps of a chunk."""
        return len(self.timesteps)

    @property
    def follows_camera(self) -> bool:
        """Whether a walk has a path."""
        return self.camera_branch or not isinstance(self.memory, Rolling)

    @property
    def is_guided(self) -> bool:
        """Whether a negative prompt is told, in a second forward."""
        return any(scale not in (None, 1.0) for scale in (self.guidance, self.low_guidance))

    @property
    def draws(self) -> int:
        """How often noise is drawn for a chunk: for its start, for steps that renoise, and for its context."""
        return (self.steps if self.advance == "renoise" else 1) + bool(self.context_noise)

    @property
    def context_sigma(self) -> float:
        """Share of noise in latents that a rolling memory reads."""
        return sigma_near(self.context_noise, self.shift) if self.context_noise and self.shift else 0.0

    def step_size(self, step: int) -> float:
        """Signed change of sigma over `step`: Euler adds this times the flow."""
        return float(np.float32(self.sigmas[step + 1]) - np.float32(self.sigmas[step]))


WORLDPLAY = Recipe()
"""Source: WorldPlay `wan/inference/pipeline_wan_w_mem_relative_rope.py` (`few_step`)."""


def chunk_noise(seed: int, chunk: int, shape: tuple[int, ...], draw: int = 0) -> Tensor:
    """Standard normal float32 noise of one chunk, on the CPU: of (seed, chunk, draw) alone, whatever device or plan."""
    key = (chunk, draw) if draw else (chunk,)
    mixed = int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0])
    return torch.randn(shape, generator=torch.Generator().manual_seed(mixed))
