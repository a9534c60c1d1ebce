"""Configurations of DAWN's published form that build in milliseconds."""

from __future__ import annotations

from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.lfg_config import HourglassConfig, LFGConfig

SMALL = HourglassConfig(block_expansion=4, max_features=8, num_blocks=2)
LFG_CONFIG = LFGConfig.reference(
    num_regions=2, block_expansion=4, max_features=16, num_bottleneck_blocks=1, region=SMALL, flow=SMALL,
    background=SMALL,
)  # fmt: skip
A2V_CONFIG = A2VConfig.reference(
    dim=8, dim_mults=(1, 2), heads=2, head_dim=4, cross_heads=2, cross_head_dim=4, source_dim=16, audio_dim=12
)
