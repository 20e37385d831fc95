"""Settings for the whole suite."""

from __future__ import annotations

import os

import torch

# The networks under test are tiny: threads would wait for each other longer than they work.
torch.set_num_threads(1)

if not torch.cuda.is_available():
    # Triton reads this when a kernel is defined: its interpreter runs them on CPU tensors.
    os.environ["TRITON_INTERPRET"] = "1"
