"""Training stages of DAWN: LFG, A2V-FDM and PBNet."""

from dawn_bench.models.dawn.stages import a2v, lfg, pbnet

__all__ = ["a2v", "lfg", "pbnet"]
