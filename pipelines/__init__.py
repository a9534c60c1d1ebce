"""From videos and sound to caches: datasets, decoding, faces, features, the plan, the executor, the shard writer."""
