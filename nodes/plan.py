"""What is to be walked: networks, the world it starts from, the poses and words of each chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..hyworld.camera import Trajectory
from ..hyworld.camera.keys import Presses, relabel
from ..hyworld.camera.units import other_pace
from ..hyworld.config import TINY, check_size, frames_in
from ..hyworld.errors import InputError
from ..hyworld.modes import KVChoice, Modes, keeps_compact
from ..hyworld.pipeline import Pipeline
from ..hyworld.recipe_choice import adjusted
from ..hyworld.walk import Chunk, Walker, Words, World
from ..hyworld.walk.decoding import Decoding
from ..hyworld.walk.fit import standing_still
from ..hyworld.walk.walker import OnProgress
from ..hyworld.walk.world import words_at
from ..hyworld.weights.remap_vae import refuse_other_vae
from .host.model import HostNetwork
from .host.run import same_device
from .host.vae import HostVAE, pick_decoder
from .picture import first_latents


@dataclass(frozen=True)
class Plan:
    """A walk of `parts`, the poses of its chunks, from `start`; the beginning up to `known` need not be walked."""

    pipeline: Pipeline
    vae: HostVAE
    decoder: Any
    start: World
    parts: list[Trajectory]
    words: Mapping[int, Words]
    known: World

    @property
    def walker(self) -> Walker:
        return self.pipeline.walker

    @property
    def end(self) -> int:
        """Chunks the world will have."""
        return self.start.chunks + len(self.parts)

    @property
    def frames(self) -> int:
        """Video frames of the walk."""
        return frames_in(self.end * self.walker.recipe.chunk_latents) - self.start.video_frames

    @property
    def ahead(self) -> list[Trajectory]:
        """The poses of the chunks that are to be walked."""
        return self.parts[self.known.chunks - self.start.chunks :]

    def walk(self, on_progress: OnProgress) -> Iterator[Chunk]:
        """The chunks that are to be walked; see `Walker.walk`."""
        if self.walker.network.config.cameras:
            return self.pipeline.walk(self.known, self.ahead, prompts=self.words, on_progress=on_progress)
        if not self.ahead:
            return iter(())
        return self.pipeline.walk(self.known, None, len(self.ahead), prompts=self.words, on_progress=on_progress)


@dataclass(frozen=True)
class Told:
    """What a new world is told beside the words it begins with; what its recipe has no use for is left out.

    notes: sentences for the user on what was left out.
    """

    negative: Words | None
    clip: Tensor | None
    notes: list[str]


def pipeline_of(
    patcher: Any,
    vae: HostVAE,
    decoder: str,
    kv_memory: KVChoice,
    second: Any = None,
    *,
    colour_match: float = 1.0,
) -> tuple[Pipeline, Any]:
    """The engine over the host's model and VAE, and the decoder of that name.

    second: the MODEL of the low-noise network, for recipes of two networks.
    colour_match: share of the recipe's own.
    """
    network = HostNetwork(patcher)
    other = None if second is None else HostNetwork(second)
    if other is not None and other.dtype != network.dtype:
        raise InputError(
            f"The two models compute in {network.dtype} and {other.dtype}: load both with the same weight_dtype."
        )
    if other is not None and other.attends_in_fp8 != network.attends_in_fp8:
        raise InputError("One of the two models attends in fp8 and the other does not: load both with one attention.")
    recipe = patcher.model.recipe(two=other is not None)
    recipe = adjusted(recipe, colour_match=colour_match * recipe.colour_match)
    if vae.spatial_stride != recipe.spatial_stride:  # Wan 2.1's instead of Wan 2.2's, or the other way round
        refuse_other_vae(vae.config, network.config.latent_channels)
    frames_from = pick_decoder(decoder, vae)
    walker = Walker(
        network,
        recipe=recipe,
        second=other,
        decoding=Decoding(
            frames_from,
            device=frames_from.device,
            dtype=frames_from.dtype,
            caches=frames_from.caches,
            beside=not same_device(frames_from.device, patcher.load_device),
        ),
        device=patcher.load_device,
        dtype=network.dtype,
        vae=vae.fingerprint,
        compact_memory=_keeps_compact(kv_memory, network),
        fp8_memory=network.attends_in_fp8,
    )
    size = TINY.size if network.config.latent_channels == TINY.dit.latent_channels else recipe.size
    return Pipeline(walker, vae, size=size), frames_from


def _keeps_compact(choice: KVChoice, network: HostNetwork) -> bool:
    # In bfloat16 both kinds take twice as much, on a card that other models may need as well.
    roomy = network.device if network.attends_in_fp8 else None
    return keeps_compact(Modes(kv=choice), fused=network.fused, device=roomy)


def told_of(walker: Walker, negative: Mapping[int, Words] | None, clip_vision: Any) -> Told:
    """What the inputs negative and clip_vision_output tell a walk by this walker."""
    recipe, notes = walker.recipe, []
    words, clip = None, None
    if negative is not None and not recipe.is_guided:
        notes.append(f"The negative prompt has no effect: guidance is distilled into the model ({recipe.name}).")
    elif negative is not None:
        if len(negative) > 1:
            raise InputError("The negative prompt holds for a whole walk: wire one CLIP Text Encode, and no schedule.")
        (words,) = negative.values()
    if clip_vision is not None and not walker.network.config.clip_dim:
        notes.append("The CLIP vision output has no effect: this model does not read it.")
    elif clip_vision is not None:
        clip = clip_vision.penultimate_hidden_states
    return Told(words, clip, notes)


def start_of(
    pipeline: Pipeline,
    vae: HostVAE,
    words: Mapping[int, Words],
    world: World | None,
    first_frame: Any,
    size: tuple[int, int],
    seed: int,
    told: Told | None = None,
) -> World:
    """The world a walk starts from: `world` with what the schedule `words` tells it now, or else a new one.

    size: (height, width) as asked for, 0 where it was not.
    """
    if world is not None:
        now = words_at(words, world.chunks)
        return world if now is None else world.told(now)
    walker, begins = pipeline.walker, words[min(words)]
    first, latent_size = None, None
    if first_frame is not None:
        first = first_latents(first_frame, vae, walker.recipe, size)
    else:
        height, width = size[0] or pipeline.size[0], size[1] or pipeline.size[1]
        check_size(height, width, vae.spatial_stride)
        latent_size = (height // vae.spatial_stride, width // vae.spatial_stride)
    return walker.begin(
        begins.text,
        prompt=begins.prompt,
        first_frame=first,
        latent_size=latent_size,
        seed=seed,
        negative=told and told.negative,
        clip=None if told is None else told.clip,
    )


def parts_of(
    walker: Walker, start: World, trajectory: Trajectory | None, actions: Presses | None, chunks: int
) -> tuple[list[Trajectory], list[str]]:
    """The poses of each chunk of a walk from `start`, and what the user should know of them.

    Raises `InputError` for a path that is too short, or missing, or given to a model without cameras.
    """
    n = walker.recipe.chunk_latents
    if not walker.network.config.cameras:
        if trajectory is not None or actions is not None:
            raise InputError(
                "This model follows no camera: take the links off trajectory and actions and set chunks, or load "
                "HY-WorldPlay."
            )
        if not chunks:
            raise InputError("This model follows no camera, so no path says how far it goes: set chunks to 1 or more.")
        return [standing_still(n)] * chunks, []
    if trajectory is None:
        raise InputError("This model follows a camera: wire a path, such as that of Camera Trajectory, to trajectory.")
    notes = []
    if actions is not None and walker.network.config.is_worldplay:
        trajectory = relabel(trajectory, list(actions.keys))
    elif actions is not None:
        notes.append("The actions have no effect: this model is told cameras alone.")
    walked = start.onwards(trajectory).require_chunks(chunks, n, onwards=start.chunks > 0)
    if (other := other_pace(walked.c2w, walker.recipe.speeds)) is not None:
        notes.append(other)
    return walked.split(n), [*notes, *(() if chunks else walked.notes[len(trajectory.notes) :])]


def notes_of(start: World, known: World) -> list[str]:
    """What the user should know of a walk from `start` that shares `known` with the last one."""
    shared = known.chunks - start.chunks
    if not shared:
        return []
    those = f"Chunk {known.chunks} is" if shared == 1 else f"Chunks {start.chunks + 1} to {known.chunks} are"
    return [f"{those} known from the last run and only decoded again (reuse)."]
