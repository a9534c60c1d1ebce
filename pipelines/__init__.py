"""From videos and sound to caches: datasets, decoding, faces, features, the plan, the shard writer."""
