"""Fast inference of DAWN's U-Net: the same numbers as the reference form, in less time and memory."""
