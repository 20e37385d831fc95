"""Prompts the tests run: a small walk of a built-in model, in API form, to be changed where a test needs it to be."""

from __future__ import annotations

from typing import Any

from .client import Prompt

TINY_MODEL = "tiny-random (noise, for tests)"
TRAINED_MODEL = "tiny (built in, no download)"
FULL_DECODER = "full (the VAE)"
PICTURE = "street.png"
"""The picture that the `server` fixture puts in the input folder."""

SAMPLER = "sampler"


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


def walk(path: str = "w-7", *, width: int = 96, height: int = 64, **sampler: Any) -> Prompt:
    """A walk along `path` from a picture, which saves its latents; `sampler` changes inputs of the sampler."""
    return {
        "model": node("HYWorldLoadModel", model_name=TINY_MODEL, weight_dtype="default", attention="auto"),
        "world": node("HYWorldTinyWorld"),
        "prompt": node("CLIPTextEncode", clip=["world", 1], text="a quiet street"),
        "picture": node("LoadImage", image=PICTURE),
        "first": node("HYWorldEncodeFirstFrame", image=["picture", 0], vae=["world", 0], width=width, height=height),
        "path": node("HYWorldCameraTrajectory", path=path),
        SAMPLER: sampler_node(**{"first_frame": ["first", 0], **sampler}),
        "latents": node("SaveLatent", samples=[SAMPLER, 1], filename_prefix="walk"),
    }


def sampler_node(**inputs: Any) -> dict[str, Any]:
    """A Streaming Sampler wired to the other nodes of `walk`."""
    defaults: dict[str, Any] = {
        "model": ["model", 0],
        "positive": ["prompt", 0],
        "vae": ["world", 0],
        "trajectory": ["path", 0],
        "chunks": 0,
        "seed": 1,
        "decoder": FULL_DECODER,
        "preview": False,
        "reuse": False,
    }
    return node("HYWorldStreamingSampler", **{**defaults, **inputs})


def with_frames(prompt: Prompt, sampler: str = SAMPLER) -> Prompt:
    """The same prompt, with the frames saved as PNGs by a node called "frames"."""
    return {**prompt, "frames": node("SaveImage", images=[sampler, 0], filename_prefix="walk")}


def slowed(prompt: Prompt, seconds: float) -> Prompt:
    """The same prompt with a pause before every forward of the network."""
    slow = {**prompt, "slow": node("TestSlowModel", model=["model", 0], seconds=seconds)}
    return changed(slow, SAMPLER, model=["slow", 0])


def changed(prompt: Prompt, name: str, **inputs: Any) -> Prompt:
    """The same prompt with other inputs for one node."""
    before = prompt[name]
    return {**prompt, name: {**before, "inputs": {**before["inputs"], **inputs}}}
