"""Camera paths of other programs: one module per format, each both ways, with `PoseData` between; `files` picks one."""

from __future__ import annotations

from .files import FORMATS, called, check_new, names_file, read, read_data, write

__all__ = ["FORMATS", "called", "check_new", "names_file", "read", "read_data", "write"]
