"""Speed of each part of the training on this machine: `python -m training.tiny_world.probe` (about 3 minutes)."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from .batched import MEMORY, Sample
from .network import Trainee, loss_against, timesteps
from .optimise import Optimiser
from .paths import FOCAL
from .pool import Clips, WalkSource
from .scenes import render
from .sizes import DIT, LATENT_SIZE, SIZE, VAE, Z_DIM
from .vae import fresh_vae, loss_of


def seconds(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of the first call, and the mean of later ones."""
    synchronise = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    begun = time.monotonic()
    work()
    synchronise()
    first = time.monotonic() - begun
    begun = time.monotonic()
    for _ in range(repeats):
        work()
    synchronise()
    return first, (time.monotonic() - begun) / repeats


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    dtype = torch.bfloat16 if on_gpu else torch.float32
    repeats = 10 if on_gpu else 1

    begun = time.monotonic()
    source = WalkSource(0, workers=14 if on_gpu else 0)
    drawn = source.take(128 if on_gpu else 4)
    print(f"walks: first 128 in {time.monotonic() - begun:.1f} s", end="", flush=True)
    if on_gpu:
        begun = time.monotonic()
        source.take(1024)
        print(f", then {1024 / (time.monotonic() - begun):.0f} /s")
    source.close()

    scenes = drawn[0][: 16 if on_gpu else 1].to(device)
    frames = 32 if on_gpu else 4
    clips = Clips(*drawn, device=device, compiled=False)
    poses = clips.poses[: len(scenes), :frames]
    for compiled in (False, True) if on_gpu else (False,):

        def picture(compiled: bool = compiled) -> torch.Tensor:
            return render(scenes, poses, FOCAL, SIZE, compiled=compiled)

        first, each = seconds(picture, repeats)
        pixels = len(scenes) * frames * SIZE[0] * SIZE[1]
        print(f"render compiled={compiled}: first {first:.1f} s, {pixels / each / 1e6:.0f} Mpixel/s", flush=True)
    if on_gpu:
        difference = (picture(False) - picture(True)).abs()
        print(f"  compiled differs by more than 0.02 in {(difference > 0.02).float().mean().item():.2e} of the values")

    video = picture()
    vae = fresh_vae(0, device, dtype)
    with torch.no_grad():
        _, each = seconds(lambda: vae.encode_stream(video[:, :, :29].to(dtype)) if on_gpu else None, repeats)
    print(f"VAE encode: {len(scenes) * 29 / each:.0f} frames/s")
    optimiser = Optimiser(vae, lr=1e-4)
    for count, length in ((11, 9), (6, 17), (3, 33)) if on_gpu else ((1, 5),):
        clip = clips.draw(count, length, torch.Generator())

        def vae_step(clip: torch.Tensor = clip) -> None:
            loss_of(vae, clip)[0].backward()
            optimiser.step(0.0)

        first, each = seconds(vae_step, repeats)
        pace = f"{1000 * each:.0f} ms, {count * length / each:.0f} frames/s"
        print(f"VAE step, {count} clips of {length}: first {first:.1f} s, {pace}", flush=True)
    print(f"  parameters {sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M, {VAE.z_dim} channels")

    for compiled in (False, True) if on_gpu else (False,):
        trainee = Trainee(device, dtype, compiled=compiled)
        tuned = Optimiser(trainee.network, lr=1e-4)
        for remembered in (4, MEMORY) if compiled else (0, 4, 8, 12, MEMORY):
            B = 64 if on_gpu else 1
            sample = Sample(
                torch.randn(B, Z_DIM, remembered, *LATENT_SIZE, device=device),
                torch.randn(B, Z_DIM, 4, *LATENT_SIZE, device=device),
                torch.eye(4, device=device).expand(B, remembered + 4, 4, 4),
                torch.zeros(B, remembered + 4, dtype=torch.int64, device=device),
                0,
            )
            sigma, timestep = timesteps(torch.zeros(B, dtype=torch.int64, device=device), 0)

            def step(
                trainee: Trainee = trainee,
                tuned: Optimiser = tuned,
                sample: Sample = sample,
                sigma: torch.Tensor = sigma,
                timestep: torch.Tensor = timestep,
            ) -> None:
                flow = trainee.flow(sample, sample.target, timestep)
                loss_against(flow, sample.target, torch.zeros_like(flow), sigma, 0).mean().backward()
                tuned.step(0.0)

            first, each = seconds(step, repeats)
            print(
                f"network step, {B} chunks, {remembered} remembered, compiled={compiled}: first {first:.1f} s, "
                f"{1000 * each:.0f} ms",
                flush=True,
            )
    print(f"  parameters {sum(p.numel() for p in trainee.network.parameters()) / 1e6:.2f} M, width {DIT.dim}")
    if on_gpu:
        print(f"memory at most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
