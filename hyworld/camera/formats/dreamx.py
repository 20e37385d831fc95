"""DreamX-World's action words in JSON, one item of its list: {"action_seq": ["w", "wj"], "action_speed_list": [4, 6]}.

How many latents they are spread over is an argument of its program; here it is the item's "num_output_frames".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...config import frames_in
from ...errors import InputError
from ..pose_json import PoseData, default_intrinsics
from ..shares import poses_of_actions

ACTIONS, SHARES, LATENTS = "action_seq", "action_speed_list", "num_output_frames"
USUAL_LATENTS = 21
"""Five seconds."""


def read(data: Mapping[str, Any], name: str) -> PoseData:
    """Poses of latents; raises `InputError` that begins with `name`."""
    words, shares, latents = data[ACTIONS], data.get(SHARES), data.get(LATENTS, USUAL_LATENTS)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f'{name} must have a list of words as its "{ACTIONS}".')
    if not isinstance(shares, list) or not all(isinstance(share, (int, float)) for share in shares):
        raise InputError(f'{name} must have a list of numbers as its "{SHARES}".')
    if not isinstance(latents, int) or latents < 1:
        raise InputError(f'{name} must have a whole number of latents as its "{LATENTS}", got {latents!r:.40}.')
    try:
        path = [poses_of_actions(words, shares, frames_in(latents), onwards=later) for later in (False, True)]
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return PoseData(path[0], default_intrinsics(latents), onwards=path[1])
