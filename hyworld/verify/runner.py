"""Run the comparisons that a folder of reference files allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from . import camera, decoders, dreamx, network, rollouts, streams
from .report import TOLERANCE, Item

Check = tuple[str, list[str], Callable[[], Iterator[Item]]]
"""A comparison's name, the files it needs, and itself."""

REFERENCE = Path(__file__).with_name("reference")
"""Files of the package: small networks with random weights, run by the original programs."""


def verify(folder: Path = REFERENCE, *, device: torch.device, dtype: torch.dtype) -> Iterator[Item]:
    """Run every comparison whose files `folder`, and its folder `dreamx`, hold (layout: docs/verify.md).

    A comparison that raises gives a failed item, one without files a skipped item.
    """
    for place in (folder, folder / "dreamx"):
        if place == folder or place.is_dir():
            yield from _verify(place, device, dtype)


def _verify(folder: Path, device: torch.device, dtype: torch.dtype) -> Iterator[Item]:
    tolerance = TOLERANCE[dtype]

    def path(name: str) -> Path:
        return folder / name

    checks: list[Check] = [
        *_worldplay(folder, device, dtype, tolerance),
        *_streaming(folder, device, dtype, tolerance),
    ]
    if dreamx.is_dreamx(folder):
        checks = list(dreamx.checks(folder, device, dtype, tolerance))
    with _exact_float32(), torch.no_grad():
        for name, files, check in checks:
            missing = [file for file in files if not path(file).is_file()]
            if missing:
                yield Item(name, skipped=True, note=f"no {', '.join(missing)}")
                continue
            try:
                items = 0
                for item in check():
                    items += 1
                    yield item
                if not items:
                    yield Item(name, skipped=True, note=f"{', '.join(files)}: nothing in it")
            except Exception as error:
                reason = " ".join(str(error).split())
                yield Item(name, float("inf"), float("inf"), False, note=f"{type(error).__name__}: {reason}")


def _worldplay(folder: Path, device: torch.device, dtype: torch.dtype, tolerance: float) -> list[Check]:
    network_run = (device, dtype, tolerance)

    def path(name: str) -> Path:
        return folder / name

    return [
        ("trajectory", ["trajectories.json"], lambda: camera.check_trajectories(path("trajectories.json"))),
        (
            "memory_selection",
            ["memory_selection.json", "memory_selection.safetensors"],
            lambda: camera.check_memory_selection(path("memory_selection.json"), path("memory_selection.safetensors")),
        ),
        ("prope", ["prope.safetensors"], lambda: camera.check_prope(path("prope.safetensors"), *network_run)),
        (
            "model_pt",
            ["model.pt", "dit_weights.safetensors"],
            lambda: network.check_model_pt(path("model.pt"), path("dit_weights.safetensors")),
        ),
        (
            "dit",
            ["dit_weights.safetensors", "dit_forward.safetensors"],
            lambda: network.check_forward(
                path("dit_weights.safetensors"), path("dit_forward.safetensors"), *network_run
            ),
        ),
        (
            "rollout",
            ["dit_weights.safetensors", "rollout.safetensors"],
            lambda: network.check_rollout(
                path("dit_weights.safetensors"),
                path("rollout.safetensors"),
                path("rollout_no_image.safetensors"),
                *network_run,
            ),
        ),
        (
            "vae",
            ["vae_weights_native.safetensors", "vae_forward.safetensors"],
            lambda: decoders.check_vae(
                path("vae_weights_native.safetensors"), path("vae_forward.safetensors"), *network_run
            ),
        ),
        (
            "tiny_decoder",
            ["tiny_decoder.safetensors"],
            lambda: decoders.check_tiny_decoder(path("tiny_decoder.safetensors"), *network_run),
        ),
    ]


def _streaming(folder: Path, device: torch.device, dtype: torch.dtype, tol: float) -> Iterator[Check]:
    """Comparisons of streaming Wan models, one for each of their files, which say what weights they are of."""

    def found(pattern: str, *settings: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        for file in sorted(folder.glob(pattern)):
            config = rollouts.config_of(file)
            if config and all(name in config for name in settings):
                yield file, config

    def weights(name: str) -> Path:
        return folder / f"weights_{name}.safetensors"

    for file, config in found("stream_*.safetensors", "weights"):
        used = weights(config["weights"])
        check = partial(streams.check_stream, used, file, device, dtype, tol)
        yield file.stem, [file.name, used.name], check
    for file, config in found("rollout_*.safetensors", "weights", "vae"):
        networks, vae = [weights(name) for name in config["weights"]], weights(config["vae"]["name"])
        check = partial(rollouts.check_rollout, networks, vae, file, device, dtype, tol)
        yield file.stem, [file.name, *(network.name for network in networks)], check
    for file, _ in found("schedulers*.safetensors"):
        yield file.stem, [file.name], partial(rollouts.check_schedulers, file, tol)
    for file, config in found("vae_wan21*.safetensors", "weights"):
        used = weights(config["weights"])
        yield file.stem, [file.name, used.name], partial(decoders.check_vae_wan21, used, file, device, dtype, tol)
    for file, config in found("taehv_lighttae*.safetensors"):
        by_rule = "rule" in config
        check = partial(
            decoders.check_lighttae_full_size if by_rule else decoders.check_lighttae, file, device, dtype, tol
        )
        yield file.stem, [file.name], check


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Without TF32: its 10-bit mantissa would hide or feign errors."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
