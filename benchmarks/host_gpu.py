"""The nodes at full size on an NVIDIA GPU, in process, with random weights: times, memory, reuse and unloading.

    python benchmarks/host_gpu.py COMFYUI_FOLDER [--size 704x1280] [--chunks 6] [--weight-dtype fp8_e4m3fn]
        [--linears fp8] [--speed fast] [--kv-memory fast] [--card-gb 24] [--legacy] [--compile] [--output result.json]
    python benchmarks/host_gpu.py COMFYUI_FOLDER --against-bench [--size 704x1280 480x832] [--modes exact fastest]

`--card-gb` makes ComfyUI and PyTorch behave as on a card of that size; `--legacy` switches dynamic VRAM off
(0.33 and later). `--against-bench` measures each mode in the nodes and as `hyworld bench` does, in turns: the last
two of a few chunks, the first with a full memory left out (it records CUDA graphs). Files are made once in `--models`
(16 GB of disk). Results: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def start_host(comfy: Path, card_gb: float | None, legacy: bool) -> None:
    """Import ComfyUI as its main.py does, with our options."""
    sys.path.insert(0, str(comfy))
    sys.argv = ["main.py"]
    import comfy.options

    comfy.options.enable_args_parsing()
    if not legacy and importlib.util.find_spec("comfy_aimdo"):
        import comfy_aimdo.control

        comfy_aimdo.control.init()
    import torch
    from comfy.cli_args import args

    total = torch.cuda.get_device_properties(0).total_memory
    if card_gb:
        args.reserve_vram = total / 2**30 - card_gb + 0.6
        torch.cuda.set_per_process_memory_fraction(min(1.0, card_gb * 2**30 / total))
    import comfy.model_management
    import comfy.model_patcher

    if not legacy and hasattr(comfy.model_patcher, "ModelPatcherDynamic"):
        import comfy.memory_management

        devices = [(d.index, int(0.5 * 2**30)) for d in comfy.model_management.get_all_torch_devices()]
        if comfy_aimdo.control.init_devices(devices):
            comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
            comfy.memory_management.aimdo_enabled = True


def load_pack() -> Any:
    """Import the pack as ComfyUI imports a custom node folder."""
    spec = importlib.util.spec_from_file_location(
        "hy_worldplay_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return importlib.import_module("hy_worldplay_pack.nodes")


NETWORK, VAE, TINY = "worldplay_5b.safetensors", "wan2.2_vae.safetensors", "taew2_2.safetensors"


def make_files(models: Path) -> None:
    """Write a full-size network, VAE and tiny decoder with random bf16 weights."""
    import torch
    from hy_worldplay_pack.hyworld.bench.released import tiny_decoder_of
    from hy_worldplay_pack.hyworld.config import WAN_5B
    from hy_worldplay_pack.hyworld.dit import WanDiT
    from hy_worldplay_pack.hyworld.vae import TinyDecoder, Wan22VAE
    from hy_worldplay_pack.hyworld.weights.random import randomise
    from safetensors.torch import save_file

    for seed, (folder, name, network, sizes) in enumerate(
        (
            ("diffusion_models", NETWORK, WanDiT, WAN_5B.dit),
            ("vae", VAE, Wan22VAE, WAN_5B.vae),
            ("vae_approx", TINY, TinyDecoder, tiny_decoder_of(WAN_5B)),
        )
    ):
        file = models / folder / name
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        module = randomise(network(sizes, device="cuda", dtype=torch.bfloat16), seed, device="cuda")
        save_file({name: tensor.cpu().contiguous() for name, tensor in module.state_dict().items()}, file)
        del module
        torch.cuda.empty_cache()


class UsedMemory:
    """Peak memory in use on the card in bytes, all processes and allocators included."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, used())

    def __enter__(self) -> UsedMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def used() -> int:
    import torch

    free, total = torch.cuda.mem_get_info()
    return total - free


class Nodes:
    """The node classes as a workflow uses them, over the files that `make_files` wrote."""

    def __init__(self, models: Path) -> None:
        self._nodes = load_pack()
        import comfy.sd
        import comfy.utils
        import folder_paths
        import torch

        make_files(models)
        for kind in ("diffusion_models", "vae", "vae_approx"):
            folder_paths.add_model_folder_path(kind, str(models / kind))
        # As if images alone were wired.
        prompt = {"1": {"inputs": {sys.modules["hy_worldplay_pack.nodes.idle_inputs"].KEPT: "0"}}}
        hidden = {"hidden": SimpleNamespace(unique_id="1", prompt=prompt)}
        self._sampler = type("Sampler", (self._nodes.StreamingSampler,), hidden)
        self._first = type("First", (self._nodes.EncodeFirstFrame,), hidden)
        self._camera = type("Camera", (self._nodes.CameraTrajectory,), hidden)
        sys.modules[self._nodes.CameraTrajectory.__module__].ui = SimpleNamespace(PreviewImage=lambda *_, **__: None)
        self._pipeline = sys.modules["hy_worldplay_pack.hyworld.pipeline"].Pipeline
        self.vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(models / "vae" / VAE)))
        self._positive = [[torch.zeros(1, 512, 4096), {"pooled_output": None}]]
        self._positive[0][0][:, :40] = torch.randn(1, 40, 4096) * 0.1
        self._picture = torch.rand(1, 90, 160, 3)

    def load(self, weight_dtype: str = "default", **inputs: Any) -> Any:
        """MODEL of Load HY-WorldPlay Model."""
        (model,) = self._nodes.LoadModel.execute(NETWORK, weight_dtype, "auto", **inputs).args
        return model

    def walk(
        self, model: Any, size: tuple[int, int], chunks: int, seed: int, *, decoder: str = "full (the VAE)",
        kv_memory: str = "auto",
    ) -> tuple[list[float], Any, int]:  # fmt: skip
        """Seconds of each chunk through the Streaming Sampler; the frames and their number."""
        import torch

        height, width = size
        first_frame, _ = self._first.execute(self._picture, self.vae, width, height).args
        trajectory = self._camera.execute("w-7, right-8, w-8, left-8, right-8, s-8, left-8, s-8").args[0]
        moments = [time.perf_counter()]
        walk = self._pipeline.walk

        def timed(pipeline: Any, *args: Any, **kwargs: Any) -> Any:
            for chunk in walk(pipeline, *args, **kwargs):
                torch.cuda.synchronize()
                moments.append(time.perf_counter())
                yield chunk

        self._pipeline.walk = timed
        try:
            images, _, frames, *_ = self._sampler.execute(
                model, self._positive, self.vae, trajectory=trajectory, chunks=chunks, seed=seed, decoder=decoder,
                preview=False, first_frame=first_frame, kv_memory=kv_memory,
            ).args  # fmt: skip
        finally:
            self._pipeline.walk = walk
        return [b - a for a, b in itertools.pairwise(moments)], images, frames


MODES: dict[str, tuple[dict[str, Any], str]] = {
    "exact": ({}, "full"),
    "fp8 linears": ({"linears": "fp8"}, "full"),
    "fp8 linears, fp8 weights": ({"linears": "fp8", "weight_dtype": "fp8_e4m3fn"}, "full"),
    "fast": ({"speed": "fast"}, "full"),
    "fastest": ({"speed": "fast"}, "tiny"),
    "fastest, 12 remembered": ({"speed": "fast", "remembered": "12"}, "tiny"),
}
"""What the loader is given in each mode, and the decoder."""

CHUNKS = 7
COUNTED = 2
"""Chunks of a walk against bench, and how many of the last of them count; the fifth is the first with a full memory."""


def against_bench(
    nodes: Nodes, sizes: list[tuple[int, int]], names: list[str], chunks: int
) -> Iterator[dict[str, Any]]:
    """Milliseconds of a chunk with a full memory in the nodes and in `hyworld bench`, one mode after another."""
    from hy_worldplay_pack.hyworld.bench.workload import source_for

    source = source_for("wan_5b", "cuda", "bfloat16", None, None, None)
    model, loaded = None, None
    for (name, size), seed in zip(itertools.product(names, sizes), itertools.count(1)):
        inputs, decoder = MODES[name]
        bench = by_bench(source, size, chunks, inputs, decoder)
        if loaded != inputs:
            model = None
            model, loaded = nodes.load(**inputs), inputs
        named = TINY if decoder == "tiny" else "full (the VAE)"
        seconds, *_ = nodes.walk(model, size, chunks, seed, decoder=named)
        in_nodes = [1000 * each for each in seconds]
        bench_ms, nodes_ms = median(bench[-COUNTED:]), median(in_nodes[-COUNTED:])
        yield {
            "mode": name,
            "size": f"{size[0]}x{size[1]}",
            "bench_ms": round(bench_ms, 1),
            "nodes_ms": round(nodes_ms, 1),
            "ratio": round(nodes_ms / bench_ms, 3),
            "bench_chunks_ms": [round(each) for each in bench],
            "nodes_chunks_ms": [round(each) for each in in_nodes],
        }


def by_bench(source: Any, size: tuple[int, int], chunks: int, inputs: dict[str, Any], decoder: str) -> list[float]:
    """Milliseconds of each chunk as `hyworld bench` walks it, with the card to itself."""
    import comfy.model_management
    import torch
    from hy_worldplay_pack.hyworld.bench.measure import Memory, attach, path_of, release, time_chunk
    from hy_worldplay_pack.hyworld.bench.workload import Setup, start
    from hy_worldplay_pack.hyworld.modes import REMEMBERED, Modes, at_speed

    plain = Modes(linears=inputs.get("linears", "exact"), remembered=int(inputs.get("remembered", REMEMBERED)))
    setup = Setup(size, chunks, at_speed(inputs.get("speed", "exact"), plain), decoder)
    comfy.model_management.unload_all_models()
    release(source.device)
    with torch.inference_mode(False), torch.no_grad():
        pipeline = source.build(setup)
        probe, memory = attach(pipeline), Memory(source.device)
        walk = pipeline.walk(start(pipeline, source, setup), path_of(pipeline, chunks), chunks)
        milliseconds = [time_chunk(walk, probe, memory).ms for _ in range(chunks)]
    del walk, pipeline, probe
    release(source.device)
    return milliseconds


def walked_twice(nodes: Nodes, options: argparse.Namespace) -> dict[str, Any]:
    """One mode: two walks with the model loaded once, and what is left when everything is unloaded."""
    import comfy.model_management as mm
    import torch

    ((height, width),) = sizes_of(options.size)
    with UsedMemory() as watch:
        torch.zeros(1, device="cuda")
        baseline = used()
        began = time.perf_counter()
        model = nodes.load(options.weight_dtype, linears=options.linears, speed=options.speed)
        if options.compile:
            from comfy_api.torch_helpers import set_torch_compile_wrapper

            model = model.clone()
            set_torch_compile_wrapper(model, backend="inductor")
        loaded = time.perf_counter() - began
        runs = []
        for seed in (1, 2):
            seconds, images, frames = nodes.walk(
                model, (height, width), options.chunks, seed, kv_memory=options.kv_memory
            )
            runs.append(
                {
                    "seconds_per_chunk": [round(each, 2) for each in seconds],
                    "frames": frames,
                    "finite": bool(torch.isfinite(images).all()),
                    "used_after_gb": round((used() - baseline) / 1e9, 2),
                }
            )
        mm.unload_all_models()
        mm.soft_empty_cache()
        torch.cuda.empty_cache()
    return {
        "patcher": type(model).__name__,
        "size": f"{height}x{width}",
        "weight_dtype": options.weight_dtype,
        "linears": options.linears,
        "speed": options.speed,
        "kv_memory": options.kv_memory,
        "compiled": options.compile,
        "load_seconds": round(loaded, 1),
        "runs": runs,
        "peak_gb": round((watch.peak - baseline) / 1e9, 2),
        "peak_torch_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
        "after_unloading_gb": round((used() - baseline) / 1e9, 2),
    }


def sizes_of(texts: list[str]) -> list[tuple[int, int]]:
    """(height, width) of texts such as 704x1280."""
    pairs = [text.split("x") for text in texts]
    return [(int(height), int(width)) for height, width in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comfy", type=Path)
    parser.add_argument("--size", nargs="+", default=["704x1280"])
    parser.add_argument("--chunks", type=int, default=0, help=f"default: 6, and {CHUNKS} against bench")
    parser.add_argument("--weight-dtype", default="default")
    parser.add_argument("--linears", default="exact")
    parser.add_argument("--speed", default="exact")
    parser.add_argument("--kv-memory", default="auto")
    parser.add_argument("--compile", action="store_true", help="put the host's compile node before the sampler")
    parser.add_argument("--against-bench", action="store_true")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES), help="against bench")
    parser.add_argument("--card-gb", type=float)
    parser.add_argument("--legacy", action="store_true")
    parser.add_argument("--models", type=Path, default=Path("/tmp/hyworld_models"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    options.chunks = options.chunks or (CHUNKS if options.against_bench else 6)
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

    start_host(options.comfy.resolve(), options.card_gb, options.legacy)
    import torch

    with torch.inference_mode():
        nodes = Nodes(options.models)
        if options.against_bench:
            measured: dict[str, Any] = {"against_bench": []}
            for row in against_bench(nodes, sizes_of(options.size), options.modes, options.chunks):
                measured["against_bench"].append(row)
                told = "{mode:24} {size:8} bench {bench_ms:7.1f} ms, nodes {nodes_ms:7.1f} ms: {ratio:.3f}"
                print(told.format(**row), flush=True)
                keep(options, nodes, measured)
        else:
            measured = walked_twice(nodes, options)
            print(json.dumps(measured))
            keep(options, nodes, measured)


def keep(options: argparse.Namespace, nodes: Nodes, measured: dict[str, Any]) -> None:
    """Write what was measured so far, and on what, to `--output`."""
    import torch

    if not options.output:
        return

    result = {
        "gpu": torch.cuda.get_device_name(),
        "comfyui": importlib.import_module("comfyui_version").__version__,
        "torch": torch.__version__,
        "dynamic": type(nodes.vae.patcher).__name__ == "ModelPatcherDynamic",
        "card_gb": options.card_gb,
        **measured,
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
