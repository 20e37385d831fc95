"""Walks of small networks, in one process or shared by several: `python walks.py FILE` saves what they gave, with
`some` that of those that differ with the number of processes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from hyworld import Pipeline, Trajectory, World
from hyworld.config import MemoryConfig, Wan21VAEConfig
from hyworld.dit import PLAIN, WanDiT
from hyworld.dit.fp8_attention import PLAIN_FP8
from hyworld.modes import Modes
from hyworld.parallel import follow_if_told, leave
from hyworld.parallel.together import together
from hyworld.pipeline import load, make_walker
from hyworld.vae.fp8_convolution import use_fp8_convolutions
from hyworld.vae.wan21 import Wan21VAE
from hyworld.walk import Rolling, Walker
from hyworld.walk.decoding import Decoding
from hyworld.weights.random import randomise

sys.path.insert(0, str(Path(__file__).parents[1] / "walk"))
from streaming import CONFIG, DISTILLED, NEGATIVE, RAIN, TEXT

SIZE = (96, 96)
"""9 tokens a latent and 6 rows: not to be shared evenly by 2 or 4."""

PATH = Trajectory.from_tokens("w-7, right-9, left-9, d-6")
STREAMS = {
    "window": DISTILLED,
    "rerope, guided": replace(DISTILLED, memory=Rolling(window=3, sink=1, rotated=False), guidance=3.0),
    "two networks": replace(DISTILLED, memory=Rolling(window=3, sink=2), boundary=900.0),
    "fp8": replace(DISTILLED, memory=Rolling(window=3, sink=1, rotated=True)),
    "camera branch": replace(DISTILLED, memory=Rolling(window=3, sink=1, rotated=False), camera_branch=True),
    "recall": replace(
        DISTILLED,
        memory=Rolling(window=6, sink=1, rotated=False, recall=MemoryConfig(points=64)),
        camera_branch=True,
    ),
}

SOME = ("fp8", "camera branch")

Walked = dict[str, torch.Tensor]


def streaming(name: str, *, device: str) -> Pipeline:
    """A small Wan that streams by one of `STREAMS`."""
    recipe = STREAMS[name]
    # 4 heads: one for each of so many processes.
    config = replace(CONFIG, num_heads=4, cameras=recipe.follows_camera, camera_width=32 if recipe.camera_branch else 0)
    width = 8 if name == "fp8" else 4  # its widest layers then have the 32 channels that are rounded
    sizes = Wan21VAEConfig(encoder_dim=4, decoder_dim=width, z_dim=6, latents_mean=(0.0,) * 6, latents_std=(1.0,) * 6)
    vae = randomise(Wan21VAE(sizes), 1)
    second = randomise(WanDiT(config), 2) if recipe.boundary else None
    where, dtype = torch.device(device), torch.float32
    first = randomise(WanDiT(config), 0)
    if name != "fp8":
        walker = make_walker(first, vae, vae, Modes(), where, dtype, recipe=recipe, second=second)
        return Pipeline(walker, vae, (48, 80))
    # As the mode does it, but with the plain functions.
    first.kernels = PLAIN._replace(fp8=PLAIN_FP8)
    use_fp8_convolutions(vae)
    decoding = Decoding(vae, device=where, dtype=dtype)
    return Pipeline(Walker(first, recipe=recipe, decoding=decoding, fp8_memory=True), vae, (48, 80))


def keep(walked: Walked, name: str, world: World, frames: list[torch.Tensor | None]) -> None:
    walked[f"{name} latents"] = world.latents
    walked[f"{name} frames"] = torch.cat([part for part in frames if part is not None])


def walks(
    kinds: Sequence[Literal["fast", "compact"]] = ("fast", "compact"), streams: Sequence[str] = tuple(STREAMS)
) -> Walked:
    """Everything that is walked."""
    walked: Walked = {}
    for kv in kinds:
        pipeline = together(load, preset="tiny-random", device="cpu", modes=Modes(kv=kv))
        start = pipeline.start(text="a street", size=SIZE, seed=3)
        chunks = list(pipeline.walk(start, PATH.split(4)[:6], prompts={4: "rain"}))
        keep(walked, kv, chunks[-1].world, [chunk.frames for chunk in chunks])
        if kv == "fast":
            back = chunks[1].world
            branch = list(pipeline.walk(back, "left-5"))
            keep(walked, "branch", branch[-1].world, [chunk.frames for chunk in branch])
            again = [chunk.frames for chunk in pipeline.replay(chunks[-1].world, 3)]
            keep(walked, "again", chunks[-1].world, again)
            onwards = list(pipeline.walk(branch[-1].world, "w-4"))
            keep(walked, "onwards", onwards[-1].world, [chunk.frames for chunk in onwards])
    if streams:
        pipeline = together(load, preset="tiny-random", device="cpu", decoder="tiny")
        chunks = list(pipeline.walk(pipeline.start(size=SIZE), PATH, 2))
        keep(walked, "tiny decoder", chunks[-1].world, [chunk.frames for chunk in chunks])
    for name in streams:
        pipeline = together(streaming, name, device="cpu")
        start = pipeline.start(None, TEXT, negative=NEGATIVE)
        path = Trajectory.from_tokens("w-6, right-7") if STREAMS[name].follows_camera else None
        chunks = list(pipeline.walk(start, path, 6, prompts={2: RAIN}))
        keep(walked, name, chunks[-1].world, [chunk.frames for chunk in chunks])
    return walked


if __name__ == "__main__":
    torch.set_num_threads(1)
    follow_if_told(shares=True)
    once = walks(("compact",), SOME) if "some" in sys.argv else walks()
    twice = walks(("compact",), ())
    assert all(torch.equal(once[name], twice[name]) for name in twice), "the same walk twice"
    torch.save(once, Path(sys.argv[1]))
    leave(0)
