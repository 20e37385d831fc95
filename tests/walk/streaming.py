"""Small streaming networks with random weights, and recipes for them."""

from __future__ import annotations

from dataclasses import replace

import torch

from hyworld.config import DiTConfig
from hyworld.dit import Inputs, WanDiT
from hyworld.walk import Recipe, Rolling, Walker, Words, World
from hyworld.walk.schedules import step_list, unipc
from hyworld.weights.random import randomise

SIZE = (4, 6)
CONFIG = DiTConfig(
    num_heads=2, head_dim=12, num_layers=2, ffn_dim=32, latent_channels=6, text_dim=10, freq_dim=16, cameras=False
)


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


TEXT, RAIN, NEGATIVE = (Words(noise(1, 5, 10, seed=seed), f"words {seed}") for seed in range(3))
PICTURE = noise(1, 6, 1, *SIZE, seed=3)
DISTILLED = Recipe(
    name="small",
    chunk_latents=2,
    memory=Rolling(window=4),
    advance="renoise",
    context_timestep=0.0,
    picture=None,
    picture_timestep=None,
    spatial_stride=8,
    shift=5.0,
    **step_list((1000, 500), 5.0)._asdict(),
)
SOLVED = replace(DISTILLED, advance="unipc", **unipc(3, 5.0)._asdict())
RECIPES = {
    "window": DISTILLED,
    "sink": replace(DISTILLED, memory=Rolling(window=5, sink=1)),
    "rerope": replace(DISTILLED, memory=Rolling(window=3, sink=3, rotated=False)),
    "window of one chunk and a half": replace(DISTILLED, memory=Rolling(window=3, sink=2)),
    "framewise": replace(DISTILLED, chunk_latents=1, memory=Rolling(window=3)),
    "guided": replace(DISTILLED, guidance=3.0),
    "dual": replace(DISTILLED, boundary=900.0),
    "guided dual": replace(DISTILLED, boundary=900.0, guidance=3.0, low_guidance=2.0),
    "context noise": replace(DISTILLED, context_noise=100.0, context_timestep=100.0),
    "picture": replace(DISTILLED, picture="stamp"),
    "picture at timestep 0": replace(SOLVED, picture="stamp", picture_timestep=0.0, guidance=2.0),
    "channels": replace(DISTILLED, picture="channels", guidance=2.0),
}


class Counted:
    """A network that notes what it is asked."""

    def __init__(self, seed: int = 0, config: DiTConfig = CONFIG) -> None:
        self.model = randomise(WanDiT(config), seed)
        self.config = config
        self.fingerprint = (float(seed),)
        self.asked: list[Inputs] = []

    def text_keys_values(self, text):
        return self.model.text_keys_values(text)

    def image_keys_values(self, clip):
        return self.model.image_keys_values(clip)

    def __call__(self, inputs: Inputs):
        self.asked.append(inputs)
        return self.model(inputs)

    def timesteps(self) -> list[float]:
        """Of the forwards since this was last called, of their last latents."""
        asked, self.asked = self.asked, []
        return [inputs.timestep[0, -1].item() for inputs in asked]


def walker_for(recipe: Recipe, **settings) -> Walker:
    """A walker of its own for networks of the kind that the recipe needs, always the same."""
    config = CONFIG
    if recipe.picture == "channels":
        config = replace(CONFIG, image_channels=10, clip_dim=8)
    second = None if recipe.boundary is None else Counted(1, config)
    return Walker(Counted(0, config), recipe=recipe, second=second, **settings)


def begun(walker: Walker, seed: int = 0, text: Words = TEXT) -> World:
    recipe = walker.recipe
    picture = None
    if recipe.picture is not None:
        picture = PICTURE.expand(-1, -1, recipe.chunk_latents if recipe.picture == "channels" else 1, -1, -1)
    return walker.begin(
        text.text,
        prompt=text.prompt,
        latent_size=SIZE,
        seed=seed,
        first_frame=picture,
        negative=NEGATIVE if recipe.is_guided else None,
        clip=noise(1, 3, 8, seed=4) if walker.network.config.clip_dim else None,
    )


def walked(walker: Walker, world: World, chunks: int, **settings) -> World:
    for chunk in walker.walk(world, chunks=chunks, **settings):
        world = chunk.world
    return world
