"""From generated and true clips to scores: feature extractors, metrics, protocols, the one-pass scorer."""
