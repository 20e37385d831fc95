"""The same walk with whole weights and with split ones: `splits.py FILE DEVICE LINEARS…` saves latents and bytes.

Bytes: of the network's weights, by process.
"""

from __future__ import annotations

import sys
import weakref
from pathlib import Path
from typing import Any

import torch

from hyworld import Pipeline, Trajectory
from hyworld.dit import WanDiT
from hyworld.dit.graphs import GraphedNetwork
from hyworld.fp8 import use_fp8
from hyworld.modes import Modes
from hyworld.parallel import follow_if_told, leave
from hyworld.parallel.lead import SharedNetwork
from hyworld.parallel.split import SplitFeedForward
from hyworld.parallel.together import together
from hyworld.pipeline import load

KINDS = {"cpu": ("off", "auto", "send"), "cuda": ("off", "read", "auto", "send")}
CHUNKS = {"cpu": 2, "cuda": 7}
"""In the last ones of 7 the memory is full, so that forwards are recorded and replayed on a GPU."""

PATH = Trajectory.from_tokens("w-7, right-9, left-9, d-6")

made: list[weakref.ref[WanDiT]] = []


def small(linears: Any, *, device: str) -> Pipeline:
    """The built-in world: 8 blocks and 8 heads."""
    on_gpu = device != "cpu"
    modes = Modes(linears=linears if on_gpu else "exact")
    pipeline = load(preset="tiny", decoder="tiny", device=device, modes=modes)
    network = pipeline.walker.network
    model = network.model if isinstance(network, GraphedNetwork) else network
    assert isinstance(model, WanDiT)
    if linears == "fp8" and not on_gpu:
        use_fp8(model)  # the plain functions, which the mode does not offer
    made[:] = [weakref.ref(model)]
    return pipeline


def weight_bytes() -> int:
    """Of the network made last, as this process holds it."""
    model = made[0]()
    assert model is not None
    tensors = list(model.state_dict().values())
    if isinstance(model.kernels.feed_forward, SplitFeedForward):
        tensors.append(model.kernels.feed_forward.parts.own)
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def save_walks(file: Path, device: str, *all_linears: str) -> None:
    """After each, for whoever looks at those before one that fails."""
    found = {}
    for linears in all_linears:
        for kind in KINDS[device]:
            pipeline = together(small, linears, device=device, split=kind)
            network = pipeline.walker.network
            assert isinstance(network, SharedNetwork)
            *_, last = pipeline.walk(pipeline.start(size=(64, 96), seed=3), PATH.split(4)[: CHUNKS[device]])
            found[linears, kind] = last.world.latents, network.crew.ask(weight_bytes)
            torch.save(found, file)


if __name__ == "__main__":
    torch.set_num_threads(1)
    follow_if_told(shares=True)
    save_walks(Path(sys.argv[1]), *sys.argv[2:])
    leave(0)
