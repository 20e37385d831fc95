"""Trains the tiny world's network: `python -m training.tiny_world.network --minutes 9 --checkpoint training_ckpt`.

Stage `flow`: flow matching at the four distilled timesteps on single chunks, with the noised latents of the walk as
memory. Stage `judged`: the same, and the losses of a judge (`judge.py`) on chunks denoised in four steps.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hyworld.config import CHUNK_LATENTS
from hyworld.dit import WanDiT
from hyworld.walk import WORLDPLAY

from .batched import MEMORY, Sample, compiled_twin, joint_flow, timesteps
from .evaluate import walk_report
from .judge import Trial
from .optimise import Clock, Optimiser, load_shards
from .pool import LatentPool, WalkSource, sample_of
from .sizes import DIT, HELD_OUT_SEED
from .vae import arguments, load_trained_vae

COMPILED = (0, CHUNK_LATENTS, MEMORY)
"""Memory sizes, in latents, for which the blocks are compiled."""

SHORT_SHARE = 0.3
"""First share of the flow stage, with `SHORT_MIX`: teaches following the camera at a fifth of the cost."""

SHORT_MIX = ((0, 0.5), (4, 0.5))
FULL_MIX = ((0, 0.15), (4, 0.12), (8, 0.04), (12, 0.04), (16, 0.65))
"""(remembered latents, share of the steps). Steps with fewer remembered latents have more chunks, so that all have
about as many tokens."""

WITHOUT_PICTURE = 0.15
"""Share of first chunks without a first frame."""

DISTURBED = 0.25
"""Largest standard deviation of the noise on remembered latents."""

JUDGED_WEIGHT = 0.15
"""Weight of the judge's loss beside the flow loss."""

JUDGED_LAST_STEP = 0.25
"""Weight of the flow loss in the last denoising step of the judged stage, because that loss blurs."""


class Trainee:
    """The network in training; `fast` is its compiled twin for common shapes, or the network itself."""

    def __init__(self, device: torch.device, dtype: torch.dtype, *, compiled: bool, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.network = WanDiT(DIT)
        start_quiet(self.network)
        self.network.to(device, dtype)
        self.fast = compiled_twin(self.network) if compiled else self.network

    def flow(self, sample: Sample, noisy: Tensor, timestep: Tensor) -> Tensor:
        """See `joint_flow`."""
        network = self.fast if sample.remembered in COMPILED else self.network
        return joint_flow(network, sample, noisy, timestep)


def start_quiet(network: WanDiT) -> None:
    """Zero the output layers, so that every block and the head add nothing at first (adaLN-zero)."""
    quiet = [network.head.head, network.time_projection[1], *(block.cross_attn.o for block in network.blocks)]  # type: ignore[union-attr]
    for linear in quiet:
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)


def loss_against(flow: Tensor, noisy: Tensor, target: Tensor, sigma: Tensor, held: int) -> Tensor:
    """Squared error `[B]` against the flow that leads from `noisy` at `sigma` `[B]` to `target`."""
    wanted = (noisy - target) / sigma[:, None, None, None, None]
    return (flow - wanted)[:, :, held:].square().mean(dim=(1, 2, 3, 4))


def random_reach(generator: torch.Generator, mix: tuple[tuple[int, float], ...]) -> int:
    """Number of remembered latents for a step, drawn from `mix`."""
    shares = torch.tensor([share for _, share in mix])
    return mix[int(torch.multinomial(shares, 1, generator=generator))][0]


def random_chunk(generator: torch.Generator, chunks: int, reach: int) -> int:
    """A chunk with at least `reach` latents before it; chunk 0 for 0."""
    return int(torch.randint(reach // CHUNK_LATENTS, chunks, (), generator=generator)) if reach else 0


def flow_step(
    trainee: Trainee,
    pool: LatentPool,
    walks: Tensor,
    generator: torch.Generator,
    *,
    reach: int,
    last_step: float = 1.0,
) -> Tensor:
    """Flow-matching loss at `reach` remembered latents, gradients added; `last_step` weighs the last denoising step."""
    chunk = random_chunk(generator, pool.chunks, reach)
    held = int(chunk == 0 and torch.rand((), generator=generator) >= WITHOUT_PICTURE)
    sample = sample_of(pool, walks, chunk, held=held, reach=reach)
    strength = DISTURBED * torch.rand(len(walks), 1, 1, 1, 1, device=walks.device)
    disturbed = sample.memory + strength * torch.randn_like(sample.memory)
    sample = replace(sample, memory=disturbed)

    step = torch.randint(WORLDPLAY.steps, (len(walks),), device=walks.device)
    sigma, timestep = timesteps(step, held)
    share = sigma[:, None, None, None, None]
    noisy = share * torch.randn_like(sample.target) + (1 - share) * sample.target
    noisy = torch.cat((sample.target[:, :, :held], noisy[:, :, held:]), dim=2)
    losses = loss_against(trainee.flow(sample, noisy, timestep), noisy, sample.target, sigma, held)
    (losses * torch.where(step == WORLDPLAY.steps - 1, last_step, 1.0)).mean().backward()
    return losses.mean().detach()


def load_trained_network(folder: Path, device: torch.device, dtype: torch.dtype) -> WanDiT:
    """The averaged weights in `folder`; raises `FileNotFoundError` if there are none."""
    loaded = load_shards(folder, "network")
    if loaded is None:
        raise FileNotFoundError(f"There is no trained network (network-*.safetensors) in {folder}: train it first.")
    network = WanDiT(DIT)
    averaged = {name.removeprefix("ema."): t.float() for name, t in loaded[0].items() if name.startswith("ema.")}
    network.load_state_dict(averaged)
    return network.to(device, dtype).eval().requires_grad_(False)


def train(
    folder: Path,
    *,
    stage: str,
    minutes: float,
    total: float,
    out: Path,
    device: torch.device,
    compiled: bool,
    workers: int = 14,
    batch: int = 64,
    lr: float = 1e-3,
    capacity: int = 8192,
    first_walks: int = 384,
    fresh_walks: int = 32,
    fresh_share: float = 0.1,
    seed: int = 0,
    report_scenes: int = 8,
) -> float:
    """Train for `minutes` of `total` and write `network-*` to `out`; returns the last mean flow loss.

    batch: chunks per step at 16 remembered latents. The pool starts with `first_walks` and takes `fresh_walks` at a
    time, for up to `fresh_share` of the time; beyond `capacity` they replace the oldest. A resumed call uses new walks.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.manual_seed(seed)
    vae = load_trained_vae(folder, device, dtype)
    trainee = Trainee(device, dtype, compiled=compiled, seed=seed)
    judged = stage == "judged"
    optimiser = Optimiser(trainee.network, lr=lr / 5 if judged else lr, ema=0.998 if judged else 0.999)
    about = optimiser.restore(folder, "network") or {"minutes": {}, "next_seed": 0}
    clock = Clock(minutes, total, about["minutes"].get(stage, 0.0))
    torch.manual_seed(seed + 1 + optimiser.step_count)
    generator = torch.Generator().manual_seed(seed + 1 + optimiser.step_count)

    source = WalkSource(about["next_seed"], workers=workers)
    pool = LatentPool(capacity, device=device)
    while pool.filled < first_walks:
        pool.add(vae, *source.take(fresh_walks), compiled=compiled)
    print(f"{pool.filled} walks after {clock.minutes:.2f} min; at step {optimiser.step_count}", flush=True)

    trial = Trial(trainee.network, pool, fast=trainee.fast, lr=lr / 5, weight=JUDGED_WEIGHT) if judged else None
    recent: dict[str, list[Tensor]] = {}
    begun, reported, reported_step, drawing = clock.minutes, clock.minutes, optimiser.step_count, 0.0
    while not clock.over:
        reach = random_reach(generator, SHORT_MIX if not judged and clock.progress < SHORT_SHARE else FULL_MIX)
        count = batch * (MEMORY + CHUNK_LATENTS) // (reach + CHUNK_LATENTS)
        if trial is not None:
            count = count // 2
            for name, value in zip(("walker", "judge", "right"), trial.step(batch // 2, generator), strict=True):
                recent.setdefault(name, []).append(value)
        if trial is None or trial.teaches:
            walks = torch.randint(pool.filled, (count,), device=device)
            last = 1.0 if trial is None else JUDGED_LAST_STEP
            loss = flow_step(trainee, pool, walks, generator, reach=reach, last_step=last)
            recent.setdefault(f"{reach:02}", []).append(loss)
            optimiser.step(clock.progress)
        if drawing < fresh_share * (clock.minutes - begun):
            _wait(device)
            before = clock.minutes
            pool.add(vae, *source.take(fresh_walks), compiled=compiled)
            _wait(device)
            drawing += clock.minutes - before
        if clock.minutes > reported + 0.25:
            losses = "  ".join(f"{name} {torch.stack(some).mean().item():.4f}" for name, some in sorted(recent.items()))
            steps = optimiser.step_count - reported_step
            print(
                f"{stage} step {optimiser.step_count}  loss by memory: {losses}  "
                f"{steps / (60 * (clock.minutes - reported)):.1f} steps/s  {pool.filled} walks "
                f"(of {source.next_seed}, {drawing / (clock.minutes - begun):.0%} of the time)  "
                f"{clock.used:.1f} of {total:.1f} min",
                flush=True,
            )
            recent, reported, reported_step = {}, clock.minutes, optimiser.step_count
    flows = [loss for name, some in recent.items() if name.isdigit() for loss in some]
    mean = torch.stack(flows).mean().item() if flows else float("nan")
    source.close()
    optimiser.save(
        out, "network", minutes=about["minutes"] | {stage: clock.used}, next_seed=source.next_seed, loss=mean
    )
    averaged = load_trained_network(out, device, dtype)
    print(f"network ({stage}): {optimiser.step_count} steps, loss {mean:.4f}, checkpoint written", flush=True)
    if report_scenes:
        print(walk_report(averaged, vae, HELD_OUT_SEED, report_scenes, out / "walks.png"), flush=True)
    return mean


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser: argparse.ArgumentParser = arguments("Train the tiny world's network.")
    parser.add_argument("--stage", choices=("flow", "judged"), default="flow")
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train(
        options.checkpoint,
        stage=options.stage,
        minutes=options.minutes,
        total=options.total or options.minutes,
        out=options.out or options.checkpoint,
        device=device,
        compiled=device.type == "cuda" and not options.eager,
        workers=options.workers,
        batch=options.batch,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
