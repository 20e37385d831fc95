"""What faster modes cost in pictures of the built-in world: `python -m benchmarks.mode_prices --scenes 32`.

Held-out scenes. Following: two paths of three chunks, against the exact mode's frames and, over what the
first frame showed, against what the renderer shows. Returning: a look away for 15 chunks, against the first frame.
Lasting: 40 chunks of looking about, whose sharpness is compared with the first chunk's. Prints each part when it is
done. docs/benchmarks.md has the numbers.
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.tiny_world import LASTING, RETURNING, _chunk_measures
from hyworld import builtin
from hyworld.camera import Trajectory
from hyworld.config import TINY, MemoryConfig, frames_in
from hyworld.dit import WanDiT
from hyworld.dit.fp8_attention import PLAIN_FP8
from hyworld.fp8 import use_fp8
from hyworld.modes import set_vae_kernels
from hyworld.vae import TinyDecoder, Wan22VAE
from hyworld.vae.fp8_convolution import use_fp8_convolutions
from training.tiny_world.batched import walk
from training.tiny_world.evaluate import FIRST_CHUNKS, Truth, decoded, first_latents, masked_psnr
from training.tiny_world.scenes import draw_scenes
from training.tiny_world.sizes import HELD_OUT_SEED

AT_ONCE = 16
"""Scenes that are walked together; 32 of 40 chunks take more than 20 GB of memory."""


@dataclass(frozen=True)
class Mode:
    """One row; all `remembered` latents but an older clip of 4 are recent."""

    linears: str = "exact"
    attention: str = "exact"
    decoder: str = "full"
    remembered: int = MemoryConfig().frames
    compact: bool = False

    @property
    def memory(self) -> MemoryConfig:
        return MemoryConfig(self.remembered, self.remembered - MemoryConfig().clip)


MODES = {
    "exact": Mode(),
    "fp8 linears": Mode("fp8"),
    "fp8 attention": Mode(attention="fp8"),
    "fp8 attention and linears": Mode("fp8", "fp8"),
    "fast (all three)": Mode("fp8", "fp8", "fp8"),
    "fp8 attention and linears, compact memory": Mode("fp8", "fp8", compact=True),
    "fp8 convolutions": Mode(decoder="fp8"),
    "tiny decoder": Mode(decoder="tiny"),
    "fastest": Mode("fp8", "fp8", "tiny"),
    "12 remembered": Mode(remembered=12),
    "8 remembered": Mode(remembered=8),
    "fastest, 12 remembered": Mode("fp8", "fp8", "tiny", 12),
}


class Subject:
    """The built-in world in every mode, and the scenes."""

    def __init__(self, scenes: int, device: torch.device) -> None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.vae = builtin.vae(TINY).to(device, dtype)
        in_fp8 = copy.deepcopy(self.vae)
        use_fp8_convolutions(in_fp8)
        set_vae_kernels(in_fp8, "auto", device)
        self.decoders: dict[str, Wan22VAE | TinyDecoder] = {
            "full": self.vae,
            "fp8": in_fp8,
            "tiny": builtin.decoder(TINY).to(device, dtype),
        }
        exact = builtin.dit(TINY).to(device, dtype)
        rounded = copy.deepcopy(exact)
        use_fp8(rounded)
        self._networks = {"exact": exact, "fp8": rounded}
        self.seeds = [HELD_OUT_SEED + i for i in range(scenes)]
        self.scenes = draw_scenes(self.seeds).to(device)
        self.first = torch.cat([first_latents(self.vae, self.scenes[part]) for part in torch.arange(scenes).split(16)])
        self._fp8 = PLAIN_FP8
        if device.type == "cuda":
            from hyworld.dit import fused_attention

            self._fp8 = fused_attention.kernels()

    def video(self, mode: Mode, path: Trajectory) -> Tensor:
        """Frames `[S, 3, F, H, W]` of every scene along the path, on the CPU."""
        network: WanDiT = self._networks[mode.linears]
        network.kernels = network.kernels._replace(fp8=self._fp8 if mode.attention == "fp8" else None)
        videos = []
        for part in torch.arange(len(self.seeds)).split(AT_ONCE):
            seeds = [self.seeds[scene] for scene in part]
            latents = walk(network, self.first[part], path, seeds, config=mode.memory, compact=mode.compact)
            videos.append(decoded(self.decoders[mode.decoder], latents).cpu())
        return torch.cat(videos)


def following(subject: Subject, modes: dict[str, Mode]) -> dict[str, dict[str, float]]:
    """PSNR in dB, means over scenes and paths: against exact in the first and third chunk, against the truth."""
    rows: dict[str, dict[str, list[Tensor]]] = {name: {} for name in modes}
    for tokens in FIRST_CHUNKS:
        path = Trajectory.from_tokens(tokens)
        truth = Truth(subject.scenes, path)
        want, seen = truth.frames().cpu(), truth.seen_at_first().cpu()
        exact = subject.video(Mode(), path)
        everywhere = torch.ones_like(exact[:, 0])
        for name, mode in modes.items():
            video = exact if mode == Mode() else subject.video(mode, path)
            chunks = {"first": slice(0, frames_in(4)), "third": slice(frames_in(8), frames_in(12))}
            for chunk, part in chunks.items():
                near = masked_psnr(video[:, :, part], exact[:, :, part], everywhere[:, part])
                rows[name].setdefault(f"{chunk}_chunk_from_exact", []).append(near)
            true = masked_psnr(video[:, :, 1:], want[:, :, 1:], seen[:, 1:])
            rows[name].setdefault("from_truth", []).append(true)
    return {name: {key: _mean(values) for key, values in row.items()} for name, row in rows.items()}


def returning(subject: Subject, modes: dict[str, Mode]) -> dict[str, float]:
    """PSNR in dB of the view returned to, against the first frame; mean over scenes."""
    path, back = Trajectory.from_tokens(RETURNING), frames_in(61) - 1
    result = {}
    for name, mode in modes.items():
        video = subject.video(mode, path)
        first = video[:, :, :1]
        result[name] = _mean([masked_psnr(video[:, :, back : back + 1], first, torch.ones_like(first[:, 0]))])
    return result


def lasting(subject: Subject, modes: dict[str, Mode]) -> dict[str, list[float]]:
    """Lowest and highest sharpness of 40 chunks, over the first chunk's; of means over scenes."""
    path = Trajectory.from_tokens(LASTING["about"])
    result = {}
    for name, mode in modes.items():
        sharpness = _chunk_measures(subject.video(mode, path))[:, :, 2].mean(dim=0)
        ratios = sharpness / sharpness[0]
        result[name] = [round(float(ratios.min()), 3), round(float(ratios.max()), 3)]
    return result


def _mean(values: list[Tensor]) -> float:
    return round(float(torch.cat(values).mean()), 2)


PARTS = {"following": following, "returning": returning, "lasting": lasting}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--modes", nargs="+", choices=MODES, help="beside exact; default: all")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="JSON file")
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    modes = {name: mode for name, mode in MODES.items() if name == "exact" or not asked.modes or name in asked.modes}
    result: dict[str, Any] = {"scenes": asked.scenes, "device": str(device)}
    with torch.no_grad():
        subject = Subject(asked.scenes, device)
        for part in asked.parts:
            result[part] = PARTS[part](subject, modes)
            for name, measured in result[part].items():
                print(f"{part}, {name}: {json.dumps(measured)}", flush=True)
            if asked.out is not None:
                asked.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
