"""IMAGE filled chunk by chunk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


def test_frames_arrive_in_order_as_0_to_1(pack: Callable[[str], Any]) -> None:
    chunks = [torch.randint(0, 256, (n, 4, 6, 3), dtype=torch.uint8) for n in (13, 16, 16)]
    frames = pack("nodes.frames").Frames(45, (4, 6), torch.device("cpu"))
    place = frames.images.data_ptr()
    for chunk in chunks:
        frames.append(chunk)
    assert frames.images.dtype == torch.float32
    assert torch.equal(frames.images, torch.cat(chunks).float() / 255)
    assert frames.images.data_ptr() == place, "the frames lie in memory once"


GROWN = """
import ctypes, importlib.util, sys
from pathlib import Path
import torch

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024

ctypes.CDLL(None).mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD: what is freed goes back at once
spec = importlib.util.spec_from_file_location("frames", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
chunk, chunks = torch.ones(16, 176, 320, 3, dtype=torch.uint8), 60
module.Frames(16, (176, 320), torch.device("cpu")).append(chunk)
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
frames = module.Frames(16 * chunks, (176, 320), torch.device("cpu"))
for _ in range(chunks):
    frames.append(chunk.clone())
print((status("VmHWM") - before) / (chunk.numel() * chunks))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_frames_take_four_bytes_for_each_of_theirs_and_a_chunk() -> None:
    source = Path(__file__).parents[2] / "nodes" / "frames.py"
    run = subprocess.run([sys.executable, "-c", GROWN, source], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert 3.9 < float(run.stdout) < 4.2
