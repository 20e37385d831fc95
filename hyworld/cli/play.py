"""`hyworld play`: a page on this machine in which a person walks through the world while it is made."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import builtin, pipeline
from ..camera import Speeds
from ..config import TINY, WAN_5B, check_size
from ..errors import InputError
from ..live.room import Room
from ..live.server import LOOPBACK, Server
from ..live.walking import Walking
from ..modes import Modes, why_slower
from ..picture import CropChoice, open_picture
from ..pipeline import Pipeline
from ..walk import World
from ..weights import open_dit, open_vae
from .beginning import preset_for, saved_world
from .console import console, note, notes, parse_size, reports_errors, stderr
from .options import KV, Attention, Graphs, Kernels, Linears

PORT = 8199

SAVED = "Saved worlds"
MODEL = "Model (default: the built-in world)"
SERVER = "Server"
