"""What is measured: path, picture, prompt and weights, the same in every run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..camera import Trajectory
from ..config import CHUNK_LATENTS, PRESETS, TINY, TINY_RANDOM, WAN_5B, Preset, TinyDecoderConfig
from ..dit import WanDiT
from ..errors import InputError
from ..fp8 import use_fp8
from ..modes import Modes, check_modes, fp8_rounding
from ..pipeline import Pipeline, load, make_walker, pick_device, pick_dtype
from ..vae import StreamingDecoder, TinyDecoder, Wan22VAE
from ..walk import Rolling, World
from ..weights.random import randomise

LOOP = "w-7, right-8, w-8, left-8, right-8, s-8, left-8, s-7"
"""Out and back, so that older clips come into view again."""

LOOP_LATENTS = 62

PROMPT_ROWS = 40
SEED = 1


@dataclass(frozen=True)
class Setup:
    """One measurement: `size` is (height, width) in pixels; for the others see `hyworld.load` and `Decoding`."""

    size: tuple[int, int]
    chunks: int
    modes: Modes = field(default_factory=Modes)
    decoder: str = "full"
    decode_at_once: int | None = None

    @property
    def name(self) -> str:
        parts = [
            self.modes.linears,
            "tiny decoder" if self.decoder == "tiny" else "",
            "" if self.modes.kv == "auto" else f"{self.modes.kv} memory",
            "" if self.modes.attention == "auto" else f"{self.modes.attention} attention",
            "" if self.modes.kernels == "auto" else f"{self.modes.kernels} kernels",
            "" if self.modes.graphs == "auto" else f"graphs {self.modes.graphs}",
            "" if self.decode_at_once is None else f"decoding {self.decode_at_once} at once",
        ]
        return f"{self.size[0]}x{self.size[1]} " + ", ".join(part for part in parts if part)

    def options(self) -> dict[str, Any]:
        return {
            "size": list(self.size),
            "chunks": self.chunks,
            "decoder": self.decoder,
            "decode_at_once": self.decode_at_once,
            **asdict(self.modes),
        }


@dataclass(frozen=True)
class Source:
    """Weights from files, or random ones of a preset (same cost); raises `InputError` for files without `weights`."""

    preset: Preset
    device: torch.device
    dtype: torch.dtype
    weights: Path | None = None
    vae: Path | None = None
    tiny_decoder: Path | None = None

    def __post_init__(self) -> None:
        for name, file in (("VAE", self.vae), ("tiny decoder", self.tiny_decoder)):
            if self.weights is None and file is not None:
                raise InputError(f"A {name} file was given without the model it belongs to: add --weights FILE.")

    def build(self, setup: Setup) -> Pipeline:
        """A pipeline for `setup`; raises `InputError` as `hyworld.load`, and for modes this machine lacks."""
        if self.weights is not None or self.preset != WAN_5B:
            pipeline = load(
                self.weights,
                preset=None if self.weights is not None else self.preset.name,
                vae=self.vae,
                tiny_decoder=self.tiny_decoder if setup.decoder == "tiny" else None,
                decoder=setup.decoder,
                device=self.device,
                dtype=self.dtype,
                modes=setup.modes,
            )
            if isinstance(pipeline.walker.recipe.memory, Rolling):
                raise InputError(
                    f"{self.weights} follows no camera, and this measures walks along a path: time hyworld generate."
                )
        else:
            pipeline = self._random(setup)
        assert pipeline.walker.decoding is not None
        pipeline.walker.decoding.at_once = setup.decode_at_once
        return pipeline

    def _random(self, setup: Setup) -> Pipeline:
        """Full size, drawn on the device: on a CPU that takes minutes."""
        device, dtype = self.device, self.dtype
        check_modes(setup.modes, device)
        dit = randomise(WanDiT(self.preset.dit, device=device, dtype=dtype), 0, device=device)
        vae = randomise(Wan22VAE(self.preset.vae, device=device, dtype=dtype), 1, device=device)
        decoder: StreamingDecoder = vae
        if setup.decoder == "tiny":
            sizes = TinyDecoderConfig(latent_channels=self.preset.vae.z_dim)
            decoder = randomise(TinyDecoder(sizes, device=device, dtype=dtype), 2, device=device)
        fp8 = fp8_rounding(setup.modes)
        if fp8 is not None:
            use_fp8(dit, fp8)
        return Pipeline(make_walker(dit, vae, decoder, setup.modes, device, dtype), vae, self.preset.size)


def source_for(
    preset: str, device: str, dtype: str, weights: Path | None, vae: Path | None, tiny_decoder: Path | None
) -> Source:
    """The source for command-line values; `preset` auto is the full size on a GPU, else tiny-random.

    Raises:
        InputError: weights given with a built-in preset; device or dtype not available; as `Source`.
    """
    if weights is not None and preset in (TINY.name, TINY_RANDOM.name):
        raise InputError(f"The preset {preset} has its weights built in: leave out --weights, or --preset.")
    where = pick_device(device)
    if preset == "auto":
        sizes = WAN_5B if weights is not None or where.type == "cuda" else TINY_RANDOM
    else:
        sizes = PRESETS[preset]
    return Source(sizes, where, pick_dtype(dtype, where), weights, vae, tiny_decoder)


def walk(chunks: int) -> Trajectory:
    """`LOOP` repeated and cut to `chunks` chunks."""
    loops = math.ceil(chunks * CHUNK_LATENTS / LOOP_LATENTS)
    return Trajectory.from_tokens(", ".join([LOOP] * loops)).require_chunks(chunks)


def picture() -> Image.Image:
    """A random first frame."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8))


def prompt(text_dim: int, tokens: int) -> Tensor:
    """Random embeddings `[1, tokens, text_dim]` of a prompt of `PROMPT_ROWS` tokens."""
    text = torch.zeros(1, tokens, text_dim)
    text[:, :PROMPT_ROWS] = 0.1 * torch.randn(PROMPT_ROWS, text_dim, generator=torch.Generator().manual_seed(2))
    return text


def start(pipeline: Pipeline, source: Source, setup: Setup) -> World:
    """A world from the pipeline's own picture, else a random one, and a random prompt."""
    text = prompt(pipeline.walker.network.config.text_dim, source.preset.text_tokens)
    return pipeline.start(pipeline.picture or picture(), text, seed=SEED, size=setup.size)
