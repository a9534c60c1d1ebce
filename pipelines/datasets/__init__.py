"""Datasets, one file each. Each registers a function that lists its sources."""
