"""The nodes at full size on an NVIDIA GPU, in process, with random weights: times, memory, reuse and unloading.

    python benchmarks/host_gpu.py COMFYUI_FOLDER [--size 704x1280] [--chunks 6] [--weight-dtype fp8_e4m3fn]
        [--linears fp8] [--kv-memory fast] [--card-gb 24] [--legacy] [--compile] [--output result.json]

`--card-gb` makes ComfyUI and PyTorch behave as on a card of that size; `--legacy` switches dynamic VRAM off
(0.33 and later). Files are made once in `--models` (16 GB of disk). Results: docs/benchmarks.md.
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
from pathlib import Path
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


def make_files(models: Path) -> tuple[Path, Path]:
    """Write a full-size network and VAE with random bf16 weights; returns both files."""
    from hy_worldplay_pack.hyworld.config import WAN_5B
    from hy_worldplay_pack.hyworld.dit import WanDiT
    from hy_worldplay_pack.hyworld.vae import Wan22VAE
    from hy_worldplay_pack.hyworld.weights.random import randomise
    from safetensors.torch import save_file

    dit, vae = models / "diffusion_models" / "worldplay_5b.safetensors", models / "vae" / "wan2.2_vae.safetensors"
    for file, network, seed in ((dit, WanDiT, 0), (vae, Wan22VAE, 1)):
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        import torch

        module = network(WAN_5B.dit if network is WanDiT else WAN_5B.vae, device="cuda", dtype=torch.bfloat16)
        randomise(module, seed, device="cuda")
        save_file({name: tensor.cpu().contiguous() for name, tensor in module.state_dict().items()}, file)
        del module
        torch.cuda.empty_cache()
    return dit, vae


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comfy", type=Path)
    parser.add_argument("--size", default="704x1280")
    parser.add_argument("--chunks", type=int, default=6)
    parser.add_argument("--weight-dtype", default="default")
    parser.add_argument("--linears", default="exact")
    parser.add_argument("--kv-memory", default="auto")
    parser.add_argument("--compile", action="store_true", help="put the host's compile node before the sampler")
    parser.add_argument("--card-gb", type=float)
    parser.add_argument("--legacy", action="store_true")
    parser.add_argument("--models", type=Path, default=Path("/tmp/hyworld_models"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

    start_host(options.comfy.resolve(), options.card_gb, options.legacy)
    nodes = load_pack()
    import comfy.model_management as mm
    import comfy.sd
    import comfy.utils
    import folder_paths
    import torch

    make_files(options.models)
    for kind in ("diffusion_models", "vae"):
        folder_paths.add_model_folder_path(kind, str(options.models / kind))
    sampler = type("Sampler", (nodes.StreamingSampler,), {"hidden": SimpleNamespace(unique_id=None, prompt=None)})
    first = type("First", (nodes.EncodeFirstFrame,), {"hidden": SimpleNamespace(unique_id=None, prompt=None)})
    camera = type("Camera", (nodes.CameraTrajectory,), {"hidden": SimpleNamespace(unique_id=None, prompt=None)})
    camera_module = sys.modules[nodes.CameraTrajectory.__module__]
    camera_module.ui = SimpleNamespace(PreviewImage=lambda *_, **__: None)

    with torch.inference_mode(), UsedMemory() as watch:
        torch.zeros(1, device="cuda")
        baseline = used()
        began = time.perf_counter()
        file = "worldplay_5b.safetensors"
        (model,) = nodes.LoadModel.execute(file, options.weight_dtype, "auto", linears=options.linears).args
        if options.compile:
            from comfy_api.torch_helpers import set_torch_compile_wrapper

            model = model.clone()
            set_torch_compile_wrapper(model, backend="inductor")
        vae_file = str(options.models / "vae" / "wan2.2_vae.safetensors")
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(vae_file))
        loaded = time.perf_counter() - began
        positive = [[torch.zeros(1, 512, 4096), {"pooled_output": None}]]
        positive[0][0][:, :40] = torch.randn(1, 40, 4096) * 0.1
        picture = torch.rand(1, 90, 160, 3)
        first_frame, _ = first.execute(picture, vae, width, height).args
        trajectory = camera.execute("w-7, right-8, w-8, left-8").args[0]

        runs = []
        for seed in (1, 2):
            moments = [time.perf_counter()]
            pipeline = sys.modules[nodes.StreamingSampler.__module__].Pipeline
            walk = pipeline.walk

            def timed(self: Any, *args: Any, walk: Any = walk, moments: list = moments, **kwargs: Any) -> Any:
                for chunk in walk(self, *args, **kwargs):
                    torch.cuda.synchronize()
                    moments.append(time.perf_counter())
                    yield chunk

            pipeline.walk = timed
            try:
                images, _, frames, _ = sampler.execute(
                    model, positive, vae, trajectory, options.chunks, seed, "full (the VAE)", False,
                    first_frame=first_frame, kv_memory=options.kv_memory,
                ).args  # fmt: skip
            finally:
                pipeline.walk = walk
            runs.append(
                {
                    "seconds_per_chunk": [round(b - a, 2) for a, b in itertools.pairwise(moments)],
                    "frames": frames,
                    "finite": bool(torch.isfinite(images).all()),
                    "used_after_gb": round((used() - baseline) / 1e9, 2),
                }
            )
        mm.unload_all_models()
        mm.soft_empty_cache()
        torch.cuda.empty_cache()
        result = {
            "gpu": torch.cuda.get_device_name(),
            "comfyui": importlib.import_module("comfyui_version").__version__,
            "torch": torch.__version__,
            "patcher": type(model).__name__,
            "size": options.size,
            "weight_dtype": options.weight_dtype,
            "linears": options.linears,
            "kv_memory": options.kv_memory,
            "compiled": options.compile,
            "card_gb": options.card_gb,
            "load_seconds": round(loaded, 1),
            "runs": runs,
            "peak_gb": round((watch.peak - baseline) / 1e9, 2),
            "peak_torch_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
            "after_unloading_gb": round((used() - baseline) / 1e9, 2),
        }
    print(json.dumps(result))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
