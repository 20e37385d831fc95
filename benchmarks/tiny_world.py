"""Measures the tiny world's five criteria on held-out scenes: `python -m benchmarks.tiny_world`.

docs/tiny_world.md describes the criteria. Weights: a training folder (--checkpoint) or exported files (--files).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hyworld.camera import Trajectory
from hyworld.config import frames_in
from hyworld.dit import WanDiT
from hyworld.vae import Wan22VAE
from hyworld.walk import Walker
from hyworld.walk.decoding import Decoding
from hyworld.weights import load_dit, load_vae
from training.tiny_world.batched import walk
from training.tiny_world.evaluate import FIRST_CHUNKS, Truth, decoded, first_latents, masked_psnr
from training.tiny_world.export import NETWORK, VAE_FILE
from training.tiny_world.network import load_trained_network
from training.tiny_world.pictures import save_sheet
from training.tiny_world.scenes import Scenes, draw_scenes
from training.tiny_world.sizes import HELD_OUT_SEED
from training.tiny_world.vae import load_trained_vae

RETURNING = "right-20, w-10, s-10, left-20, right-3"
"""Away and back: latent 60 has the first one's pose, 15 chunks later; three more latents fill the last chunk."""

LASTING = {
    "round": "right-120, left-39",
    "about": "w-3, left-20, right-40, s-3, left-40, w-3, right-40, left-10",
}
"""40 chunks each: all round through unseen views, and looking about. Chosen so that the truth itself stays near its
first chunk; the result contains its values."""

KEYS = ("w", "s", "a", "d", "left", "right", "up", "down")


class Subject:
    """Network and VAE under test, and the held-out scenes."""

    def __init__(self, network: WanDiT, vae: Wan22VAE, scenes: int) -> None:
        self.network, self.vae = network, vae
        self.device = next(vae.parameters()).device
        self.seeds = [HELD_OUT_SEED + i for i in range(scenes)]
        self.scenes: Scenes = draw_scenes(self.seeds).to(self.device)
        with torch.no_grad():
            parts = torch.arange(scenes).split(16)
            self.first = torch.cat([first_latents(vae, self.scenes[part]) for part in parts])

    def video(self, path: Trajectory, **options: Any) -> Tensor:
        """Frames `[S, 3, F, H, W]` of every scene along the path, on the CPU."""
        return decoded(self.vae, walk(self.network, self.first, path, self.seeds, **options)).cpu()


def follows(subject: Subject, out: Path) -> dict[str, Any]:
    """PSNR over pixels the first frame showed, also with frozen cameras."""
    result: dict[str, Any] = {}
    for tokens in FIRST_CHUNKS:
        path = Trajectory.from_tokens(tokens)
        truth = Truth(subject.scenes, path)
        want, seen = truth.frames().cpu(), truth.seen_at_first().cpu()
        videos = [subject.video(path, frozen=frozen) for frozen in (False, True)]
        moved, frozen = (masked_psnr(v[:, :, 1:], want[:, :, 1:], seen[:, 1:]) for v in videos)
        result[tokens] = _summary(moved) | {
            "frozen": _summary(frozen),
            "seen_share": round(seen.float().mean().item(), 3),
        }
        rows = [v[:6, :, ::8] for v in (want, *videos)]
        save_sheet(torch.stack(rows, dim=1).flatten(0, 1), out / f"follows_{tokens[0]}.png")
    return result


def remembers(subject: Subject, out: Path) -> dict[str, Any]:
    """PSNR of the returned view against the first, also with the last 16 latents as the only memory."""
    path = Trajectory.from_tokens(RETURNING)
    back = frames_in(61) - 1
    result: dict[str, Any] = {}
    rows = []
    for name, recent_only in (("selection", False), ("recent_only", True)):
        video = subject.video(path, recent_only=recent_only)
        first = video[:, :, :1]
        result[name] = _summary(masked_psnr(video[:, :, back : back + 1], first, torch.ones_like(first[:, 0])))
        rows.append(video[:6, :, [0, 40, 80, 100, 120, 160, 200, back]])
    result["gain"] = round(result["selection"]["mean"] - result["recent_only"]["mean"], 2)
    save_sheet(torch.stack(rows, dim=1).flatten(0, 1), out / "remembers.png")
    return result


def obeys(subject: Subject) -> dict[str, Any]:
    """Share of scenes that move as the key asks; also for the truth, to check the estimate."""
    result: dict[str, Any] = {}
    for key in KEYS:
        path = Trajectory.from_tokens(f"{key}-7")
        truth = Truth(subject.scenes, path).frames().cpu()
        result[key] = {
            name: round((motion_sign(video, key) > 0).float().mean().item(), 3)
            for name, video in (("share", subject.video(path)), ("truth", truth))
        }
    return result


def motion_sign(video: Tensor, key: str) -> Tensor:
    """Motion `[S]` of video `[S, 3, F, H, W]` the way `key` asks: the shift or zoom that best fits frames 4 later."""
    amounts = torch.linspace(-1, 1, 41)
    small = F.avg_pool3d(video, (1, 4, 4))
    before, after = small[:, :, :-4:4], small[:, :, 4::4]
    S, _, pairs = before.shape[:3]
    identity = torch.eye(2, 3).repeat(S * pairs, 1, 1)
    errors = []
    for amount in amounts:
        theta = identity.clone()
        if key in ("w", "s"):  # forward, what is now at p was nearer to the centre
            theta[:, 0, 0] = theta[:, 1, 1] = 1 - 0.2 * amount
        elif key in ("up", "down"):
            theta[:, 1, 2] = 0.3 * amount
        else:
            theta[:, 0, 2] = 0.3 * amount
        flat = before.transpose(1, 2).flatten(0, 1)
        grid = F.affine_grid(theta, list(flat.shape), align_corners=False)
        moved = F.grid_sample(flat, grid, align_corners=False, padding_mode="border")
        inside = (grid.abs() <= 1).all(dim=-1).float()
        error = (moved - after.transpose(1, 2).flatten(0, 1)).square().mean(dim=1) * inside
        errors.append((error.sum(dim=(1, 2)) / inside.sum(dim=(1, 2))).unflatten(0, (S, pairs)).mean(dim=1))
    best = amounts[torch.stack(errors).argmin(dim=0)]
    # To the right, what is now at p was further right; upwards, further up.
    return best * (-1 if key in ("s", "a", "left", "up") else 1)


def lasts(subject: Subject, out: Path) -> dict[str, Any]:
    """Each chunk's brightness, contrast and sharpness (mean over scenes) over the first chunk's; also for the truth."""
    result: dict[str, Any] = {}
    for name, tokens in LASTING.items():
        path = Trajectory.from_tokens(tokens)
        assert path.chunks == 40
        latents = walk(subject.network, subject.first, path, subject.seeds)
        truth = Truth(subject.scenes, path, at_once=4)
        measured: dict[str, list[Tensor]] = {"rollout": [], "truth": []}
        for part in torch.arange(len(latents)).split(4):
            videos = {"rollout": decoded(subject.vae, latents[part]), "truth": truth[part].frames()}
            for kind, video in videos.items():
                measured[kind].append(_chunk_measures(video))
            if not part[0]:
                rows = torch.stack([video[:, :, :: frames_in(160) // 10] for video in videos.values()], dim=1)
                save_sheet(rows.flatten(0, 1), out / f"lasts_{name}.png")
        result[name] = {kind: _steadiness(torch.cat(some)) for kind, some in measured.items()}
    return result


def _chunk_measures(video: Tensor) -> Tensor:
    """Brightness, contrast and sharpness `[S, chunks, 3]` of each chunk of a video `[S, 3, F, H, W]`."""
    luminance = video.mean(dim=1).add(1).div(2)
    measures = [
        luminance.mean(dim=(2, 3)),
        luminance.std(dim=(2, 3)),
        luminance.diff(dim=2).abs().mean(dim=(2, 3)) + luminance.diff(dim=3).abs().mean(dim=(2, 3)),
    ]
    frames = torch.stack(measures, dim=2)
    chunks = range((video.shape[2] + 3) // 16)
    return torch.stack([frames[:, frames_in(4 * c) : frames_in(4 * c + 4)].mean(dim=1) for c in chunks], dim=1).cpu()


def _steadiness(measures: Tensor) -> dict[str, dict[str, float]]:
    """Lowest, highest and last ratio to the first chunk, of means over scenes."""
    mean = measures.mean(dim=0)
    ratios = (mean / mean[0]).T
    return {
        name: {"lowest": round(r.min().item(), 3), "highest": round(r.max().item(), 3), "last": round(r[-1].item(), 3)}
        for name, r in zip(("brightness", "contrast", "sharpness"), ratios, strict=True)
    }


def runs(files: Path) -> dict[str, float]:
    """Seconds for 8 chunks on two CPU threads, with the ordinary loaders and `Walker`."""
    torch.set_num_threads(2)
    network, vae = load_dit(files / NETWORK, dtype=torch.float32), load_vae(files / VAE_FILE, dtype=torch.float32)
    assert isinstance(vae, Wan22VAE)
    subject = Subject(network, vae, 1)
    walker = Walker(network, decoding=Decoding(vae))
    begun = time.monotonic()
    world = walker.begin(torch.zeros(1, 64, network.config.text_dim), first_frame=subject.first)
    frames = sum(len(chunk.frames) for chunk in walker.walk(world, "right-31") if chunk.frames is not None)
    return {"seconds": round(time.monotonic() - begun, 1), "frames": frames}


def _summary(values: Tensor) -> dict[str, float]:
    return {
        "mean": round(values.mean().item(), 2),
        "worst": round(values.min().item(), 2),
        "median": round(values.median().item(), 2),
    }


MEASURES: dict[str, Callable[[Subject, argparse.Namespace], dict[str, Any]]] = {
    "follows": lambda subject, options: follows(subject, options.out),
    "remembers": lambda subject, options: remembers(subject, options.out),
    "obeys": lambda subject, options: obeys(subject),
    "lasts": lambda subject, options: lasts(subject, options.out),
    "runs": lambda subject, options: runs(options.files),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the tiny world on held-out scenes.")
    parser.add_argument("--checkpoint", type=Path, default=Path("training_ckpt"))
    parser.add_argument("--files", type=Path, help="folder of exported files, instead of a training's")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--only", nargs="+", choices=MEASURES, help="default: all that the weights allow")
    parser.add_argument("--out", type=Path, default=Path("tiny_world_benchmark"))
    options = parser.parse_args()
    if "runs" in (options.only or ()) and not options.files:
        parser.error("runs goes through the ordinary loaders: name the exported files with --files")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    if options.files:
        network = load_dit(options.files / NETWORK, device=device, dtype=dtype)
        vae = load_vae(options.files / VAE_FILE, device=device, dtype=dtype)
    else:
        network = load_trained_network(options.checkpoint, device, dtype)
        vae = load_trained_vae(options.checkpoint, device, dtype)
    options.out.mkdir(parents=True, exist_ok=True)
    assert isinstance(vae, Wan22VAE)
    subject = Subject(network, vae, options.scenes)
    result: dict[str, Any] = {"scenes": options.scenes, "device": str(device)}
    with torch.no_grad():
        for name in options.only or [name for name in MEASURES if name != "runs" or options.files]:
            begun = time.monotonic()
            result[name] = MEASURES[name](subject, options)
            print(f"{name} ({time.monotonic() - begun:.0f} s): {json.dumps(result[name])}", flush=True)
    (options.out / "tiny_world.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
