"""Extractors, one file each: what is computed from cached arrays and written as its own field."""
