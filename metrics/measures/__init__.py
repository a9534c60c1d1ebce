"""Metrics, one file each; importing a module registers its metrics."""
