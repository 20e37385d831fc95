"""Settings for the whole suite."""

from __future__ import annotations

import torch

# The networks under test are tiny: threads would wait for each other longer than they work.
torch.set_num_threads(1)
