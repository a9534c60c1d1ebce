"""DAWN (arXiv 2410.13726): LFG, A2V-FDM and PBNet."""
