"""DiT-Head (arXiv 2312.06400): two VQGANs and a diffusion transformer that remakes the lower face from sound.

There is no released code and no released weights. What the paper's summary states is marked `paper` in the
configuration; everything else is `ours`, or of the work named there (see `config.origin`).
"""
