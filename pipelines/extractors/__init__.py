"""Extractors, one file each: features computed from cached arrays, each stored as a field of its own."""
