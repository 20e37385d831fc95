"""Convert HY-WorldPlay Model: what it writes, what it refuses, and that an interrupt leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from workbench import latents_of, load, model_file, pack, random_state, refused, require, run_node, same, wide_config

INTERRUPT = comfy.model_management.InterruptProcessingException


@contextmanager
def folder(name: str) -> Iterator[Path]:
    """An empty folder inside models/diffusion_models, with a released model.pt."""
    made = model_file(name)
    made.mkdir()
    named = pack("hyworld.weights").dit_to_diffusers(random_state(wide_config()))
    zeros = {f"model.{name}": torch.zeros(()).expand(tensor.shape) for name, tensor in named.items()}
    torch.save(
        {"generator": {f"model.{name}": tensor for name, tensor in named.items()}, "generator_ema": zeros},
        made / "model.pt",
    )
    try:
        yield made
    finally:
        shutil.rmtree(made)


def convert(source: str, file_name: str = "new.safetensors", dtype: str = "bf16", overwrite: bool = False) -> str:
    (summary,) = run_node("HYWorldConvertModel", source=source, file_name=file_name, dtype=dtype, overwrite=overwrite)
    return summary


def files(inside: Path) -> list[str]:
    return sorted(file.name for file in inside.iterdir())


def check_it_writes_what_the_command_line_writes() -> str:
    with folder("as_cli") as inside:
        for dtype in ("bf16", "fp16", "fp32", "fp8"):
            summary = convert("as_cli/model.pt", f"{dtype}.safetensors", dtype)
            pack("hyworld.weights").convert(inside / "model.pt", inside / "cli.safetensors", dtype=dtype)
            written, expected = ((inside / f"{name}.safetensors").read_bytes() for name in (dtype, "cli"))
            require(written == expected, f"{dtype}: the same file as `hyworld convert` writes")
            require(f"{len(written) / 1e9:.2f} GB, {dtype}" in summary, f"size and dtype are told: {summary}")
            require("Press R" in summary and " s, " in summary, f"the time, and what to do next: {summary}")
            (inside / "cli.safetensors").unlink()
        require(
            files(inside) == sorted(["model.pt", *(f"{d}.safetensors" for d in ("bf16", "fp16", "fp32", "fp8"))]), ""
        )
        straight, converted = load("as_cli/model.pt"), load("as_cli/fp32.safetensors")
        return same(latents_of(straight), latents_of(converted), "walks with model.pt itself and with it converted")


def check_the_new_file_is_in_the_loaders_list() -> str:
    with folder("listed"):
        names = pack("nodes.host.model").model_names
        require("listed/new.safetensors" not in names(), "not before")
        convert("listed/model.pt")
        return require("listed/new.safetensors" in names(), "in the list as soon as it is written")


def check_names_that_are_no_plain_names() -> str:
    evidence = []
    with folder("names") as inside:
        around = sorted(str(path) for path in inside.parent.parent.rglob("*"))
        for name in (
            *(
                "../new.safetensors",
                "sub/new.safetensors",
                r"sub\new.safetensors",
                "/tmp/new.safetensors",
                "C:new.safetensors",
            ),
            *(
                "",
                ".safetensors",
                "..",
                "new.pt",
                "new",
                "new.safetensors\0",
                "a\n.safetensors",
                "x" * 5000 + ".safetensors",
            ),
        ):
            told = refused(
                lambda name=name: convert("names/model.pt", name), "cannot be used: give one without a folder"
            )
            evidence.append(require(len(told) < 250, told))
        refused(lambda: convert("../names/model.pt"), "There is no file ../names/model.pt in models/diffusion_models")
        require(sorted(str(path) for path in inside.parent.parent.rglob("*")) == around, "nothing was written anywhere")
    return evidence[0]


def check_a_file_is_replaced_only_when_asked() -> str:
    with folder("replaced") as inside:
        (inside / "new.safetensors").write_bytes(b"precious")
        told = refused(lambda: convert("replaced/model.pt"), "There is a file new.safetensors already", "overwrite on")
        require((inside / "new.safetensors").read_bytes() == b"precious", "it is as it was")
        convert("replaced/model.pt", overwrite=True)
        require((inside / "new.safetensors").stat().st_size > 1000, "replaced when asked")
        same_file = refused(lambda: convert("replaced/new.safetensors", overwrite=True), "is the source itself")
    return f"{told} | {same_file}"


def stop_at(value: int) -> list[int]:
    """Press stop when the progress bar has come so far; returns what it showed."""
    shown: list[int] = []

    def hook(done: int, total: int, preview: Any, **_: Any) -> None:
        shown.append(done)
        if done >= value:
            comfy.model_management.interrupt_current_processing(True)

    comfy.utils.set_progress_bar_global_hook(hook)
    return shown


def check_an_interrupt_leaves_what_was_there() -> str:
    with folder("stopped") as inside:
        (inside / "new.safetensors").write_bytes(b"old")
        shown = stop_at(1)
        try:
            convert("stopped/model.pt", overwrite=True)
        except INTERRUPT:
            require(0 < max(shown) < 1000, f"it stopped on the way: {shown}")
            require(files(inside) == ["model.pt", "new.safetensors"], f"no temporary file is left: {files(inside)}")
            require((inside / "new.safetensors").read_bytes() == b"old", "the old file is as it was")
            return require(not comfy.model_management.processing_interrupted(), "the interrupt is used up")
    raise AssertionError(f"not interrupted: {shown}")


def check_the_bar_goes_to_its_end() -> str:
    with folder("progress"):
        shown = stop_at(10_000)
        convert("progress/model.pt")
    require(shown == sorted(shown) and shown[-1] == 1000, f"it grows to its end: {shown}")
    return require(len(set(shown)) > 1, f"in steps, as many as the host shows: {sorted(set(shown))}")


def check_errors_do_not_say_where_the_server_keeps_its_files() -> str:
    with folder("errors") as inside:
        (inside / "cut.pt").write_bytes((inside / "model.pt").read_bytes()[:5000])
        state = {name: tensor * float("nan") for name, tensor in random_state(wide_config()).items()}
        torch.save(state, inside / "damaged.pt")
        torch.save({"x": torch.ones(1)}, inside / "other.pt")
        (inside / "folder.safetensors").mkdir()
        told = [
            refused(lambda: convert("errors/cut.pt"), "cut.pt", "not a complete torch checkpoint"),
            refused(lambda: convert("errors/damaged.pt"), "damaged.pt is damaged"),
            refused(lambda: convert("errors/other.pt"), "other.pt is not a model this program knows"),
            refused(lambda: convert("errors/model.pt", "folder.safetensors", overwrite=True), "is a folder"),
            refused(lambda: convert("errors/model.pt", dtype="int8"), "There is no dtype 'int8'"),
        ]
        usage = shutil.disk_usage
        shutil.disk_usage = lambda _: type("Usage", (), {"free": 10})()
        try:
            told.append(refused(lambda: convert("errors/model.pt"), "not enough disk space in models/diffusion_models"))
        finally:
            shutil.disk_usage = usage
        require(not any(str(inside.parent.parent) in sentence for sentence in told), f"no folder of the server: {told}")
        require(len(files(inside)) == 5, f"nothing is left: {files(inside)}")
    return " | ".join(told)


def check_a_vae_is_told_where_it_belongs() -> str:
    with folder("vae") as inside:
        golden = pack("hyworld.verify").REFERENCE / "vae_weights_native.safetensors"
        shutil.copyfile(golden, inside / "vae.safetensors")
        return require("move it to models/vae" in convert("vae/vae.safetensors", dtype="fp32"), "told in the summary")


def peak() -> int:
    """Most memory of this process since it was last reset, in bytes."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024


def check_it_takes_little_memory() -> str:
    weights = pack("hyworld.weights")
    config = pack("hyworld.config").DiTConfig(num_heads=12, num_layers=2, ffn_dim=8960)
    with folder("large") as inside:
        state = {name: torch.full(shape, 0.5) for name, shape in weights.dit_shapes(config).items()}
        size = sum(tensor.nbytes for tensor in state.values())
        torch.save({"generator": state}, inside / "model.pt")
        del state
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = peak()
        convert("large/model.pt")
        grown = peak() - before
        # The same limit as for the command: a window of the file, one tensor and its copies.
        return require(grown < 450e6 < size, f"{grown / 1e6:.0f} MB for a model of {size / 1e6:.0f} MB")


def check_it_is_written_again_once_it_is_gone() -> str:
    node = pack("nodes.convert").ConvertModel
    with folder("gone") as inside:
        before = node.fingerprint_inputs(source="gone/model.pt", file_name="new.safetensors", dtype="bf16")
        convert("gone/model.pt")
        after = node.fingerprint_inputs(source="gone/model.pt", file_name="new.safetensors", dtype="bf16")
        (inside / "new.safetensors").unlink()
        require(before != after, "the cache does not hide that it is there now")
        gone = node.fingerprint_inputs(source="gone/model.pt", file_name="new.safetensors", dtype="bf16")
    require(gone == before, "or that it is not")
    odd = [
        node.fingerprint_inputs(source=s, file_name=f) for s, f in ((None, None), ("x", "../y"), ("gone/model.pt", ""))
    ]
    return require(odd == [False] * 3, "and nothing makes it raise")
