"""The scorer: metric and feature contracts, feature extraction and caching, one-pass scoring."""
