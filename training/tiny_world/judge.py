"""A judge of walks: how much each token of some chunks looks rendered, given what is remembered.

Flow matching on four timesteps ends on the mean of all that may come into view, which is a blur. The judge knows the
difference, and the network learns to leave it none. It is a copy of the network, which already understands pictures,
cameras and memory, with a small head on the output of three blocks.

Losses: relativistic pairing (Jolicoeur-Martineau, "The relativistic discriminator", 2018) of rendered and generated
continuations of one memory, token by token; smoothness approximated with noise (Lin et al., "Diffusion adversarial
post-training for one-step video generation", 2025, section 3.3).
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyworld.config import CHUNK_LATENTS
from hyworld.dit import WorldPlayDiT
from hyworld.walk import WORLDPLAY

from .batched import MEMORY, Sample, compiled_twin, denoise, joint_flow
from .optimise import Optimiser
from .pool import LatentPool, sample_of

JUDGED_BLOCKS = (2, 4, 7)
"""Of the network's, whose outputs are read."""

SMOOTHED = 0.1
"""Standard deviation of the noise that must not change the judgement much."""

SMOOTHNESS = 100.0
"""Weight of that demand."""

CHUNKS = 2
"""Chunks in a row that are judged together."""

NEAR = 0.06
"""Squared error of a latent up to which it counts as meant to be the rendered one."""

FAITH = 0.2
"""Weight of `faith_loss`."""

COMPILED = (0, MEMORY)
"""Memories, in latents, for which the judge's blocks are compiled, if they are."""


class Judge(nn.Module):
    """Logits of being rendered, from a copy of `network`."""

    def __init__(self, network: WorldPlayDiT, *, compiled: bool = False) -> None:
        super().__init__()
        width = network.config.dim
        self.network = copy.deepcopy(network).requires_grad_(True)
        self._fast = [compiled_twin(self.network) if compiled else self.network]  # a list: no second module of it
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
            for _ in JUDGED_BLOCKS
        ).to(network.patch_embedding.weight)
        self._outputs: list[Tensor] = []
        for of in {self.network, self._fast[0]}:
            for i in JUDGED_BLOCKS:
                of.blocks[i].register_forward_hook(lambda _block, _given, x: self._outputs.append(x))

    def forward(self, sample: Sample, latents: Tensor) -> Tensor:
        """Logits `[B, F, S, blocks]`, float32, of the F `latents` `[B, C, F, h, w]` that follow the sample's memory."""
        timestep = torch.full((len(latents), latents.shape[2]), WORLDPLAY.context_timestep, device=latents.device)
        self._outputs.clear()
        joint_flow(self._fast[0] if sample.remembered in COMPILED else self.network, sample, latents, timestep)
        logits = [head(x[:, sample.remembered :]) for head, x in zip(self.heads, self._outputs, strict=True)]
        return torch.cat(logits, dim=-1).float()


class Trial:
    """The judge in training beside the network: what it is shown, and what follows for both.

    Walks of two kinds take turns. Some branch off from rendered latents: the judge sees what they remember, so it can
    tell whether they go on as the memory asks. Others follow what the network itself has made since the first picture,
    as in a rollout, where mistakes add up: what these remember fits no rendered walk, and the judge does not see it.

    The judge begins anew in every call and has the first steps to itself, in which the network learns nothing from it.
    """

    def __init__(
        self,
        network: WorldPlayDiT,
        pool: LatentPool,
        *,
        lr: float,
        weight: float,
        alone: int = 100,
        fast: WorldPlayDiT | None = None,
    ) -> None:
        """fast: the network's compiled twin, if it has one; then the judge gets one too."""
        compiled = fast is not None and fast is not network
        self.judge = Judge(network, compiled=compiled)
        self._network, self._fast, self._pool = network, fast or network, pool
        self._optimiser = Optimiser(self.judge, lr=lr, warm_up=max(1, alone // 2), betas=(0.5, 0.95))
        self._weight, self._alone, self.steps = weight, alone, 0
        self._following: tuple[Tensor, Tensor, int] | None = None

    @property
    def teaches(self) -> bool:
        """Whether steps leave gradients in the network."""
        return self.steps > self._alone

    def step(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One step of the judge, and the network's gradients: `weight` times those of `walkers_loss`, and on walks
        that branched off from rendered ones those of `faith_loss`.

        Returns the walker's loss, the judge's, and in how many tokens the judge is right.
        """
        pool = self._pool
        if self.steps % 2:
            first = int(torch.randint(0, pool.chunks - CHUNKS + 1, (), generator=generator))
            walks = torch.randint(pool.filled, (count,), device=pool.latents.device)
            return self._walk(walks, first, pool.latents[walks].float(), shown_memory=MEMORY)
        if self._following is None or self._following[2] + CHUNKS > pool.chunks:
            walks = torch.randint(pool.filled, (count,), device=pool.latents.device)
            self._following = walks, pool.latents[walks].float(), 0
        walks, history, first = self._following
        self._following = walks, history, first + CHUNKS
        return self._walk(walks, first, history, shown_memory=0)

    def _walk(self, walks: Tensor, first: int, history: Tensor, *, shown_memory: int) -> tuple[Tensor, Tensor, Tensor]:
        """`CHUNKS` chunks from chunk `first` on, written into `history` `[B, C, L, h, w]`, and their judgement."""
        made = []
        for chunk in range(first, first + CHUNKS):
            sample = sample_of(self._pool, walks, chunk, history, held=int(chunk == 0))
            network = self._fast if sample.remembered == MEMORY else self._network
            made.append(denoise(network, sample, torch.randn_like(sample.target))[-1])
            history[:, :, CHUNK_LATENTS * chunk : CHUNK_LATENTS * (chunk + 1)] = made[-1].detach()
        sample = sample_of(self._pool, walks, first, chunks=CHUNKS, reach=shown_memory)
        generated = torch.cat(made, dim=2)
        shown = generated.detach().requires_grad_(True)

        judges, right = judges_loss(self.judge, sample, sample.target, shown.detach())
        judges.backward()
        self._optimiser.step(0.0)
        self.steps += 1
        walkers = walkers_loss(self.judge, sample, sample.target, shown)
        if self.teaches:
            asked = self._weight * walkers
            if shown_memory:
                asked = asked + FAITH * faith_loss(shown, sample.target)
            (slope,) = torch.autograd.grad(asked, shown)
            generated.backward(slope)
        return walkers.detach(), judges.detach(), right


def judges_loss(judge: Judge, sample: Sample, rendered: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
    """What the judge has to lower, and in how many tokens it is right; latents `[B, C, F, h, w]` without gradients."""
    real, fake = judge(sample, rendered), judge(sample, generated)
    # Half of each, at the price of one.
    half = len(rendered) // 2
    some = torch.cat((rendered[:half], generated[half:]))
    unsteady = judge(sample, some + SMOOTHED * torch.randn_like(some)) - torch.cat((real[:half], fake[half:]))
    loss = F.softplus(fake - real).mean() + SMOOTHNESS * unsteady.square().mean()
    return loss, (real > fake).float().mean()


def walkers_loss(judge: Judge, sample: Sample, rendered: Tensor, generated: Tensor) -> Tensor:
    """What the network has to lower: gradients reach it through `generated` `[B, C, F, h, w]`."""
    # Not under no_grad: one compiled form serves all of the judge's forwards.
    return F.softplus(judge(sample, rendered).detach() - judge(sample, generated)).mean()


def faith_loss(generated: Tensor, rendered: Tensor) -> Tensor:
    """Asks latents `[B, C, F, h, w]` that almost are the rendered ones to be those, and leaves the others alone.

    What the memory shows comes out near, and the judge forgives it waves; what it does not show comes out as one of
    many continuations, which the mean of them all must not blur (Geman and McClure's robust error).
    """
    error = (generated - rendered).square().mean(dim=1)
    return (error / (error + NEAR)).mean()
