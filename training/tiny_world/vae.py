"""Trains the tiny world's VAE: `python -m training.tiny_world.vae --minutes 8 --checkpoint training_ckpt`.

Noise on the latents replaces the variational loss, and makes the decoder tolerant of the network's errors. The half
of the encoder's output for the variance is not trained.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyworld.config import VAEConfig
from hyworld.vae import Wan22VAE

from .optimise import Clock, Optimiser, load_shards, save_shards
from .pictures import save_sheet
from .pool import Clips, WalkSource
from .sizes import HELD_OUT_SEED, VAE

FRAMES_PER_STEP = 102
CURRICULUM = ((0.45, 9), (0.85, 17), (1.1, 33))
"""(share of the training up to which, frames per clip); longer clips teach the decoder to stream."""

NOISE = 0.1
"""Noise on the latents, in their standard deviations."""

BOUND = 1e-4

COARSE = (4, 16)
"""Sides in pixels of the squares whose mean error is also penalised."""


def fresh_vae(seed: int, device: torch.device, dtype: torch.dtype) -> Wan22VAE:
    torch.manual_seed(seed)
    return channels_last(Wan22VAE(VAE).to(device, dtype))


def channels_last(vae: Wan22VAE) -> Wan22VAE:
    """Make the encoder run channels-last, which is faster in cuDNN; returns `vae`."""

    def relay(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return given[0].contiguous(memory_format=torch.channels_last_3d), *given[1:]

    vae.encoder.register_forward_pre_hook(relay)
    return vae


def loss_of(vae: Wan22VAE, video: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Loss and mean squared error of reconstructing `video` `[B, 3, 1 + 4k, H, W]`."""
    dtype = next(vae.parameters()).dtype
    latents, _ = vae.encode_stream(video.to(dtype))
    spread = latents.detach().std(dim=(0, 2, 3, 4), keepdim=True)
    noise = torch.randn_like(latents) if noise is None else noise
    decoded, _ = vae.decode_stream((latents + NOISE * spread * noise).to(dtype))
    error = decoded.float() - video
    return picture_loss(error) + BOUND * latents.square().mean(), error.detach().square().mean()


def picture_loss(error: Tensor) -> Tensor:
    """Loss of an error `[B, 3, F, H, W]` of pixels, of their differences to the neighbours, and of means of squares."""
    edges = error.diff(dim=3).abs().mean() + error.diff(dim=4).abs().mean()
    # A loss on cell means speeds up the start.
    coarse = sum(F.avg_pool3d(error, (1, side, side)).square().mean() for side in COARSE)
    return error.abs().mean() + 0.5 * edges + 2 * error.square().mean() + 4 * coarse


def psnr(mean_squared_error: float) -> float:
    """PSNR in dB for values in [-1, 1]."""
    return 10 * math.log10(4 / max(mean_squared_error, 1e-10))


@torch.no_grad()
def reconstruction(vae: Wan22VAE, video: Tensor) -> tuple[Tensor, float]:
    """The reconstruction of a video, and its PSNR in dB."""
    dtype = next(vae.parameters()).dtype
    latents, _ = vae.encode_stream(video.to(dtype))
    decoded = vae.decode_stream(latents.to(dtype))[0].float().clamp(-1, 1)
    return decoded, psnr(F.mse_loss(decoded, video).item())


@torch.no_grad()
def with_statistics(vae: Wan22VAE, clips: Clips, generator: torch.Generator, *, batches: int = 24) -> VAEConfig:
    """The VAE's config with the measured mean and standard deviation of its latents."""
    dtype = next(vae.parameters()).dtype
    drawn = (clips.draw(6, 17, generator).to(dtype) for _ in range(batches))
    latents = torch.cat([vae.encode_stream(video)[0].transpose(0, 1).flatten(1).double() for video in drawn], dim=1)
    mean, std = (tuple(round(x, 4) for x in value.tolist()) for value in (latents.mean(dim=1), latents.std(dim=1)))
    return replace(vae.config, latents_mean=mean, latents_std=std)


def save_vae(weights: dict[str, Tensor], config: VAEConfig, folder: Path) -> None:
    """Write the finished VAE in float16 for `load_trained_vae`."""
    about = {"latents_mean": config.latents_mean, "latents_std": config.latents_std}
    save_shards({name: tensor.half() for name, tensor in weights.items()}, folder, "vae", about)


def load_trained_vae(folder: Path, device: torch.device, dtype: torch.dtype) -> Wan22VAE:
    """The trained VAE in `folder`; raises `FileNotFoundError` if there is none."""
    loaded = load_shards(folder, "vae")
    if loaded is None:
        raise FileNotFoundError(f"There is no trained VAE (vae-*.safetensors) in {folder}: train it first.")
    tensors, about = loaded
    vae = Wan22VAE(replace(VAE, latents_mean=tuple(about["latents_mean"]), latents_std=tuple(about["latents_std"])))
    vae.load_state_dict(tensors)
    return channels_last(vae.to(device, dtype).eval().requires_grad_(False))


def train(
    folder: Path,
    *,
    minutes: float,
    total: float,
    out: Path,
    walks: int = 2048,
    workers: int = 14,
    device: torch.device,
    compiled: bool,
    lr: float = 1.2e-3,
    frames_per_step: int = FRAMES_PER_STEP,
    statistics_batches: int = 24,
    seed: int = 0,
) -> float:
    """Train for `minutes` of `total` and write `vae-*` and `vae_training-*` to `out`; returns the held-out PSNR."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    vae = fresh_vae(seed, device, dtype)
    torch.backends.cudnn.benchmark = True
    optimiser = Optimiser(vae, lr=lr)
    about = optimiser.restore(folder, "vae_training") or {"minutes": 0.0}
    clock = Clock(minutes, total, about["minutes"])
    generator = torch.Generator().manual_seed(seed + optimiser.step_count)

    source = WalkSource(0, workers=workers)
    clips = Clips(*source.take(walks), device=device, compiled=compiled)
    source.close()
    held_out = Clips(*WalkSource(HELD_OUT_SEED, workers=0).take(8), device=device, compiled=compiled)
    test_video = held_out.draw(6, 17, torch.Generator().manual_seed(1))
    print(f"{walks} walks after {clock.minutes:.1f} min; at step {optimiser.step_count}", flush=True)

    reported, frames_seen = clock.minutes, 0
    while not clock.over:
        length = next(frames for share, frames in CURRICULUM if clock.progress < share)
        video = clips.draw(max(1, frames_per_step // length), length, generator)
        loss, error = loss_of(vae, video)
        loss.backward()
        optimiser.step(clock.progress)
        frames_seen += video.shape[0] * length
        if optimiser.step_count % 50 == 0 and clock.minutes > reported + 0.2:
            rate = frames_seen / (60 * (clock.minutes - reported))
            print(
                f"step {optimiser.step_count}  loss {loss.item():.4f}  psnr {psnr(error.item()):.2f} dB  "
                f"clips of {length}  {rate:.0f} frames/s  {clock.used:.1f} of {total:.1f} min",
                flush=True,
            )
            reported, frames_seen = clock.minutes, 0

    optimiser.save(out, "vae_training", minutes=clock.used)
    averaged = channels_last(Wan22VAE(VAE).to(device))
    averaged.load_state_dict(optimiser.averaged())
    averaged.eval().requires_grad_(False)
    config = with_statistics(averaged, clips, generator, batches=statistics_batches)
    save_vae(optimiser.averaged(), config, out)
    decoded, quality = reconstruction(averaged, test_video)
    save_sheet(torch.cat((test_video[:, :, ::4], decoded[:, :, ::4]), dim=3), out / "vae.png")
    print(f"VAE: {optimiser.step_count} steps, held-out PSNR {quality:.2f} dB (17-frame clips, averaged weights)")
    return quality


def arguments(description: str) -> argparse.ArgumentParser:
    """The options of every training program."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--minutes", type=float, required=True, help="how long this call may train")
    parser.add_argument("--total", type=float, default=0.0, help="minutes of all calls (default: just this one)")
    parser.add_argument("--checkpoint", type=Path, default=Path("training_ckpt"), help="folder to go on from")
    parser.add_argument("--out", type=Path, help="folder to write to (default: the checkpoint's)")
    parser.add_argument("--workers", type=int, default=14, help="processes that draw walks")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    options = arguments("Train the tiny world's VAE.").parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train(
        options.checkpoint,
        minutes=options.minutes,
        total=options.total or options.minutes,
        out=options.out or options.checkpoint,
        workers=options.workers,
        device=device,
        compiled=device.type == "cuda" and not options.eager,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
