"""The rollout's arithmetic for many walks at once: what training and the benchmarks run instead of the engine.

Prefill, denoising and the joint forward use the network as it is; tests compare each with `hyworld.walk`.
Shape suffixes: B walks, K remembered latents, C channels.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hyworld.camera import Trajectory
from hyworld.camera.trajectory import default_intrinsics
from hyworld.config import CHUNK_LATENTS, PATCH, DiTConfig
from hyworld.dit import Attend, Inputs, KVMemory, TextKV, WorldPlayDiT, sdpa
from hyworld.dit.kv_memory import KV, Spread
from hyworld.dit.positions import Positions
from hyworld.dit.prope import CameraProjections
from hyworld.memory import sample_points, select_memory_frames
from hyworld.walk import WORLDPLAY
from hyworld.walk.recipe import chunk_noise

from .kernels import TRAINING

MEMORY = WORLDPLAY.memory.frames


@dataclass(frozen=True)
class Sample:
    """One chunk of B walks, or several in a row: K remembered latents, then the F of the chunks.

    memory: `[B, C, K, h, w]`. target: `[B, C, F, h, w]`, what the chunks should become.
    viewmats `[B, K + F, 4, 4]` and labels `[B, K + F]` of all of them. held: how many of the F latents are given.
    """

    memory: Tensor
    target: Tensor
    viewmats: Tensor
    labels: Tensor
    held: int

    @property
    def remembered(self) -> int:
        """K."""
        return self.memory.shape[2]


def empty_prompt(network: WorldPlayDiT, batch: int) -> TextKV:
    """Keys and values of the empty prompt: all of its rows are zero, so one row says the same."""
    weight = network.patch_embedding.weight
    text = torch.zeros(1, 1, network.config.text_dim, device=weight.device, dtype=weight.dtype)
    return tuple((k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in network.text_keys_values(text))


@functools.cache
def intrinsics(device: torch.device) -> Tensor:
    """The default camera's, `[3, 3]`."""
    return torch.from_numpy(default_intrinsics(1)[0]).float().to(device)


@functools.cache
def causal(memory_tokens: int) -> Attend:
    """Attention in which the first `memory_tokens` tokens see only each other and the rest see all.

    So one forward over [memory, chunk] is what a rollout does in two: the prefill, then a denoising step.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.shape[2] != k.shape[2] or not memory_tokens:  # to the text, or without a memory
            return sdpa(q, k, v)
        m = memory_tokens
        memory = sdpa(q[:, :, :m], k[:, :, :m], v[:, :, :m])
        return torch.cat((memory, sdpa(q[:, :, m:], k, v)), dim=2)

    return attend


def compiled_twin(network: WorldPlayDiT, *, backend: str = "inductor") -> WorldPlayDiT:
    """A copy with the same weights (not copies of them) whose blocks are compiled, anew for every shape.

    That takes some ten seconds a shape: rare shapes are better left to `network`. It runs with the kernels of training.
    backend: of torch.compile.
    """
    torch._dynamo.config.recompile_limit = 16  # shapes; the default gives up, without an error, at 8
    twin = copy.deepcopy(network, {id(weights): weights for weights in network.parameters()})
    for block in twin.blocks:
        # The forward alone, so that hooks on the block stay Python's.
        block.forward = torch.compile(block.forward, dynamic=False, backend=backend)
    twin.kernels = TRAINING
    return twin


def joint_flow(network: WorldPlayDiT, sample: Sample, noisy: Tensor, timestep: Tensor) -> Tensor:
    """Flow `[B, C, F, h, w]`, float32, of a `noisy` chunk (or several) at `timestep` `[B, F]`, in one forward."""
    B, K = len(noisy), sample.remembered
    latents = torch.cat((sample.memory, noisy), dim=2)
    context = torch.full((B, K), WORLDPLAY.context_timestep, device=noisy.device)
    kernels = network.kernels
    network.kernels = TRAINING._replace(attend=causal(K * noisy.shape[3] * noisy.shape[4] // PATCH**2))
    try:
        flow = network(
            Inputs(
                latents.to(network.patch_embedding.weight.dtype),
                torch.cat((context, timestep), dim=1),
                sample.viewmats,
                intrinsics(noisy.device).expand(B, latents.shape[2], 3, 3),
                sample.labels,
                empty_prompt(network, B),
            )
        )
    finally:
        network.kernels = kernels
    return flow[:, :, K:].float()


class LooseMemory(KVMemory):
    """A memory of tensors that are written once, so that gradients find them as they were; the engine's has buffers.

    It stands in for all that a forward asks of a `KVMemory`.
    """

    def __init__(self, config: DiTConfig, capacity_frames: int) -> None:
        self.capacity_frames, self.frames = capacity_frames, 0
        self._slots = [LooseSlot([]) for _ in range(config.num_layers)]
        self._seen_by: CameraProjections | None = None

    def clear(self) -> None:
        self.frames, self._seen_by = 0, None
        for slot in self._slots:
            slot.kept.clear()

    def commit_prefill(self, cameras: CameraProjections) -> None:
        self.frames, self._seen_by = cameras.q.shape[1], cameras

    def cameras_with(self, cameras: CameraProjections) -> CameraProjections:
        if self._seen_by is None:
            return cameras
        return CameraProjections(*(torch.cat(two, dim=1) for two in zip(self._seen_by, cameras, strict=True)))

    def slot(self, layer: int) -> LooseSlot:
        """The prefill's keys and values stay; those of a denoising step live as long as its forward."""
        slot = self._slots[layer]
        return LooseSlot(list(slot.kept)) if self.frames else slot


class LooseSlot(NamedTuple):
    """Keys and values in pieces; see `hyworld.dit.kv_memory.KVSlot`."""

    kept: list[KV]

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        self.kept.append(spread(k_BFSE, v_BFSE, positions.last(k_BFSE.shape[1]), None))

    def context(self, positions: Positions, spread: Spread) -> KV:
        keys, values = (torch.cat(parts, dim=2) for parts in zip(*self.kept, strict=True))
        return keys, values


def denoise(network: WorldPlayDiT, sample: Sample, noise: Tensor) -> list[Tensor]:
    """A walk's four steps: the running chunk before each and what it ends as, `[B, C, 4, h, w]` each.

    Gradients reach the network from all four steps, but not from what it keeps of the memory.
    """
    B, K, held = len(noise), sample.remembered, sample.held
    device, dtype = noise.device, network.patch_embedding.weight.dtype
    memory = LooseMemory(network.config, MEMORY + CHUNK_LATENTS) if K else None
    lens = intrinsics(device).expand(B, K + CHUNK_LATENTS, 3, 3)
    text_kv = empty_prompt(network, B)
    if memory is not None:
        with torch.no_grad():
            context = torch.full((B, K), WORLDPLAY.context_timestep, device=device)
            told = (sample.viewmats[:, :K], lens[:, :K], sample.labels[:, :K])
            network(Inputs(sample.memory.to(dtype), context, *told, text_kv, memory, prefill=True))
    x = torch.cat((sample.target[:, :, :held], noise[:, :, held:]), dim=2)
    course = [x]
    told = (sample.viewmats[:, K:], lens[:, K:], sample.labels[:, K:])
    for step in range(WORLDPLAY.steps):
        _, timestep = timesteps(torch.full((B,), step, device=device), held)
        flow = network(Inputs(x.to(dtype), timestep, *told, text_kv, memory))
        moved = x[:, :, held:] + WORLDPLAY.step_size(step) * flow[:, :, held:].float()
        x = torch.cat((x[:, :, :held], moved), dim=2)
        course.append(x)
    return course


def timesteps(step: Tensor, held: int) -> tuple[Tensor, Tensor]:
    """Sigma `[B]` and timestep per latent `[B, 4]` of the denoising steps `step` `[B]`."""
    timestep = torch.tensor(WORLDPLAY.timesteps, device=step.device)[step]
    per_latent = timestep[:, None].repeat(1, CHUNK_LATENTS)
    per_latent[:, :held] = WORLDPLAY.context_timestep
    return timestep / 1000, per_latent


@torch.no_grad()
def walk(
    network: WorldPlayDiT,
    first: Tensor,
    path: Trajectory,
    seeds: list[int],
    *,
    frozen: bool = False,
    recent_only: bool = False,
) -> Tensor:
    """B worlds walked along one path, from their first latents `[B, C, 1, h, w]`: latents `[B, C, L, h, w]`, float32.

    frozen: the network is told that the camera never moves. recent_only: the memory is the last 16 latents.
    """
    B, device = len(first), first.device
    config = WORLDPLAY.memory
    points = sample_points(config.points)
    seen = torch.from_numpy(path.viewmats)
    told = torch.eye(4).expand(len(path), 4, 4) if frozen else seen.float()
    labels = torch.zeros(len(path), dtype=torch.int64) if frozen else torch.tensor(path.labels)
    latents = first.float()[:, :, :0]
    for chunk in range(path.chunks):
        now = CHUNK_LATENTS * chunk
        remembered = select_memory_frames(seen, now, points, config)
        if recent_only:
            remembered = tuple(range(max(0, now - MEMORY), now))
        frames = [*remembered, *range(now, now + CHUNK_LATENTS)]
        shape = (1, first.shape[1], CHUNK_LATENTS, *first.shape[3:])
        noise = torch.cat([chunk_noise(seed, chunk, shape) for seed in seeds]).to(device)
        sample = Sample(
            memory=latents[:, :, list(remembered)],
            target=torch.cat((first.float(), noise[:, :, 1:]), dim=2),
            viewmats=told[frames].expand(B, -1, -1, -1).to(device),
            labels=labels[frames].expand(B, -1).to(device),
            held=int(chunk == 0),
        )
        latents = torch.cat((latents, denoise(network, sample, noise)[-1]), dim=2)
    return latents
