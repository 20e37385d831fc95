"""WorldPlay's cache rule: a few latents are chosen by what their cameras saw, and read anew for every chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..camera import Trajectory
from ..config import DiTConfig, MemoryConfig
from ..dit import Inputs, KVMemory, WanDiT
from ..memory import sample_points, select_memory_frames
from .cache import Begun, tokens_per_frame
from .conditioning import Conditioning
from .handover import sent
from .networks import Branch
from .recipe import Recipe
from .world import Step, World


class Reconstituted:
    """Keys and values are made for one chunk only, so that one memory serves any number of worlds.

    points: the cloud `[n, 3]` that measures the overlap of views; default: a fixed one.
    compact, fp8: see `KVMemory`.
    """

    def __init__(
        self,
        config: DiTConfig,
        recipe: Recipe,
        memory: MemoryConfig,
        conditioning: Conditioning,
        *,
        device: torch.device,
        dtype: torch.dtype,
        compact: bool = False,
        fp8: bool = False,
        points: Tensor | None = None,
    ) -> None:
        self._config = config
        self._recipe = recipe
        self._rule = memory
        self._conditioning = conditioning
        self._device = device
        self._dtype = dtype
        self._kept = {"compact": compact, "fp8": fp8}
        self._points = sample_points(memory.points) if points is None else points
        self._kv: KVMemory | None = None
        self._foreseen: tuple[Tensor, tuple[int, ...]] | None = None

    def begin(
        self, world: World, cameras: Trajectory, branches: Sequence[Branch], on_replay: Callable[[], None]
    ) -> Begun:
        remembered = self._remembered(_followed_by(world.viewmats, cameras), len(cameras))
        memory = self.memory(world)
        memory.clear()
        (branch,) = (branch._replace(memory=memory) for branch in branches)
        if remembered:
            latents, told = world.remembered(remembered)
            latents = sent(latents, self._device).to(self._dtype)
            timestep = torch.full((1, len(told)), self._recipe.context_timestep, device=self._device)
            control = self._conditioning.cameras(told, cameras.c2w[0])
            branch(Inputs(latents, timestep, text_kv=(), prefill=True, **control._asdict()))
        return remembered, (branch,)

    def foresee(self, world: World, cameras: Trajectory, following: Trajectory) -> None:
        viewmats = _followed_by(_followed_by(world.viewmats, cameras), following)
        self._foreseen = (viewmats, self._remembered(viewmats, len(following)))

    def noise_given(self, step: Step, noise: Tensor) -> None:
        pass

    def bytes_needed(self, tokens: int) -> tuple[int, int]:
        frames, n = self._rule.frames, self._recipe.chunk_latents
        kv = KVMemory.nbytes(self._config, frames=frames + n, tokens_per_frame=tokens, dtype=self._dtype, **self._kept)
        return kv, WanDiT.activation_bytes(self._config, frames=frames, tokens_per_frame=tokens, dtype=self._dtype)

    def memory(self, world: World) -> KVMemory:
        """The buffers for latents of the world's size."""
        tokens = tokens_per_frame(world)
        if self._kv is None or self._kv.tokens_per_frame != tokens:
            self._kv = None  # freed before its successor is allocated
            self._kv = KVMemory(
                self._config,
                memory_frames=self._rule.frames,
                new_frames=self._recipe.chunk_latents,
                tokens_per_frame=tokens,
                device=self._device,
                dtype=self._dtype,
                **self._kept,
            )
        return self._kv

    def _remembered(self, viewmats: Tensor, n: int) -> tuple[int, ...]:
        """What the chunk of the last `n` cameras remembers."""
        if self._foreseen is not None and torch.equal(self._foreseen[0], viewmats):
            return self._foreseen[1]
        return select_memory_frames(viewmats, len(viewmats) - n, self._points, self._rule)


def _followed_by(viewmats: Tensor, cameras: Trajectory) -> Tensor:
    return torch.cat((viewmats, torch.from_numpy(cameras.viewmats)))
