"""From generated and true clips to scores: metrics (one file each), features, networks, protocols, the scorer."""
