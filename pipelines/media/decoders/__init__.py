"""Decoders other than PyAV, one file each."""
