"""Checkpoints: reading, recognising, renaming, loading and converting them."""

from .convert import DTYPES, ConvertReport, convert
from .files import read_checkpoint
from .load import load_decoder, load_dit, load_tiny_decoder, load_vae, open_dit, open_vae
from .lora import lora_layers
from .recognise import dit_config_from, dit_shapes
from .remap import dit_to_diffusers, dit_to_native
from .remap_vae import vae_config_from, vae_to_diffusers, vae_to_native

__all__ = [
    "DTYPES",
    "ConvertReport",
    "convert",
    "dit_config_from",
    "dit_shapes",
    "dit_to_diffusers",
    "dit_to_native",
    "load_decoder",
    "load_dit",
    "load_tiny_decoder",
    "load_vae",
    "lora_layers",
    "open_dit",
    "open_vae",
    "read_checkpoint",
    "vae_config_from",
    "vae_to_diffusers",
    "vae_to_native",
]
