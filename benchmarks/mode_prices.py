"""What faster modes bring, and cost in pictures, as one table: `python -m benchmarks.mode_prices --scenes 32`.

Speed: time and memory of a chunk at full size (off CUDA: of the small network), random weights, as `hyworld bench`
measures them. The rest is of held-out scenes of the built-in world. Following: two paths of three chunks, against the
exact mode's frames and, over what the first frame showed, against what the renderer shows. Returning: a look away for
15 chunks, against the first frame. Lasting: 40 chunks of looking about, whose sharpness is compared with the first
chunk's. docs/benchmarks.md has the numbers.
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.tiny_world import LASTING, RETURNING, _chunk_measures
from hyworld import builtin
from hyworld.bench.measure import measure
from hyworld.bench.report import LOG_WIDTH
from hyworld.bench.workload import Setup, source_for
from hyworld.camera import Trajectory
from hyworld.config import TINY, MemoryConfig, frames_in
from hyworld.dit import WanDiT
from hyworld.dit.fp8_attention import PLAIN_FP8
from hyworld.errors import InputError
from hyworld.fp8 import use_fp8
from hyworld.modes import LinearChoice, Modes, set_vae_kernels
from hyworld.vae import TinyDecoder, Wan22VAE
from hyworld.vae.fp8_convolution import use_fp8_convolutions
from training.tiny_world.batched import walk
from training.tiny_world.evaluate import FIRST_CHUNKS, Truth, decoded, first_latents, masked_psnr
from training.tiny_world.scenes import draw_scenes
from training.tiny_world.sizes import HELD_OUT_SEED

EQUAL = 100.0
"""PSNR of pictures that are the same, of which `masked_psnr` gives a little more."""

AT_ONCE = 16
"""Scenes that are walked together; 32 of 40 chunks take more than 20 GB of memory."""


@dataclass(frozen=True)
class Mode:
    """One row; all `remembered` latents but an older clip of 4 are recent."""

    linears: LinearChoice = "exact"
    attention: str = "exact"
    decoder: str = "full"
    remembered: int = MemoryConfig().frames
    compact: bool = False

    @property
    def memory(self) -> MemoryConfig:
        return MemoryConfig(self.remembered, self.remembered - MemoryConfig().clip)

    @property
    def modes(self) -> Modes:
        """Those of a pipeline; what is left open there is as it is by itself."""
        return Modes(
            attention="fp8" if self.attention == "fp8" else "auto",
            linears=self.linears,
            kv="compact" if self.compact else "auto",
            remembered=self.remembered,
            convolutions="fp8" if self.decoder == "fp8" else "exact",
        )


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


Rows = dict[str, dict[str, str]]
"""What one part found of each mode, by column."""


def speed(device: torch.device, modes: dict[str, Mode]) -> Rows:
    """Milliseconds of a chunk with a full memory, and peak GB; nothing of modes that cannot run here."""
    cuda = device.type == "cuda"
    source = source_for("wan_5b" if cuda else "tiny-random", str(device), "auto", None, None, None)
    rows: Rows = {}
    for name, mode in modes.items():
        setup = Setup(source.preset.size, 0, mode.modes, "tiny" if mode.decoder == "tiny" else "full")
        try:
            run = measure(source, setup, lambda _: None, first_in_process=not rows)
        except InputError as error:
            print(f"{name}: {error}", flush=True)
            continue
        rows[name] = {"a chunk, ms": f"{run.settled['chunk_ms']:.0f}"}
        if run.memory["peak_gb"] is not None:
            rows[name]["peak, GB"] = f"{run.memory['peak_gb']:.1f}"
    return rows


def following(subject: Subject, modes: dict[str, Mode]) -> Rows:
    """PSNR in dB, means over scenes and paths: against exact in the first and third chunk, against the truth."""
    found: dict[str, dict[str, list[Tensor]]] = {name: {} for name in modes}
    for tokens in FIRST_CHUNKS:
        path = Trajectory.from_tokens(tokens)
        truth = Truth(subject.scenes, path)
        want, seen = truth.frames().cpu(), truth.seen_at_first().cpu()
        exact = subject.video(Mode(), path)
        everywhere = torch.ones_like(exact[:, 0])
        for name, mode in modes.items():
            video = exact if mode == Mode() else subject.video(mode, path)
            chunks = {"first chunk": slice(0, frames_in(4)), "third chunk": slice(frames_in(8), frames_in(12))}
            for chunk, part in chunks.items():
                near = masked_psnr(video[:, :, part], exact[:, :, part], everywhere[:, part])
                found[name].setdefault(f"{chunk}, from exact", []).append(near)
            true = masked_psnr(video[:, :, 1:], want[:, :, 1:], seen[:, 1:])
            found[name].setdefault("following, from truth", []).append(true)
    return {name: {column: _mean(values) for column, values in row.items()} for name, row in found.items()}


def returning(subject: Subject, modes: dict[str, Mode]) -> Rows:
    """PSNR in dB of the view returned to, against the first frame; mean over scenes."""
    path, back = Trajectory.from_tokens(RETURNING), frames_in(61) - 1
    rows: Rows = {}
    for name, mode in modes.items():
        video = subject.video(mode, path)
        first = video[:, :, :1]
        near = masked_psnr(video[:, :, back : back + 1], first, torch.ones_like(first[:, 0]))
        rows[name] = {"returning": _mean([near])}
    return rows


def lasting(subject: Subject, modes: dict[str, Mode]) -> Rows:
    """Lowest and highest sharpness of 40 chunks, over the first chunk's; of means over scenes."""
    path = Trajectory.from_tokens(LASTING["about"])
    rows: Rows = {}
    for name, mode in modes.items():
        sharpness = _chunk_measures(subject.video(mode, path))[:, :, 2].mean(dim=0)
        ratios = sharpness / sharpness[0]
        rows[name] = {"lasting": f"{ratios.min():.2f} to {ratios.max():.2f}"}
    return rows


def _mean(values: list[Tensor]) -> str:
    mean = float(torch.cat(values).mean())
    return "equal" if mean > EQUAL else f"{mean:.2f}"


def table(parts: dict[str, Rows]) -> Table:
    """All parts side by side, a row for each mode."""
    together: Rows = {}
    for rows in parts.values():
        for name, row in rows.items():
            together[name] = {**together.get(name, {}), **row}
    columns = list(dict.fromkeys(column for row in together.values() for column in row))
    result = Table("mode", *columns)
    for name, row in together.items():
        result.add_row(name, *(row.get(column, "–") for column in columns))
    return result


PICTURES = {"following": following, "returning": returning, "lasting": lasting}
PARTS = ("speed", *PICTURES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--modes", nargs="+", choices=MODES, help="beside exact; default: all")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="JSON file")
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    modes = {name: mode for name, mode in MODES.items() if name == "exact" or not asked.modes or name in asked.modes}
    parts: dict[str, Rows] = {}
    subject = None
    with torch.no_grad():
        for part in asked.parts:
            if part == "speed":
                parts[part] = speed(device, modes)
            else:
                subject = subject or Subject(asked.scenes, device)
                parts[part] = PICTURES[part](subject, modes)
            print(f"{part} done", flush=True)
            if asked.out is not None:
                result: dict[str, Any] = {"scenes": asked.scenes, "device": str(device), **parts}
                asked.out.write_text(json.dumps(result, indent=2) + "\n")
    console = Console()
    console.width = max(console.width, LOG_WIDTH)
    console.print(table(parts))


if __name__ == "__main__":
    main()
