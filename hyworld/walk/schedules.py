"""Schedules: at which timesteps a network is asked, and how noisy its latents are there (sigma, 1 is noise alone).

Rectified flow: a latent at sigma s is (1 - s) * clean + s * noise. A shift moves the steps towards noise:
s -> shift * s / (1 + (shift - 1) * s).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

TRAIN_STEPS = 1000


class Schedule(NamedTuple):
    """timesteps: of the denoising steps, 1000 is noise; sigmas: of the same, and one more, after the last step."""

    timesteps: tuple[float, ...]
    sigmas: tuple[float, ...]


def step_list(steps: Sequence[int], shift: float, *, warped: bool = True) -> Schedule:
    """The shifted timesteps and sigmas of `steps` (whole numbers from 1 to 1000, falling), of distilled networks.

    warped: else the steps are timesteps already; their sigmas are the nearest in the shifted table.

    Source: Self-Forcing (`warp_denoising_step`). Raises `InputError` for other steps or a shift that is not positive.
    """
    table = _table(shift)
    if not steps or any(not 1 <= step <= TRAIN_STEPS for step in steps) or list(steps) != sorted(set(steps))[::-1]:
        raise InputError(f"Denoising steps must be whole numbers that fall from 1000 towards 1, got {list(steps)}.")
    if not warped:
        return Schedule(tuple(map(float, steps)), (*(sigma_near(step, shift) for step in steps), 0.0))
    sigmas = table[[TRAIN_STEPS - step for step in steps]]
    return Schedule(tuple((TRAIN_STEPS * sigmas).tolist()), (*sigmas.tolist(), 0.0))


def evenly(steps: int, shift: float) -> Schedule:
    """`steps` steps from sigma 0.999 to 0, shifted, of networks that were not distilled.

    Source: Wan (`FlowUniPCMultistepScheduler`); diffusers spaces them from 1 to 0.001 instead. Raises `InputError`
    for fewer than 1 step or a shift that is not positive.
    """
    _check_shift(shift)
    if not isinstance(steps, int) or steps < 1:
        raise InputError(f"The number of denoising steps must be 1 or larger, got {steps!r}.")
    sigmas = np.linspace(1 - 1 / TRAIN_STEPS, 0, steps + 1)[:-1]
    sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
    return Schedule(tuple((TRAIN_STEPS * sigmas).tolist()), (*sigmas.astype(np.float32).tolist(), 0.0))


def unipc(steps: int, shift: float) -> Schedule:
    """`evenly`, with timesteps cut to whole numbers, as Wan asks its networks; raises as that."""
    timesteps, sigmas = evenly(steps, shift)
    return Schedule(tuple(float(int(timestep)) for timestep in timesteps), sigmas)


def sigma_near(timestep: float, shift: float) -> float:
    """The sigma of the shifted step whose timestep is nearest to `timestep`; raises as `step_list`."""
    table = _table(shift)
    return float(table[(TRAIN_STEPS * table - timestep).abs().argmin()])


def _table(shift: float) -> Tensor:
    """Sigmas of the steps 1000, 999, … 1, shifted; in float32, as in the original."""
    _check_shift(shift)
    sigmas = torch.linspace(1, 0, TRAIN_STEPS + 1)[:-1]
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def _check_shift(shift: float) -> None:
    if not shift > 0:
        raise InputError(f"The shift of a schedule must be a positive number, got {shift!r}.")
