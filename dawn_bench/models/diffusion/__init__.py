"""What the diffusion models share: noise levels, the steps of a sampler, and the samplers."""
