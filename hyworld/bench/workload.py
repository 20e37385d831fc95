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
from ..config import PRESETS, TINY, TINY_RANDOM, WAN_5B, Preset
from ..dit import WanDiT
from ..errors import InputError
from ..fp8 import use_fp8
from ..modes import REMEMBERED, Modes, check_modes, fp8_rounding
from ..pipeline import Pipeline, load, make_walker, pick_device, pick_dtype
from ..recipe_choice import adjusted
from ..vae import StreamingDecoder, TinyDecoder, make_vae
from ..walk import WORLDPLAY, Recipe, World
from ..walk.recipes import recipe as recipe_named
from ..weights.random import randomise
from .released import released, tiny_decoder_of

LOOP = "w-7, right-8, w-8, left-8, right-8, s-8, left-8, s-7"
"""Out and back, so that older clips come into view again."""

LOOP_LATENTS = 62

PROMPT_ROWS = 40
CLIP_TOKENS = 257
SEED = 1


@dataclass(frozen=True)
class Setup:
    """One measurement; for what is not said here see `hyworld.load` and `Decoding`.

    size: (height, width) in pixels.
    chunks: 0 is as many as settle and some more.
    """

    size: tuple[int, int]
    chunks: int = 0
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
            "" if self.modes.convolutions == "exact" else "fp8 convolutions",
            "" if self.modes.remembered == REMEMBERED else f"{self.modes.remembered} remembered",
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
    """Weights from files, or random ones of a preset (same cost); raises `InputError` for files without `weights`.

    recipe: name of the recipe to walk by; None is the files' own, or WorldPlay's.
    steps: instead of the recipe's, where it leaves them open.
    """

    preset: Preset
    device: torch.device
    dtype: torch.dtype
    weights: Path | None = None
    vae: Path | None = None
    tiny_decoder: Path | None = None
    recipe: str | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        for name, file in (("VAE", self.vae), ("tiny decoder", self.tiny_decoder)):
            if self.weights is None and file is not None:
                raise InputError(f"A {name} file was given without the model it belongs to: add --weights FILE.")

    @property
    def known_recipe(self) -> Recipe | None:
        """The recipe before anything is loaded; None if only the files say."""
        if self.recipe is not None:
            return adjusted(recipe_named(self.recipe), steps=self.steps)
        return WORLDPLAY if self.weights is None else None

    def build(self, setup: Setup) -> Pipeline:
        """A pipeline for `setup`; raises `InputError` as `hyworld.load`, and for modes this machine lacks."""
        built_in = self.preset.name in PRESETS and self.preset != WAN_5B
        if self.weights is not None or built_in:
            pipeline = load(
                self.weights,
                preset=None if self.weights is not None else self.preset.name,
                vae=self.vae,
                tiny_decoder=self.tiny_decoder if setup.decoder == "tiny" else None,
                decoder=setup.decoder,
                device=self.device,
                dtype=self.dtype,
                modes=setup.modes,
                recipe=self.recipe,
                steps=self.steps,
            )
        else:
            pipeline = self._random(setup)
        assert pipeline.walker.decoding is not None
        pipeline.walker.decoding.at_once = setup.decode_at_once
        return pipeline

    def _random(self, setup: Setup) -> Pipeline:
        """Full size, drawn on the device: on a CPU that takes minutes."""
        device, dtype = self.device, self.dtype
        check_modes(setup.modes, device, setup.decoder)
        chosen = self.known_recipe
        assert chosen is not None, "without files it is known"
        networks = [
            randomise(WanDiT(self.preset.dit, device=device, dtype=dtype), seed, device=device)
            for seed in ((0,) if chosen.boundary is None else (0, 3))
        ]
        vae = randomise(make_vae(self.preset.vae, device=device, dtype=dtype), 1, device=device)
        decoder: StreamingDecoder = vae
        if setup.decoder == "tiny":
            sizes = tiny_decoder_of(self.preset)
            decoder = randomise(TinyDecoder(sizes, device=device, dtype=dtype), 2, device=device)
        fp8 = fp8_rounding(setup.modes)
        if fp8 is not None:
            for network in networks:
                use_fp8(network, fp8)
        second = networks[1] if len(networks) > 1 else None
        walker = make_walker(networks[0], vae, decoder, setup.modes, device, dtype, recipe=chosen, second=second)
        return Pipeline(walker, vae, self.preset.size)


def source_for(
    preset: str,
    device: str,
    dtype: str,
    weights: Path | None,
    vae: Path | None,
    tiny_decoder: Path | None,
    recipe: str | None = None,
    steps: int | None = None,
) -> Source:
    """The source for command-line values; `preset` auto is the full size on a GPU or by a recipe, else tiny-random.

    Raises:
        InputError: weights or a recipe given with a built-in preset; device or dtype not available; as `Source`.
    """
    if weights is not None and preset in (TINY.name, TINY_RANDOM.name):
        raise InputError(f"The preset {preset} has its weights built in: leave out --weights, or --preset.")
    if recipe is not None and preset != "auto":
        raise InputError(f"The preset {preset} has its recipe built in: leave out --recipe, or --preset.")
    where = pick_device(device)
    if recipe is not None:
        sizes = released(recipe_named(recipe))
    elif preset == "auto":
        sizes = WAN_5B if weights is not None or where.type == "cuda" else TINY_RANDOM
    else:
        sizes = PRESETS[preset]
    return Source(sizes, where, pick_dtype(dtype, where), weights, vae, tiny_decoder, recipe, steps)


def path_of(pipeline: Pipeline, chunks: int) -> Trajectory | None:
    """Where the walk goes; None for a network without cameras."""
    recipe = pipeline.walker.recipe
    return walk(chunks, recipe) if recipe.follows_camera else None


def walk(chunks: int, recipe: Recipe = WORLDPLAY) -> Trajectory:
    """`LOOP` repeated and cut to `chunks` chunks, at the pace of the recipe's model."""
    loops = math.ceil(chunks * recipe.chunk_latents / LOOP_LATENTS)
    path = Trajectory.from_tokens(", ".join([LOOP] * loops), recipe.speeds)
    return path.require_chunks(chunks, recipe.chunk_latents)


def picture() -> Image.Image:
    """A random first frame."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8))


def prompt(text_dim: int, tokens: int) -> Tensor:
    """Random embeddings `[1, tokens, text_dim]` of a prompt of `PROMPT_ROWS` tokens."""
    text = torch.zeros(1, tokens, text_dim)
    text[:, :PROMPT_ROWS] = 0.1 * torch.randn(PROMPT_ROWS, text_dim, generator=torch.Generator().manual_seed(2))
    return text


def start(pipeline: Pipeline, source: Source, setup: Setup) -> World:
    """A world from the pipeline's own picture or a random one, where the recipe takes one, and random prompts."""
    walker = pipeline.walker
    config = walker.network.config
    text = prompt(config.text_dim, source.preset.text_tokens)
    negative = text.flip(-1) if walker.recipe.is_guided else None
    if config.clip_dim:
        pipeline.encode_image = lambda image: torch.randn(1, CLIP_TOKENS, config.clip_dim)
    first = None if walker.recipe.picture is None else pipeline.picture or picture()
    return pipeline.start(first, text, seed=SEED, size=setup.size, negative=negative)
