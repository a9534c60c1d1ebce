"""Shared by the diffusion models: noise levels, sampling steps, and samplers."""
