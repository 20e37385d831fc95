"""Write a safetensors file tensor by tensor, so that the model need not fit in memory.

Format: 8 bytes header length (little endian), a JSON header padded with spaces to 8 bytes, the data
(https://huggingface.co/docs/safetensors). The same tensors give the same bytes as the safetensors library.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

Spec = tuple[torch.dtype, tuple[int, ...]]
"""Dtype and shape of a tensor."""

# In the library's order: widest first, so that every tensor is aligned without gaps.
_DTYPES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float8_e4m3fn: "F8_E4M3",
}
_RANK = {dtype: rank for rank, dtype in enumerate(_DTYPES)}


def data_bytes(specs: Mapping[str, Spec]) -> int:
    """Bytes of the tensors, without the header."""
    return sum(dtype.itemsize * math.prod(shape) for dtype, shape in specs.values())


class SafetensorsWriter:
    """Context manager that creates `path` with room for `specs`; each tensor is then written once, in any order.

    Without an error, exit flushes to disk, or raises `ValueError` if a tensor is missing. After an error the caller
    removes the file.
    """

    def __init__(self, path: Path, specs: Mapping[str, Spec], metadata: Mapping[str, str] | None = None) -> None:
        self._specs = dict(specs)
        self._offsets: dict[str, int] = {}
        self._pending = set(self._specs)
        header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
        offset = 0
        for name in sorted(self._specs, key=lambda name: (_RANK[self._specs[name][0]], name)):
            dtype, shape = self._specs[name]
            end = offset + dtype.itemsize * math.prod(shape)
            header[name] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
            self._offsets[name], offset = offset, end
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        self._data_start = 8 + len(text)
        self._file = path.open("wb")
        self._file.write(struct.pack("<Q", len(text)) + text)

    def write(self, name: str, tensor: Tensor) -> None:
        """Write one tensor; raises `ValueError` unless it has the dtype and shape announced."""
        if (tensor.dtype, tuple(tensor.shape)) != self._specs[name]:
            raise ValueError(f"{name} was announced as {self._specs[name]}, got {tensor.dtype}, {tuple(tensor.shape)}.")
        self._pending.remove(name)
        self._file.seek(self._data_start + self._offsets[name])
        self._file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def __enter__(self) -> SafetensorsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self._pending:
                    raise ValueError(
                        f"{len(self._pending)} tensors were never written, among them {min(self._pending)}."
                    )
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()
