"""WorldPlay's memory: keys and values of chosen frames, made anew for every chunk."""

from __future__ import annotations

import torch

from ..config import DiTConfig
from .buffers import KVBuffers
from .prope import CameraProjections


class KVMemory(KVBuffers):
    """Memory frames, then the frames being denoised, for a network with cameras.

    A prefill is `clear`, a forward and `commit_prefill`; each denoising forward writes its frames behind the memory
    frames and attends to both. Every chunk prefills anew, so one memory serves any number of worlds.

    memory_frames, new_frames: the most frames remembered, and denoised at a time.
    tokens_per_frame: S.
    compact: half the memory, see `CompactSlot`, in fp8 `EightBitSlot`.
    fp8: for a network that attends in fp8; half the memory, too.
    """

    def __init__(
        self,
        config: DiTConfig,
        *,
        memory_frames: int,
        new_frames: int,
        tokens_per_frame: int,
        batch: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        compact: bool = False,
        fp8: bool = False,
    ) -> None:
        super().__init__(
            config,
            capacity_frames=memory_frames + new_frames,
            tokens_per_frame=tokens_per_frame,
            batch=batch,
            device=device,
            dtype=dtype,
            compact=compact,
            fp8=fp8,
        )
        self.memory_frames = memory_frames
        cameras = torch.zeros(3, batch, self.capacity_frames, 4, 4, device=device)
        self._cameras = CameraProjections(*cameras.unbind())

    def clear(self) -> None:
        """Forget the memory frames."""
        self.frames = 0

    def commit_prefill(self, cameras: CameraProjections) -> None:
        """Make the frames that a prefill has written, seen by `cameras`, the memory frames."""
        self.frames = cameras.q.shape[1]
        for kept, new in zip(self._cameras, cameras, strict=True):
            kept[:, : self.frames].copy_(new)

    def cameras_with(self, cameras: CameraProjections) -> CameraProjections:
        """Cameras of the memory frames, then `cameras`."""
        together = (
            torch.cat((kept[:, : self.frames], new), dim=1) for kept, new in zip(self._cameras, cameras, strict=True)
        )
        return CameraProjections(*together)

    def fills(self, frames: int, *, prefill: bool) -> bool:
        """Whether a forward over `frames` frames is one of the steady state: they fill the memory, or its capacity."""
        return frames == self.memory_frames if prefill else self.frames + frames == self.capacity_frames
