"""Building a cache: plan, executor, per-clip processing, shard writing, maintenance."""
