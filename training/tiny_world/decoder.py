"""Trains the built-in world's tiny decoder: `python -m training.tiny_world.decoder --minutes 8`.

Half of what it sees are rendered walks as the VAE encodes them, with the rendered frames as the target; half are walks
of the network, with the frames of the VAE's decoder. Network and VAE are those that ship. One call is enough; another
goes on from what the first wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hyworld import builtin
from hyworld.camera import Trajectory
from hyworld.camera.actions import labels as labels_of
from hyworld.camera.poses import integrate
from hyworld.camera.trajectory import default_intrinsics
from hyworld.config import TINY, frames_in
from hyworld.dit import WanDiT
from hyworld.vae import TinyDecoder, Wan22VAE, to_uint8

from .batched import walk
from .evaluate import decoded, first_latents
from .export import write
from .optimise import Clock, Optimiser
from .paths import draw_walk, random_motions
from .pictures import save_sheet
from .pool import filmed
from .scenes import Scenes, draw_scenes
from .sizes import HELD_OUT_SEED, LATENT_SIZE, PATH_LATENTS, SIZE, Z_DIM
from .vae import arguments, channels_last, picture_loss, psnr

CHECKPOINT = "decoder_training"

CLIP = 8
"""Latents of a training clip."""

WARM_UP = 2
"""Latents of a clip whose frames are not judged, because what came before them is missing; none where a walk begins."""

BEGINNINGS = 0.2
"""Share of the steps on clips from where the walk begins."""

SAME_LATENTS = 0.02
"""Weight of the difference that the VAE's encoder sees between what is decoded and the target: sharpness more than
exactness."""

SEEN_FRAMES = 17
"""Frames of a clip that the encoder compares, of every fourth clip: it costs more than the decoder."""

FRESH_SHARE = 0.2
"""Share of the time that goes into new walks."""


class FramePool:
    """Walks as latents and frames on the GPU; new ones replace the oldest beyond `capacity`."""

    def __init__(self, capacity: int, *, latents: int = PATH_LATENTS, device: torch.device) -> None:
        self.latents = torch.zeros(capacity, Z_DIM, latents, *LATENT_SIZE, dtype=torch.float16, device=device)
        self.frames = torch.zeros(capacity, 3, frames_in(latents), *SIZE, dtype=torch.uint8, device=device)
        self.capacity, self.filled, self._next = capacity, 0, 0

    def add(self, latents: Tensor, frames: Tensor) -> None:
        """Latents `[S, Z, L, h, w]` and their target frames `[S, 3, F, H, W]`, uint8."""
        at = (torch.arange(self._next, self._next + len(latents)) % self.capacity).to(self.latents.device)
        self.latents[at], self.frames[at] = latents.half(), frames
        self._next = (self._next + len(latents)) % self.capacity
        self.filled = min(self.capacity, self.filled + len(latents))

    def draw(self, count: int, begin: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents `[count, Z, CLIP, h, w]` of random walks from latent `begin` on, and their frames in [-1, 1]."""
        which = torch.randint(self.filled, (count,), generator=generator).to(self.latents.device)
        latents = self.latents[which, :, begin : begin + CLIP].float()
        frames = self.frames[which, :, frames_in(begin) : frames_in(begin + CLIP)]
        return latents, frames.float() / 127.5 - 1


def levels(frames: Tensor) -> Tensor:
    """Frames `[S, 3, F, H, W]` in [-1, 1] as uint8."""
    return torch.stack([to_uint8(video[None]).movedim(-1, 0) for video in frames])


class Walks:
    """Walks of scenes counted up from a seed, for the pools: rendered ones and the network's."""

    def __init__(
        self, first_seed: int, network: WanDiT, vae: Wan22VAE, *, latents: int, compiled: bool = False
    ) -> None:
        self.next_seed, self._latents, self._compiled = first_seed, latents, compiled
        self._network, self._vae = network, vae
        self._device = next(vae.parameters()).device

    def rendered(self, count: int) -> tuple[Tensor, Tensor]:
        """Latents `[count, Z, L, h, w]` of rendered walks, and what was rendered `[count, 3, F, H, W]`, uint8."""
        drawn = [draw_walk(seed, self._latents) for seed in self._seeds(count)]
        tables = zip(*(vars(scene).values() for scene, _ in drawn), strict=True)
        scenes = Scenes(*(torch.cat(table) for table in tables)).to(self._device)
        poses = torch.from_numpy(np.stack([poses for _, poses in drawn])).float().to(self._device)
        pieces = list(filmed(self._vae, scenes, poses, compiled=self._compiled))
        videos, latents = zip(*((levels(video), latents) for video, latents in pieces), strict=True)
        return torch.cat(latents, dim=2), torch.cat(videos, dim=2)

    def generated(self, count: int) -> tuple[Tensor, Tensor]:
        """The same of the network's walks, all along one random path, and of the VAE's decoder."""
        seeds = self._seeds(count)
        c2w = integrate(random_motions(np.random.default_rng((seeds[0], 2)), self._latents))
        path = Trajectory(c2w, default_intrinsics(len(c2w)), labels_of(c2w))
        first = first_latents(self._vae, draw_scenes(seeds).to(self._device))
        latents = walk(self._network, first, path, seeds)
        return latents, torch.cat([levels(decoded(self._vae, some)) for some in latents.split(8)])

    def _seeds(self, count: int) -> list[int]:
        self.next_seed += count
        return list(range(self.next_seed - count, self.next_seed))


def loss_of(
    decoder: TinyDecoder, vae: Wan22VAE, latents: Tensor, frames: Tensor, *, begins: bool
) -> tuple[Tensor, Tensor]:
    """Loss and mean squared error of decoding `latents` `[B, Z, CLIP, h, w]` into `frames`; see `FramePool.draw`.

    begins: the clips are beginnings of walks.
    """
    dtype = next(decoder.parameters()).dtype
    video = decoder.decode_unbounded(latents.to(dtype))[0].float()
    if not begins:
        # Taken for a beginning, the first latent gave one frame of its four.
        judged = frames_in(CLIP) - frames_in(WARM_UP)
        video, frames = video[:, :, -judged:], frames[:, :, -judged:]
    error = video - frames
    ours, theirs = (x[::4, :, -SEEN_FRAMES:].to(next(vae.parameters()).dtype) for x in (video, frames))
    with torch.no_grad():
        wanted = vae.encode_stream(theirs)[0]
    unlike = (vae.encode_stream(ours)[0] - wanted).abs().mean()
    return picture_loss(error) + SAME_LATENTS * unlike, error.detach().square().mean()


class HeldOut:
    """Walks never trained on, and how the decoder does on them, decoded as streams."""

    def __init__(self, network: WanDiT, vae: Wan22VAE, scenes: int, *, latents: int) -> None:
        walks = Walks(HELD_OUT_SEED, network, vae, latents=latents)
        self.rendered, self.generated = walks.rendered(scenes), walks.generated(scenes)
        self.full = levels(decoded(vae, self.rendered[0]))

    def report(self, decoder: TinyDecoder, sheet: Path | None = None) -> str:
        """PSNR of the decoder, and a `sheet` of target, full and tiny decoder (rendered), full and tiny (network's)."""
        (latents, truth), (walked, full) = self.rendered, self.generated
        ours, ours_walked = (levels(decoded(decoder, some)) for some in (latents, walked))
        if sheet is not None:
            rows = [video[:2, :, 4::32] for video in (truth, self.full, ours, full, ours_walked)]
            save_sheet(torch.stack(rows, dim=1).flatten(0, 1).float() / 127.5 - 1, sheet)
        return (
            f"rendered walks against the truth: tiny {_psnr(ours, truth):.2f} dB, full {_psnr(self.full, truth):.2f} "
            f"dB; the network's walks, tiny against full: {_psnr(ours_walked, full):.2f} dB"
        )


def _psnr(some: Tensor, others: Tensor) -> float:
    """PSNR in dB of uint8 videos."""
    errors = [((a.float() - b.float()) / 127.5).square().mean() for a, b in zip(some, others, strict=True)]
    return psnr(torch.stack(errors).mean().item())


def fresh_decoder(seed: int, device: torch.device, dtype: torch.dtype) -> TinyDecoder:
    torch.manual_seed(seed)
    return TinyDecoder(builtin.DECODER_SIZES).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs


def train(
    folder: Path,
    *,
    minutes: float,
    total: float,
    out: Path,
    device: torch.device,
    compiled: bool,
    lr: float = 1e-3,
    batch: int = 8,
    capacity: int = 512,
    first_walks: int = 96,
    fresh_walks: int = 32,
    latents: int = PATH_LATENTS,
    report_scenes: int = 16,
    seed: int = 0,
) -> str:
    """Train for `minutes` of `total`; writes `decoder_training-*` and the decoder itself to `out` every minute.

    Returns the last report.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.backends.cudnn.benchmark = True
    network = builtin.dit(TINY).to(device, dtype)
    vae = channels_last(builtin.vae(TINY).to(device, dtype))
    decoder = fresh_decoder(seed, device, dtype)
    optimiser = Optimiser(decoder, lr=lr)
    about = optimiser.restore(folder, CHECKPOINT) or {"minutes": 0.0, "next_seed": 0}
    clock = Clock(minutes, total, about["minutes"])
    generator = torch.Generator().manual_seed(seed + optimiser.step_count)

    held_out = HeldOut(network, vae, report_scenes, latents=latents)
    walks = Walks(about["next_seed"], network, vae, latents=latents, compiled=compiled)
    pools = {kind: FramePool(capacity, latents=latents, device=device) for kind in ("rendered", "generated")}

    def draw_more(count: int) -> None:
        for kind, pool in pools.items():
            pool.add(*getattr(walks, kind)(count))

    def save() -> str:
        optimiser.save(out, CHECKPOINT, minutes=clock.used, next_seed=walks.next_seed)
        averaged = fresh_decoder(seed, device, dtype)
        averaged.load_state_dict(optimiser.averaged())
        write(optimiser.averaged(), out / builtin.DECODER.name, {})
        report = held_out.report(averaged.eval(), out / "decoder.png")
        print(f"step {optimiser.step_count}, averaged weights: {report}", flush=True)
        return report

    while pools["rendered"].filled < first_walks:
        draw_more(min(fresh_walks, first_walks))
        print(f"{pools['rendered'].filled} walks of each kind after {clock.minutes:.2f} min", flush=True)

    begun = saved = reported = clock.minutes
    drawing, reported_step, errors = 0.0, optimiser.step_count, dict[str, Tensor]()
    for kind, begin in _clips(latents, generator):
        if clock.over:
            break
        clip = pools[kind].draw(batch, begin, generator)
        loss, errors[kind] = loss_of(decoder, vae, *clip, begins=begin == 0)
        loss.backward()
        optimiser.step(clock.progress)
        if drawing < FRESH_SHARE * (clock.minutes - begun):
            before = clock.minutes
            draw_more(fresh_walks)
            drawing += clock.minutes - before
        if clock.minutes > reported + 0.2:
            quality = "  ".join(f"{kind} {psnr(error.item()):.2f} dB" for kind, error in errors.items())
            rate = (optimiser.step_count - reported_step) / (60 * (clock.minutes - reported))
            print(
                f"step {optimiser.step_count}  loss {loss.item():.4f}  {quality}  {rate:.1f} steps/s  "
                f"{walks.next_seed} walks in all  {clock.used:.1f} of {total:.1f} min",
                flush=True,
            )
            reported, reported_step = clock.minutes, optimiser.step_count
        if clock.minutes > saved + 1:
            save()
            saved = clock.minutes
    return save()


def _clips(latents: int, generator: torch.Generator) -> Iterator[tuple[str, int]]:
    """For ever: a kind of walks, and the latent at which the next step's clips begin."""
    while True:
        for kind in ("rendered", "generated"):
            begin = torch.randint(1, latents - CLIP + 1, (), generator=generator)
            starts = torch.rand((), generator=generator) < BEGINNINGS
            yield kind, 0 if starts else int(begin)


def main() -> None:
    options = arguments("Train the built-in world's tiny decoder.").parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train(
        options.checkpoint,
        minutes=options.minutes,
        total=options.total or options.minutes,
        out=options.out or options.checkpoint,
        device=device,
        compiled=device.type == "cuda" and not options.eager,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
