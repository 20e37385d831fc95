"""Runs checks inside ComfyUI's own Python, one at a time: a request per line of stdin, an answer per line of stdout.

    python runner.py COMFYUI PACK WORK      (folders: ComfyUI, this pack, an empty one for the files that checks make)

A request is `{"file": "checks_lora", "check": "check_..."}`, an answer `{"check", "passed", "message", "seconds"}`.
A check passes if it returns a sentence that says what it compared; one that returns nothing fails like one that raises.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).parent


def start_host(comfyui: Path, work: Path) -> None:
    """Bring the host's modules up on the CPU, as its main.py does, with its folders inside `work`."""
    sys.path.insert(0, str(comfyui))
    import comfy.options

    # Read when comfy.cli_args is imported, which anything else in comfy does.
    sys.argv = ["main.py", "--cpu", "--disable-api-nodes"]
    comfy.options.enable_args_parsing()

    import folder_paths

    for name in ("output", "temp", "input"):
        (work / name).mkdir()
        getattr(folder_paths, f"set_{name}_directory")(str(work / name))
    for name in ("diffusion_models", "vae", "vae_approx", "loras"):
        (work / "models" / name).mkdir(parents=True)
        folder_paths.add_model_folder_path(name, str(work / "models" / name), is_default=True)


def load_pack(comfyui: Path, pack: Path, work: Path) -> str:
    """Load the pack with the host's own loader, from a folder whose name holds dashes; returns its module name."""
    import nodes

    # The host puts this folder first too, so that a careless absolute import would find its modules.
    sys.path.insert(0, str(comfyui / "comfy"))
    (work / "custom_nodes").mkdir()
    folder = work / "custom_nodes" / "ComfyUI-HY-WorldPlay"
    folder.symlink_to(pack, target_is_directory=True)
    if not asyncio.run(nodes.load_custom_node(str(folder))):
        raise RuntimeError("The host could not load the pack; its reason stands in the log above.")
    return str(folder).replace(".", "_x_")


def run(file: str, check: str) -> dict[str, object]:
    """Run one check and tidy up after it."""
    began = time.monotonic()
    try:
        evidence = getattr(importlib.import_module(file), check)()
        passed = isinstance(evidence, str) and bool(evidence.strip())
        message = evidence if passed else f"{check} returned {evidence!r} instead of a sentence on what it compared."
    except BaseException:
        passed, message = False, traceback.format_exc()
    tidy()
    return {"check": check, "passed": passed, "message": message, "seconds": time.monotonic() - began}


def tidy() -> None:
    """Nothing of a check may reach the next: neither a pending interrupt nor a loaded model."""
    import comfy.model_management
    import comfy.utils

    comfy.model_management.interrupt_current_processing(False)
    comfy.utils.set_progress_bar_global_hook(None)
    comfy.model_management.unload_all_models()
    gc.collect()


def main() -> None:
    comfyui, pack, work = map(Path, sys.argv[1:4])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the host prints goes to the log and not between the answers
    start_host(comfyui, work)
    sys.path.append(str(HERE))
    import workbench

    workbench.PACK = load_pack(comfyui, pack, work)
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
