"""Datasets, one file each; each registers a function that lists its sources."""
