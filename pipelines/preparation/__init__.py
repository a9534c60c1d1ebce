"""Building a cache: plan, per-clip processing, shard writing, maintenance."""
