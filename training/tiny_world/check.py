"""Short trial of the network's training on an untrained VAE: `python -m training.tiny_world.check --minutes 3`.

It also fills the cache of torch.compile for the real run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from .network import train
from .vae import arguments, fresh_vae, save_vae


def main() -> None:
    options = arguments("Check the network's training.").parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vae = fresh_vae(0, torch.device("cpu"), torch.float32)
        save_vae(vae.state_dict(), vae.config, folder)
        train(
            folder,
            stage="flow",
            minutes=options.minutes,
            total=options.minutes,
            out=folder,
            device=device,
            compiled=device.type == "cuda" and not options.eager,
            workers=options.workers,
            capacity=256,
            first_walks=64,
            report_scenes=2,
        )
    if device.type == "cuda":
        print(f"memory at most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True)


if __name__ == "__main__":
    main()
