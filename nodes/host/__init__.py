"""The only code that touches ComfyUI's model management: MODEL, VAE, CLIP, memory, interrupts, progress."""
