"""Checkpoints: reading, recognising, renaming, loading and converting them."""

from .convert import ConvertReport, convert
from .files import Checkpoint, read_checkpoint
from .load import OpenedDiT, OpenedVAE, load_dit, load_tiny_decoder, load_vae, open_dit, open_vae
from .recognise import check_dit, dit_config_from, dit_shapes
from .remap import clean_key, dit_to_diffusers, dit_to_native
from .remap_vae import tiny_config_from, vae_config_from, vae_to_diffusers, vae_to_native

__all__ = [
    "Checkpoint",
    "ConvertReport",
    "OpenedDiT",
    "OpenedVAE",
    "check_dit",
    "clean_key",
    "convert",
    "dit_config_from",
    "dit_shapes",
    "dit_to_diffusers",
    "dit_to_native",
    "load_dit",
    "load_tiny_decoder",
    "load_vae",
    "open_dit",
    "open_vae",
    "read_checkpoint",
    "tiny_config_from",
    "vae_config_from",
    "vae_to_diffusers",
    "vae_to_native",
]
