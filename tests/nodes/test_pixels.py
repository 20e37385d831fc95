"""Pictures on the way between the host's IMAGE and the engine."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from .conftest import Pack
