"""Network and decoder against the original's method, at full size with random weights, on one NVIDIA GPU.

    python benchmarks/against_original.py [--size 704x1280] [--output result.json]

Steady state: 16 memory latents. Medians of 7 after warm-up, CUDA events. Needs diffusers. Results: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hyworld.bench.naive import DiffusersDecoder, NaiveNetwork
from hyworld.config import CHUNK_LATENTS, PATCH, VAE_SPATIAL_STRIDE, WAN_5B, MemoryConfig
from hyworld.dit import KVMemory, WorldPlayDiT
from hyworld.dit.compiled import compile_blocks
from hyworld.rollout.schedule import CONTEXT_TIMESTEP, STEPS, TIMESTEPS
from hyworld.vae import WanVAE
from hyworld.vae.kernels import fused
from hyworld.weights.random import randomise

DEVICE = torch.device("cuda")
DTYPE = torch.bfloat16
REPEATS = 7


def control(frames: int, seed: int) -> dict[str, Tensor]:
    """Cameras and labels of a few frames."""
    generator = torch.Generator().manual_seed(seed)
    viewmats = torch.eye(4).repeat(1, frames, 1, 1)
    viewmats[0, :, :3, 3] = torch.randn(frames, 3, generator=generator) * 0.3
    intrinsics = torch.diag(torch.tensor([0.5, 0.9, 1.0])).repeat(1, frames, 1, 1)
    action = torch.randint(0, 81, (1, frames), generator=generator)
    return {"viewmats": viewmats.to(DEVICE), "intrinsics": intrinsics.to(DEVICE), "action": action.to(DEVICE)}


def measure(name: str, run: Callable[[], object], results: dict[str, dict[str, float]]) -> None:
    """Time of `run` in ms, the memory it takes beside what is there, and how long its first call took."""
    began = time.perf_counter()
    run()
    torch.cuda.synchronize()
    first = time.perf_counter() - began
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    extra = torch.cuda.max_memory_allocated() - before
    times = []
    for _ in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    results[name] = {
        "ms": round(sorted(times)[REPEATS // 2], 1),
        "extra_gb": round(extra / 1e9, 2),
        "first_s": round(first, 1),
    }
    print(f"{name:36} {results[name]}", flush=True)


def relative(got: Tensor, want: Tensor) -> float:
    """Norm of the difference over norm of the reference."""
    return round(float((got.float() - want.float()).norm() / want.float().norm()), 5)


def network(h: int, w: int, results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Prefill and step: plain, the original's method, compiled; returns relative differences from plain."""
    model = randomise(WorldPlayDiT(WAN_5B.dit, device=DEVICE, dtype=DTYPE), 0, device=DEVICE)
    frames = MemoryConfig().frames
    text = torch.zeros(1, WAN_5B.text_tokens, WAN_5B.dit.text_dim, device=DEVICE, dtype=DTYPE)
    text[:, :40] = torch.randn(1, 40, WAN_5B.dit.text_dim, device=DEVICE) * 0.1
    old, new = (
        torch.randn(1, WAN_5B.dit.latent_channels, n, h, w, device=DEVICE, dtype=DTYPE) for n in (frames, CHUNK_LATENTS)
    )
    clean = torch.full((1, frames), CONTEXT_TIMESTEP, device=DEVICE)
    noisy = torch.full((1, CHUNK_LATENTS), TIMESTEPS[2], device=DEVICE)
    before, now = control(frames, 1), control(CHUNK_LATENTS, 2)
    tokens = h * w // PATCH**2
    memory = KVMemory(
        model.config, capacity_frames=frames + CHUNK_LATENTS, tokens_per_frame=tokens, device=DEVICE, dtype=DTYPE
    )
    text_kv = model.text_keys_values(text)

    def prefill() -> None:
        model(old, clean, text_kv, **before, memory=memory, prefill=True)

    def step() -> Tensor:
        flow = model(new, noisy, text_kv, **now, memory=memory)
        assert flow is not None
        return flow

    measure("plain prefill", prefill, results)
    measure("plain step", step, results)
    want = step()

    naive = NaiveNetwork(model, compiled=True)
    measure("original prefill", lambda: naive.prefill(old, clean, text, before), results)
    stored = naive.prefill(old, clean, text, before)
    measure("original step", lambda: naive.denoise(new, noisy, text, now, stored), results)
    differences = {"original": relative(naive.denoise(new, noisy, text, now, stored), want)}
    stored.clear()

    compile_blocks(model)
    measure("compiled prefill", prefill, results)
    measure("compiled step", step, results)
    differences["compiled"] = relative(step(), want)
    return differences


def decoder(h: int, w: int, results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Decoding 4 latents: diffusers, plain, fused; returns relative differences from plain."""
    vae = randomise(WanVAE(WAN_5B.vae, device=DEVICE, dtype=DTYPE), 1, device=DEVICE)
    latents = torch.randn(1, WAN_5B.vae.z_dim, 2 + CHUNK_LATENTS, h, w, device=DEVICE, dtype=DTYPE)
    _, cache = vae.decode_stream(latents[:, :, :1])
    _, cache = vae.decode_stream(latents[:, :, 1:2], cache)

    def decode(at_once: int) -> Tensor:
        going = cache
        for part in latents[:, :, 2:].split(at_once, dim=2):
            frames, going = vae.decode_stream(part, going)
        return frames

    measure("plain decode by 1", lambda: decode(1), results)
    want = decode(1)
    reference = DiffusersDecoder(vae)
    reference.decode(latents[:, :, :2], begins=True)
    measure("diffusers decode by 1", lambda: reference.decode(latents[:, :, 2:], begins=False), results)
    vae.kernels = fused()
    for at_once in (1, 4):
        measure(f"fused decode by {at_once}", lambda n=at_once: decode(n), results)  # type: ignore[misc]
    return {"fused": relative(decode(1), want)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="704x1280")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    h, w = (int(side) // VAE_SPATIAL_STRIDE for side in options.size.split("x"))
    results: dict[str, dict[str, float]] = {}
    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with torch.inference_mode(), sdpa_kernel(order, set_priority=True):
        differences = network(h, w, results)
        torch.cuda.empty_cache()
        differences |= decoder(h, w, results)
    dit = {
        way: results[f"{way} prefill"]["ms"] + STEPS * results[f"{way} step"]["ms"]
        for way in ("plain", "original", "compiled")
    }
    result = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "size": options.size,
        "stages": results,
        "network_ms_per_chunk": {way: round(ms) for way, ms in dit.items()},
        "network_compiled_over_original": round(dit["compiled"] / dit["original"], 3),
        "decode_fused_over_diffusers": round(
            min(results[f"fused decode by {n}"]["ms"] for n in (1, 4)) / results["diffusers decode by 1"]["ms"], 3
        ),
        "relative_difference_from_plain": differences,
    }
    print(json.dumps(result, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
