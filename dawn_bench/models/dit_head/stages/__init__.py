"""Training stages of DiT-Head: two VQGANs and the diffusion transformer."""

from dawn_bench.models.dit_head.stages import dit, vqgan

__all__ = ["dit", "vqgan"]
