"""Does this machine compute what the original computes? Reference tensors in, one verdict per item out."""

from .report import Item
from .runner import verify

__all__ = ["Item", "verify"]
