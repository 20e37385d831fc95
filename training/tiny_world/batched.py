"""Prefill, denoising and whole walks for a batch of worlds; tests compare them with `hyworld.walk`.

Shapes: B walks, K remembered latents, C channels.
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
from hyworld.config import CHUNK_LATENTS, PATCH, DiTConfig, MemoryConfig
from hyworld.dit import Attend, Inputs, KVMemory, TextKV, WanDiT, sdpa
from hyworld.dit.buffers import KV, Spread
from hyworld.dit.eight_bit import Kept
from hyworld.dit.positions import Positions
from hyworld.dit.prope import CameraProjections
from hyworld.fp8 import FP8
from hyworld.memory import sample_points, select_memory_frames
from hyworld.walk import WORLDPLAY
from hyworld.walk.recipe import chunk_noise

from .kernels import TRAINING

MEMORY = MemoryConfig().frames


@dataclass(frozen=True)
class Sample:
    """One chunk of B walks, or several in a row: K remembered latents, then the F of the chunks.

    memory `[B, C, K, h, w]`; target `[B, C, F, h, w]`; viewmats `[B, K + F, 4, 4]` and labels `[B, K + F]` of both.
    held: how many of the F latents are given.
    """

    memory: Tensor
    target: Tensor
    viewmats: Tensor
    labels: Tensor
    held: int

    @property
    def remembered(self) -> int:
        return self.memory.shape[2]


def empty_prompt(network: WanDiT, batch: int) -> TextKV:
    """Keys and values of the empty prompt; its rows are all zero, so one is enough."""
    weight = network.patch_embedding.weight
    text = torch.zeros(1, 1, network.config.text_dim, device=weight.device, dtype=weight.dtype)
    return tuple((k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in network.text_keys_values(text))


@functools.cache
def intrinsics(device: torch.device) -> Tensor:
    """The default camera's, `[3, 3]`."""
    return torch.from_numpy(default_intrinsics(1)[0]).float().to(device)


@functools.cache
def causal(memory_tokens: int) -> Attend:
    """Attention where the first `memory_tokens` tokens see only each other: prefill and denoising in one forward."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.shape[2] != k.shape[2] or not memory_tokens:  # to the text, or without a memory
            return sdpa(q, k, v)
        m = memory_tokens
        memory = sdpa(q[:, :, :m], k[:, :, :m], v[:, :, :m])
        return torch.cat((memory, sdpa(q[:, :, m:], k, v)), dim=2)

    return attend


def compiled_twin(network: WanDiT, *, backend: str = "inductor") -> WanDiT:
    """A copy with shared weights, compiled blocks and the training kernels; each shape compiles for ten seconds."""
    # Shapes; at the default of 8 dynamo stops compiling without an error. Newer torch calls it recompile_limit, too.
    torch._dynamo.config.cache_size_limit = 16
    twin = copy.deepcopy(network, {id(weights): weights for weights in network.parameters()})
    for block in twin.blocks:
        # Only the forward, so that hooks on the block run uncompiled.
        block.forward = torch.compile(block.forward, dynamic=False, backend=backend)
    twin.kernels = TRAINING
    return twin


def joint_flow(network: WanDiT, sample: Sample, noisy: Tensor, timestep: Tensor) -> Tensor:
    """Flow `[B, C, F, h, w]`, float32, of `noisy` chunks at `timestep` `[B, F]`, in one forward."""
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
                empty_prompt(network, B),
                viewmats=sample.viewmats,
                intrinsics=intrinsics(noisy.device).expand(B, latents.shape[2], 3, 3),
                action=sample.labels,
            )
        )
    finally:
        network.kernels = kernels
    return flow[:, :, K:].float()


class LooseMemory(KVMemory):
    """A `KVMemory` without buffers: in-place writes would break gradients.

    compact: with the numbers of a compact one in fp8.
    """

    def __init__(self, config: DiTConfig, capacity_frames: int, *, fp8: bool = False, compact: bool = False) -> None:
        self.capacity_frames, self.frames, self.fp8 = capacity_frames, 0, fp8
        heads = config.num_heads if fp8 and compact else 0
        self._slots = [LooseSlot([], [], heads) for _ in range(config.num_layers)]
        self._seen_by: CameraProjections | None = None

    def clear(self) -> None:
        self.frames, self._seen_by = 0, None
        for slot in self._slots:
            slot.kept.clear()
            slot.eight_bit.clear()

    def commit_prefill(self, cameras: CameraProjections) -> None:
        self.frames, self._seen_by = cameras.q.shape[1], cameras

    def cameras_with(self, cameras: CameraProjections) -> CameraProjections:
        if self._seen_by is None:
            return cameras
        return CameraProjections(*(torch.cat(two, dim=1) for two in zip(self._seen_by, cameras, strict=True)))

    def slot(self, layer: int, new_frames: int) -> LooseSlot:
        """A slot that keeps what a prefill stores, but what a denoising step stores only for its forward."""
        slot = self._slots[layer]
        return slot._replace(kept=list(slot.kept)) if self.frames else slot


class LooseSlot(NamedTuple):
    """See `hyworld.dit.buffers.KVSlot`; `heads` of what is kept in 8 bits, too, see `EightBitSlot`; 0: nothing is."""

    kept: list[KV]
    eight_bit: list[Kept]
    heads: int

    def store(self, k_BFSE: Tensor, v_BFSE: Tensor, positions: Positions, spread: Spread) -> None:
        if self.heads and not self.kept:
            self.eight_bit.append(empty(k_BFSE, self.heads))
            spread.keep(k_BFSE, v_BFSE, self.eight_bit[0])
        self.kept.append(spread(k_BFSE, v_BFSE, positions.last(k_BFSE.shape[1]), None))

    def context(self, positions: Positions, spread: Spread) -> KV:
        if self.heads and len(self.kept) > 1:
            frames = self.kept[0][0].shape[2] // positions.tokens
            spread.again(self.eight_bit[0], positions.first(frames), self.kept[0])
        keys, values = zip(*self.kept, strict=True)
        if keys[0].dtype != FP8:
            return torch.cat(keys, dim=2), torch.cat(values, dim=2)
        joined = (torch.cat([x.view(torch.uint8) for x in parts], dim) for parts, dim in ((keys, 2), (values, 3)))
        k, v = (x.view(FP8) for x in joined)
        return k, v


def empty(x_BFSE: Tensor, heads: int) -> Kept:
    """Room for what is kept of as many tokens."""
    B, F, S, E = x_BFSE.shape
    shape = (B, heads, F * S, E // heads)
    k, v = (x_BFSE.new_empty(shape, dtype=torch.int8) for _ in range(2))
    return Kept(k, v.transpose(-1, -2).contiguous(), x_BFSE.new_empty(2, *shape[:3], dtype=torch.float16))


def denoise(network: WanDiT, sample: Sample, noise: Tensor, *, compact: bool = False) -> list[Tensor]:
    """The chunk `[B, C, 4, h, w]` before each of the four steps, and the result; the prefill has no gradients."""
    B, K, held = len(noise), sample.remembered, sample.held
    device, dtype = noise.device, network.patch_embedding.weight.dtype
    fp8 = network.kernels.fp8 is not None
    memory = LooseMemory(network.config, MEMORY + CHUNK_LATENTS, fp8=fp8, compact=compact) if K else None
    lens = intrinsics(device).expand(B, K + CHUNK_LATENTS, 3, 3)
    text_kv = empty_prompt(network, B)
    if memory is not None:
        with torch.no_grad():
            context = torch.full((B, K), WORLDPLAY.context_timestep, device=device)
            told = (sample.viewmats[:, :K], lens[:, :K], sample.labels[:, :K])
            network(Inputs(sample.memory.to(dtype), context, text_kv, memory, True, *told))
    x = torch.cat((sample.target[:, :, :held], noise[:, :, held:]), dim=2)
    course = [x]
    told = (sample.viewmats[:, K:], lens[:, K:], sample.labels[:, K:])
    for step in range(WORLDPLAY.steps):
        _, timestep = timesteps(torch.full((B,), step, device=device), held)
        flow = network(Inputs(x.to(dtype), timestep, text_kv, memory, False, *told))
        moved = x[:, :, held:] + WORLDPLAY.step_size(step) * flow[:, :, held:].float()
        x = torch.cat((x[:, :, :held], moved), dim=2)
        course.append(x)
    return course


def timesteps(step: Tensor, held: int) -> tuple[Tensor, Tensor]:
    """Sigma `[B]` and timesteps `[B, 4]` of the denoising steps `step` `[B]`; the first `held` latents are context."""
    timestep = torch.tensor(WORLDPLAY.timesteps, device=step.device)[step]
    per_latent = timestep[:, None].repeat(1, CHUNK_LATENTS)
    per_latent[:, :held] = WORLDPLAY.context_timestep
    return timestep / 1000, per_latent


@torch.no_grad()
def walk(
    network: WanDiT,
    first: Tensor,
    path: Trajectory,
    seeds: list[int],
    *,
    frozen: bool = False,
    recent_only: bool = False,
    config: MemoryConfig = MemoryConfig(),  # noqa: B008
    compact: bool = False,
) -> Tensor:
    """Latents `[B, C, L, h, w]`, float32, of B worlds along one path, from their first latents `[B, C, 1, h, w]`.

    frozen: the network gets a camera that never moves. recent_only: the memory is the last latents alone. compact: see
    `LooseMemory`.
    """
    B, device = len(first), first.device
    points = sample_points(config.points)
    seen = torch.from_numpy(path.viewmats)
    told = torch.eye(4).expand(len(path), 4, 4) if frozen else seen.float()
    labels = torch.zeros(len(path), dtype=torch.int64) if frozen else torch.tensor(path.labels)
    latents = first.float()[:, :, :0]
    for chunk in range(path.chunks):
        now = CHUNK_LATENTS * chunk
        remembered = select_memory_frames(seen, now, points, config)
        if recent_only:
            remembered = tuple(range(max(0, now - config.frames), now))
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
        latents = torch.cat((latents, denoise(network, sample, noise, compact=compact)[-1]), dim=2)
    return latents
