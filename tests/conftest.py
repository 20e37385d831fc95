"""Settings for the whole suite."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

# The networks under test are tiny: threads would wait for each other longer than they work.
torch.set_num_threads(1)

if not torch.cuda.is_available():
    # Triton reads this when a kernel is defined: its interpreter runs them on CPU tensors.
    os.environ["TRITON_INTERPRET"] = "1"

# What passes once passes always: a change is judged by what it does, not by the numbers it happened to draw.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)
