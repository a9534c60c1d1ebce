"""DiT-Head (arXiv 2312.06400): two VQGANs and a diffusion transformer that generates the lower face from audio.

There is no released code and there are no released weights. Settings from the paper's summary are marked `paper` in the
configuration; all others are `ours`, or from the work named there (see `config.origin`).
"""
