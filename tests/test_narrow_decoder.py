"""A walk whose frames come from a Wan VAE's narrower decoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

import hyworld
from hyworld import builtin
from hyworld.config import TINY_RANDOM
from hyworld.vae import make_vae
from hyworld.weights.random import randomise


def test_a_walk_with_it(tmp_path: Path):
    preset = TINY_RANDOM
    narrow = randomise(make_vae(replace(preset.vae, decoder_dim=preset.vae.decoder_dim // 2)), 3)
    states = {"dit": builtin.dit(preset), "vae": builtin.vae(preset), "narrow": narrow}
    files = {name: tmp_path / f"{name}.safetensors" for name in states}
    for name, module in states.items():
        save_file({key: tensor.contiguous() for key, tensor in module.state_dict().items()}, files[name])
    pipeline = hyworld.load(
        files["dit"], vae=files["vae"], decoder="tiny", tiny_decoder=files["narrow"], head_dim=preset.dit.head_dim,
        device="cpu", dtype="float32",
    )  # fmt: skip
    world = pipeline.start(None, torch.zeros(1, 4, preset.dit.text_dim), size=(96, 160), seed=1)
    (chunk,) = pipeline.walk(world, "w-3", 1)
    with torch.no_grad():
        frames, _ = narrow.eval().decode_stream(chunk.world.latents)
    want = ((frames.clamp(-1, 1) + 1) * 127.5).round()[0].permute(1, 2, 3, 0)
    assert chunk.frames.shape == want.shape
    assert (chunk.frames.float() - want).abs().max() <= 1
