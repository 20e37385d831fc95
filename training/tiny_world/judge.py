"""A discriminator (judge) of walks, because flow matching on four timesteps blurs what first comes into view.

Losses: relativistic pairing of rendered and generated continuations of one memory (Jolicoeur-Martineau, "The
relativistic discriminator", 2018); smoothness approximated with noise (Lin et al., "Diffusion adversarial
post-training for one-step video generation", 2025, section 3.3).
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyworld.config import CHUNK_LATENTS
from hyworld.dit import WanDiT
from hyworld.walk import WORLDPLAY

from .batched import MEMORY, Sample, compiled_twin, denoise, joint_flow
from .optimise import Optimiser
from .pool import LatentPool, sample_of

JUDGED_BLOCKS = (2, 4, 7)
"""Blocks whose outputs the judge reads."""

SMOOTHED = 0.1
"""Standard deviation of the noise of the smoothness loss."""

SMOOTHNESS = 100.0
"""Weight of the smoothness loss."""

CHUNKS = 2
"""Consecutive chunks judged together."""

NEAR = 0.06
"""Scale of the squared error in `faith_loss`; much larger errors have almost no gradient."""

FAITH = 0.2
"""Weight of `faith_loss`."""

COMPILED = (0, MEMORY)
"""Memory sizes, in latents, for which the judge runs compiled blocks."""


class Judge(nn.Module):
    """Logits of being rendered: a copy of `network` with a small head on three blocks."""

    def __init__(self, network: WanDiT, *, compiled: bool = False) -> None:
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
        """Logits `[B, F, S, blocks]`, float32, of `latents` `[B, C, F, h, w]` after the sample's memory."""
        timestep = torch.full((len(latents), latents.shape[2]), WORLDPLAY.context_timestep, device=latents.device)
        self._outputs.clear()
        joint_flow(self._fast[0] if sample.remembered in COMPILED else self.network, sample, latents, timestep)
        logits = [head(x[:, sample.remembered :]) for head, x in zip(self.heads, self._outputs, strict=True)]
        return torch.cat(logits, dim=-1).float()


class Trial:
    """Trains the judge, and the network through it.

    Two kinds of walks alternate. Some branch off from rendered latents, and the judge sees their memory. Others
    continue the network's own latents, so that it learns from accumulated errors; their memory fits no rendered walk
    and is hidden from the judge. Each training call starts with a new judge, trained `alone` for the first steps.
    """

    def __init__(
        self,
        network: WanDiT,
        pool: LatentPool,
        *,
        lr: float,
        weight: float,
        alone: int = 100,
        fast: WanDiT | None = None,
    ) -> None:
        """`fast` is the network's compiled twin; with one, the judge is compiled too."""
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
        """Update the judge, add the network's gradients; returns both losses and the judge's share of right tokens."""
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
        """Make `CHUNKS` chunks from `first` on, write them into `history` `[B, C, L, h, w]`, and judge them."""
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
    """The judge's loss, and the share of tokens in which it is right; latents `[B, C, F, h, w]` without gradients."""
    real, fake = judge(sample, rendered), judge(sample, generated)
    # Smoothness on half of each, to save a forward.
    half = len(rendered) // 2
    some = torch.cat((rendered[:half], generated[half:]))
    unsteady = judge(sample, some + SMOOTHED * torch.randn_like(some)) - torch.cat((real[:half], fake[half:]))
    loss = F.softplus(fake - real).mean() + SMOOTHNESS * unsteady.square().mean()
    return loss, (real > fake).float().mean()


def walkers_loss(judge: Judge, sample: Sample, rendered: Tensor, generated: Tensor) -> Tensor:
    """The network's loss, with gradients for `generated` `[B, C, F, h, w]`."""
    # detach instead of no_grad, which would compile the judge once more.
    return F.softplus(judge(sample, rendered).detach() - judge(sample, generated)).mean()


def faith_loss(generated: Tensor, rendered: Tensor) -> Tensor:
    """Geman and McClure's robust error of latents `[B, C, F, h, w]`: only latents near the rendered ones are pulled to
    them; on the others, whose content the memory does not show, regression would blur."""
    error = (generated - rendered).square().mean(dim=1)
    return (error / (error + NEAR)).mean()
