"""The network: Wan's transformer, with WorldPlay's cameras or without, and its key/value memories."""

from .inputs import Inputs, TextKV
from .kernels import PLAIN, Attend, Kernels, sdpa
from .kv_memory import KVMemory
from .model import WanDiT
from .rolling import RollingMemory

__all__ = ["PLAIN", "Attend", "Inputs", "KVMemory", "Kernels", "RollingMemory", "TextKV", "WanDiT", "sdpa"]
