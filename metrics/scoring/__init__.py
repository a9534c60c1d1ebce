"""The scorer: contracts of metrics and features, extraction and caching, one-pass scoring."""
