"""What a chunk's forwards are given beside its noisy latents, the prompt and the past: cameras, the first picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..camera import Trajectory
from ..config import DiTConfig
from ..dit import Inputs
from .handover import sent
from .recipe import Recipe
from .world import World


class Cameras(NamedTuple):
    """Batched, on the device; see `Inputs`."""

    viewmats: Tensor
    intrinsics: Tensor
    action: Tensor | None


class Given(NamedTuple):
    """One chunk's, on the device.

    picture: `[1, C, k, h, w]`, written over the first k latents; None if the chunk has none.
    picture_timestep: of these latents; None: that of the others.
    channels: `[1, image_channels, n, h, w]` beside the latents' own.
    """

    dtype: torch.dtype
    cameras: Cameras | None = None
    picture: Tensor | None = None
    picture_timestep: float | None = None
    channels: Tensor | None = None

    def stamped(self, x: Tensor) -> Tensor:
        """`x` with the picture over its first latents."""
        return x if self.picture is None else torch.cat((self.picture, x[:, :, self.picture.shape[2] :]), dim=2)

    def is_whole(self, x: Tensor) -> bool:
        """Whether the picture leaves nothing of `x` to be made."""
        return self.picture is not None and self.picture.shape[2] == x.shape[2]

    def inputs(self, x: Tensor, timestep: float) -> Inputs:
        """Of a forward on latents `x` `[1, C, n, h, w]`; prompt and past are the branch's."""
        n = x.shape[2]
        timesteps = torch.full((1, n), timestep, device=x.device)
        if self.picture is not None and self.picture_timestep is not None:
            timesteps[:, : self.picture.shape[2]] = self.picture_timestep
        latents = x.to(self.dtype)
        if self.channels is not None:
            latents = torch.cat((latents, self.channels), dim=1)
        inputs = Inputs(latents, timesteps, text_kv=())
        return inputs if self.cameras is None else inputs._replace(**self.cameras._asdict())


class Conditioning:
    """Makes what each chunk is given."""

    def __init__(self, config: DiTConfig, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> None:
        self._config = config
        self._recipe = recipe
        self._device = device
        self._dtype = dtype

    def given(self, world: World, chunk: int, cameras: Trajectory) -> Given:
        """For chunk number `chunk` of `world`, seen by `cameras`."""
        given = Given(self._dtype)
        if self._config.cameras:
            given = given._replace(cameras=self.cameras(cameras, self._origin(world, chunk, cameras)))
        if self._config.image_channels:
            given = given._replace(channels=self._channels(world, chunk))
        elif chunk == 0 and world.first_frame is not None:
            picture = sent(world.first_frame, self._device)
            given = given._replace(picture=picture, picture_timestep=self._recipe.picture_timestep)
        return given

    def cameras(self, told: Trajectory, origin: NDArray[np.float64]) -> Cameras:
        """Cameras and labels of latents that a chunk attends to, relative to the pose `origin` `[4, 4]`.

        That is the chunk's first: attention stays the same, but far from the origin bfloat16 keys and values would lose
        their digits to the distance. A camera branch of its own is told them from the latent before the chunk, as in
        training.
        """
        return Cameras(
            sent(torch.from_numpy(told.viewmats @ origin).float().unsqueeze(0), self._device),
            sent(torch.tensor(told.intrinsics, dtype=torch.float32).unsqueeze(0), self._device),
            sent(torch.tensor(told.labels).unsqueeze(0), self._device) if self._config.is_worldplay else None,
        )

    def _origin(self, world: World, chunk: int, cameras: Trajectory) -> NDArray[np.float64]:
        before = world.history[chunk - 1].cameras.c2w[-1] if chunk and self._recipe.camera_branch else None
        return cameras.c2w[0] if before is None else before

    def _channels(self, world: World, chunk: int) -> Tensor:
        """A mask that marks the picture, then latents of the picture; all zero after the first chunk."""
        C, h, w = world.latent_shape
        n = self._recipe.chunk_latents
        channels = torch.zeros(1, self._config.image_channels, n, h, w)
        if chunk == 0:
            assert world.first_frame is not None, "a world of such a model has a picture"
            channels[:, :-C, 0] = 1
            channels[:, -C:] = world.first_frame
        return sent(channels.to(self._dtype), self._device)
